"""Opens Parquet and Arrow files and reads them piece by piece, some columns at a time."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from knowledge_recycling.data.files import check_memory, open_regular
from knowledge_recycling.data.words import shown, size_of
from knowledge_recycling.errors import KRError

SUFFIX = ".parquet"
INSTALL = "Parquet and Arrow files need pyarrow: pip install 'knowledge-recycling[hf]'"
ROWS = 256
"""Rows that are read from a file at once."""


class Batches(Protocol):
    """A table that is read piece by piece, from its start at each call."""

    def __call__(self, columns: list[str]) -> Iterator[Any]:
        """Record batches of these columns."""


class Part(NamedTuple):
    """One table of a set.

    Attributes:
        name: what to call it in a message; another in each part.
        split: its split code, -1 where still to be drawn.
        schema: pyarrow's.
        batches: reads it.
    """

    name: str
    split: int
    schema: Any
    batches: Batches


@contextmanager
def damage_told(where: str) -> Iterator[None]:
    """What is raised on damaged files, in a sentence; the errors' own texts may quote values."""
    import pyarrow

    try:
        yield
    except (pyarrow.ArrowException, OSError, MemoryError, ValueError) as error:
        what = f"{where}: is damaged, or no such table ({type(error).__name__})"
        raise KRError(f"{what}; fetch or save it again") from None


def open_table(file: Path, root: Path, split: int) -> Part:
    """Looks at the schema of a file.

    Raises:
        KRError: pyarrow is not installed, or it is no such file.
    """
    try:
        import pyarrow
        import pyarrow.parquet as parquet
    except ImportError:
        raise KRError(INSTALL) from None
    where = shown(str(file))
    with damage_told(where), open_regular(file) as stream:
        if file.suffix.lower() == SUFFIX:
            opened = parquet.ParquetFile(stream)
            _check_size(opened.metadata, where)
            schema, batches = opened.schema_arrow, partial(_of_parquet, file)
        else:
            schema = pyarrow.ipc.open_stream(stream).schema
            batches = partial(_of_arrow, file)
    return Part(str(file.relative_to(root)), split, schema, batches)


def _check_size(metadata: Any, where: str) -> None:
    """A row group is unpacked as a whole."""
    sizes = [metadata.row_group(i).total_byte_size for i in range(metadata.num_row_groups)]
    largest = max(sizes, default=0)
    check_memory(2 * largest, f"{where}: a row group ({size_of(largest)})", "write smaller ones")


def _of_parquet(file: Path, columns: list[str]) -> Iterator[Any]:
    import pyarrow.parquet as parquet

    with open_regular(file) as stream:
        for batch in parquet.ParquetFile(stream).iter_batches(ROWS, columns=columns):
            batch.validate(full=True)
            yield batch


def _of_arrow(file: Path, columns: list[str]) -> Iterator[Any]:
    import pyarrow

    with open_regular(file) as stream:
        for batch in pyarrow.ipc.open_stream(stream):
            batch.validate(full=True)  # a damaged file could lead out of memory otherwise
            chosen = batch.select(columns)
            for start in range(0, len(chosen), ROWS):
                yield chosen.slice(start, ROWS)
