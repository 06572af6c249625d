"""Tables as text: CSV files, their columns parted by comma, semicolon or tab."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import NamedTuple

from knowledge_recycling.data.files import open_regular
from knowledge_recycling.data.names import stripped
from knowledge_recycling.errors import KRError

MAX_BYTES = 200_000_000


class Row(NamedTuple):
    """A row below the header: its line in the file, from 1, and its cells by column."""

    line: int
    cells: dict[str, str]


def read_rows(path: Path, where: str) -> tuple[list[str], list[Row]]:
    """The columns of a CSV file and its rows; blanks around cells do not count.

    Args:
        path: the file, in UTF-8.
        where: what to call it in a message.

    Raises:
        KRError: it is too large, is no text, is no CSV, or has no rows.
    """
    text = _text(path, where)
    first = text.split("\n", 1)[0]
    mark = max(",;\t", key=first.count)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=mark)
    try:
        header = [stripped(name) for name in next(reader, [])]
        if not any(header):
            raise KRError(f"{where}: holds no row; its first row names the columns")
        rows = [
            Row(reader.line_num, _cells(header, row, reader.line_num, where))
            for row in reader
            if any(cell.strip() for cell in row)
        ]
    except csv.Error as error:
        raise KRError(f"{where}: cannot be read as CSV ({error})") from None
    if not rows:
        raise KRError(f"{where}: holds no row below its header")
    return header, rows


def _cells(header: list[str], row: list[str], line: int, where: str) -> dict[str, str]:
    if any(cell.strip() for cell in row[len(header) :]):
        raise KRError(
            f"{where}: line {line} has more cells than there are columns; put cells that hold the "
            "separator in quotes"
        )
    filled = [stripped(cell) for cell in row] + [""] * len(header)
    return dict(zip(header, filled, strict=False))


def _text(path: Path, where: str) -> str:
    with open_regular(path) as stream:
        raw = stream.read(MAX_BYTES + 1)
    if len(raw) > MAX_BYTES:
        raise KRError(f"{where}: is larger than {MAX_BYTES // 10**6} MB; that is no list of files")
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise KRError(f"{where}: is not UTF-8 text; save it as CSV in UTF-8") from None
