"""Rows of predictions as CSV or Parquet."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from knowledge_recycling.errors import KRError
from knowledge_recycling.storage.files import atomic


def csv_text(rows: Sequence[Mapping[str, Any]]) -> str:
    r"""Rows with the same keys, a head line first.

    Example:
        >>> csv_text([{"image": "a,b.png", "class": "0"}])
        'image,class\n"a,b.png",0\n'
    """
    file = io.StringIO()
    writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return file.getvalue()


def write_parquet(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Writes the rows.

    Raises:
        KRError: pyarrow is missing.
    """
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError:
        raise KRError("Parquet needs pyarrow: pip install 'knowledge-recycling[release]'") from None
    with atomic(path) as temporary:
        pq.write_table(pa.Table.from_pylist([dict(row) for row in rows]), temporary)
