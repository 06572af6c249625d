"""Reads sets in the forms of Hugging Face `datasets`: Parquet files and `save_to_disk` folders.

They are read with pyarrow alone: `datasets` would copy private images into its cache. Images are
the bytes in the table; a path in it is never opened.
"""

from __future__ import annotations

import io
import os
import re
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from knowledge_recycling.config import Data
from knowledge_recycling.data.assemble import Listed, Read, assemble
from knowledge_recycling.data.decode import Decoded, Rule, decode_stream
from knowledge_recycling.data.listing import MAX_ENTRIES, SPLIT_FOLDERS, Entry
from knowledge_recycling.data.names import check_classes, group_codes
from knowledge_recycling.data.table_columns import Columns, choose, labels_of
from knowledge_recycling.data.table_files import SUFFIX, Part, damage_told, open_table
from knowledge_recycling.data.types import OPEN, Source
from knowledge_recycling.data.words import listed, shown
from knowledge_recycling.errors import KRError


def is_table_folder(path: Path) -> bool:
    """Whether a folder was written by `save_to_disk`, or holds Parquet files and no other folders.

    A folder of images may hold a Parquet file beside its classes, which is left out there.
    """
    try:
        names = os.listdir(path)
    except OSError:  # the reader of folders says why
        return False
    if "dataset_dict.json" in names or _is_saved(path):
        return True
    files = _parquet_files(path)
    inner = {path / name for name in names if not name.startswith(".") and (path / name).is_dir()}
    return bool(files) and inner <= {file.parent for file in files}


def _is_saved(path: Path) -> bool:
    return all((path / name).is_file() for name in ("state.json", "dataset_info.json"))


def files_of(path: Path) -> list[Path]:
    """The files of a set, for one that is a file that file alone."""
    if not path.is_dir():
        return [path]
    if (path / "dataset_dict.json").is_file():
        found = sorted(path.glob("*/data-*.arrow"))
    elif _is_saved(path):
        found = sorted(path.glob("data-*.arrow"))
    else:
        found = _parquet_files(path)
    if not found:
        raise KRError(
            f"{shown(str(path))}: holds no data-*.arrow file, as save_to_disk writes them"
        )
    return found


def _parquet_files(path: Path) -> list[Path]:
    """In the folder, in its `data`, or in folders of splits."""
    inner = [d for d in ("data", *SPLIT_FOLDERS) if (path / d).is_dir()]
    return sorted(f for d in (".", *inner) for f in (path / d).glob(f"*{SUFFIX}"))


def read_tables(path: Path, config: Data) -> Source:
    """Reads a Parquet file, a folder of them, or a folder that `save_to_disk` wrote.

    Args:
        path: the file or folder.
        config: how images are read, and which columns they lie in.

    Returns:
        The source, in the order of files and rows.

    Raises:
        KRError: says what is wrong with the files, the columns or the images, and what to do.
    """
    files = files_of(path)
    splits = _splits(files, path)
    root = path if path.is_dir() else path.parent
    parts = [open_table(file, root, split) for file, split in zip(files, splits, strict=True)]
    return read_parts(parts, shown(str(path)), path.stem, config)


def read_parts(parts: list[Part], where: str, name: str, config: Data) -> Source:
    """Reads tables of one set.

    Args:
        parts: the tables, with the same columns and classes.
        where: what to call the set in a message.
        name: the source's.
        config: how images are read, and which columns they lie in.

    Raises:
        KRError: says what is wrong, and what to do.
    """
    columns = choose(parts[0].schema, config, where)
    if any(choose(part.schema, config, where) != columns for part in parts[1:]):
        raise KRError(f"{where}: its tables differ in columns or classes; give tables of one kind")
    with damage_told(where):
        entries, patients = _rows(parts, columns, where)
        labels = sorted({entry.label for entry in entries})
        place = {entry.file: i for i, entry in enumerate(entries)}

        def find_patients(kept: list[Entry]) -> tuple[np.ndarray | None, list[str]]:
            if patients is None:
                return None, []
            names = np.array([patients[place[entry.file]] for entry in kept])
            return group_codes(names, where, lambda i: kept[i].file), []

        found = Listed(
            where=where,
            name=name,
            total=len(entries),
            entries=zip(entries, _images(parts, columns.image), strict=True),
            patients=find_patients,
            notes=(*columns.notes, *check_classes(columns.class_names or labels, where)),
            class_names=columns.class_names,
        )
        return assemble(found, config)


