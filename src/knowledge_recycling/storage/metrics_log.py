"""The log of a long loop: metrics.jsonl, one row of numbers per line."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import IO

from knowledge_recycling.storage.files import write_bytes


class Metrics:
    """A stage's metrics.jsonl: one row of numbers a line, in the order of the steps.

    On resumption the rows that the lost work had written are dropped.

    Args:
        path: the file.
        resume_step: rows with this `step` or a later one are forgotten.
    """

    def __init__(self, path: Path, resume_step: int) -> None:
        rows = [row for row in read_rows(path) if row["step"] < resume_step]
        write_bytes(path, "".join(json.dumps(row) + "\n" for row in rows).encode())
        self._file: IO[str] = path.open("a", encoding="utf-8")

    def write(self, **row: float) -> None:
        """Adds a row at once, so that a killed run keeps it."""
        self._file.write(json.dumps(row) + "\n")
        self._file.flush()

    def close(self) -> None:
        """Closes the file."""
        self._file.close()


def read_rows(path: Path) -> list[dict[str, float]]:
    """Rows of a metrics.jsonl; what is no row, such as a line cut off by a kill, is left out."""
    if not path.exists():
        return []
    rows = []
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        with contextlib.suppress(ValueError, RecursionError):
            row = json.loads(line)
            if isinstance(row, dict) and isinstance(row.get("step"), int):
                rows.append(row)
    return rows
