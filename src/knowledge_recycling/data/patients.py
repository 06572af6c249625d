"""The patients of a folder's images, from a CSV file."""

from __future__ import annotations

import os
import posixpath
from pathlib import Path

import numpy as np

from knowledge_recycling.data.files import status
from knowledge_recycling.data.names import group_codes, stripped
from knowledge_recycling.data.table_text import read_rows
from knowledge_recycling.data.words import count, listed, shown
from knowledge_recycling.errors import KRError


def find_table(root: Path, table: str) -> Path:
    """The CSV file: as it stands, or relative to the folder.

    Raises:
        KRError: it is at neither place.
    """
    for path in (Path(table), root / table):
        if status(path) is not None:
            return path
    raise KRError(f"data.groups: {shown(table)} does not exist (looked here and in {root})")


def read_groups(root: Path, table: str, files: list[str]) -> tuple[np.ndarray, list[str]]:
    """Reads the patient of each image from a CSV file with the columns `file` and `group`.

    Blanks around names do not count. Columns may be parted by comma, semicolon or tab.

    Args:
        root: the image folder.
        table: path of the CSV file, as it stands or relative to the folder; `file` in it is
            relative to the folder.
        files: image files, relative to the folder.

    Returns:
        (n,) int64 codes in the order of `files`, and notes.

    Raises:
        KRError: on a missing file, missing columns, a file in two rows, an image without a group
            and an unknown patient.
    """
    path = find_table(root, table)
    where = f"data.groups: {shown(str(path))}"
    rows = _rows(path, where)
    lines: dict[str, int] = {}
    known: dict[str, str] = {}
    for line, file, group in rows:
        name = _relative(file, root)
        if name in known:
            raise KRError(
                f"{where}: lines {lines[name]} and {line} are both for {shown(name)}; give each "
                "file one row"
            )
        known[name], lines[name] = group, line
    keys = [stripped(file) for file in files]
    if absent := [file for file, key in zip(files, keys, strict=True) if key not in known]:
        raise KRError(
            f"{where}: {count(len(absent), 'image')} without a group, such as "
            f"{shown(absent[0])}; give each file, relative to the image folder, its group"
        )
    groups = np.array([known[key] for key in keys], np.str_)
    codes = group_codes(groups, where, lambda i: f"line {lines[keys[i]]}")
    unused = len(known) - len(set(files))
    rest = "names a file that is no image read" if unused == 1 else "name no image that is read"
    return codes, [f"{count(unused, 'row')} of the groups file {rest}"] * (unused > 0)


def _rows(path: Path, where: str) -> list[tuple[int, str, str]]:
    """(line, file, group) of each row that is not empty."""
    header, rows = read_rows(path, where)
    names = {name.casefold(): name for name in header}
    if sorted(n.casefold() for n in header if n.casefold() in ("file", "group")) != [
        "file",
        "group",
    ]:
        raise KRError(
            f"{where}: needs the columns file and group, once each; found {listed(header, 8)}"
        )
    return [(row.line, row.cells[names["file"]], row.cells[names["group"]]) for row in rows]


def _relative(file: str, root: Path) -> str:
    """A file as the listing calls it: relative, with slashes."""
    name = posixpath.normpath(file.replace("\\", "/"))
    top = os.path.abspath(root).replace("\\", "/").rstrip("/") + "/"
    return name.removeprefix(top)