def _rows(parts: list[Part], columns: Columns, where: str) -> tuple[list[Entry], list[Any] | None]:
    """Entries and patients of all rows."""
    wanted = [columns.label, *([columns.patient] if columns.patient else [])]
    entries: list[Entry] = []
    patients: list[Any] = []
    for part in parts:
        row = 0
        for batch in part.batches(wanted):
            for label in labels_of(batch.column(columns.label), columns, where):
                row += 1
                entries.append(Entry(f"row {row} of {part.name}", label, part.split))
            if columns.patient:
                patients += batch.column(columns.patient).to_pylist()
            if len(entries) > MAX_ENTRIES:
                raise KRError(f"{where}: has more than {MAX_ENTRIES:,} rows, which are never read")
    if not entries:
        raise KRError(f"{where}: has no rows")
    if not columns.patient:
        return entries, None
    whole = all(isinstance(p, int) for p in patients)
    return entries, patients if whole else ["" if p is None else str(p) for p in patients]


def _images(parts: list[Part], column: str) -> Iterator[Read]:
    for part in parts:
        for batch in part.batches([column]):
            for cell in batch.column(column):
                yield partial(_decode, cell.as_py())


def _decode(cell: Any, rule: Rule, look: bool = True) -> list[Decoded]:
    content = cell.get("bytes") if isinstance(cell, dict) else cell
    if content is None:
        outside = isinstance(cell, dict) and cell.get("path")
        reason = "is a path to a file, which is not opened; embed the images in the table"
        return [Decoded(None, (0, 0), error=reason if outside else "is empty")]
    return [decode_stream(io.BytesIO(content), rule, look)]


def _splits(files: list[Path], root: Path) -> list[int]:
    """Codes by names: `train/data-0.arrow`, `train-0.parquet`, `data/test-0.parquet`."""
    names = [_split_name(file, root) for file in files]
    known = [name for name in names if name is not None]
    if (root / "dataset_dict.json").is_file():
        return split_codes([file.parent.name for file in files], shown(str(root)))
    if not known:
        return [OPEN] * len(files)
    if len(known) < len(names):
        odd = next(f for f, name in zip(files, names, strict=True) if name is None)
        raise KRError(
            f"{shown(str(root))}: some of its files are of a split by their names, and "
            f"{shown(odd.name)} is of none; move it out, or rename it (train-0.parquet)"
        )
    return split_codes(known, shown(str(root)))


def split_codes(names: list[str], where: str) -> list[int]:
    """The split code of each name.

    Raises:
        KRError: a name is of no split, or none is of train.

    Example:
        >>> split_codes(["train", "Validation"], "x")
        [0, 1]
    """
    if unknown := sorted({n for n in names if n.casefold() not in SPLIT_FOLDERS}):
        raise KRError(
            f"{where}: {listed(unknown)} is no split that is known (train, validation, test); "
            "leave it out, or rename it"
        )
    codes = [SPLIT_FOLDERS[name.casefold()] for name in names]
    if 0 not in codes:
        raise KRError(f"{where}: has no split train (it has {listed(sorted(set(names)))})")
    return codes


def _split_name(file: Path, root: Path) -> str | None:
    first = re.split(r"[-_.]", file.name)[0]
    for name in (first, file.parent.name if file.parent != root else ""):
        if name.casefold() in SPLIT_FOLDERS:
            return name
    return None
