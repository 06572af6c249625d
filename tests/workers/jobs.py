"""Work that machines of a cluster and other processes can import."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import numpy as np

from knowledge_recycling.errors import KRError


def add(shared: np.ndarray, task: int, threads: int) -> tuple[int, float, int]:
    """Also says how many threads it was told."""
    return task, float(shared.sum()) + task, threads


def refuse(shared: Any, task: int, threads: int) -> None:
    """As work does that meets bad input."""
    raise KRError(f"task {task}: is refused")


def die(shared: Any, task: int, threads: int) -> None:
    """As a worker does whose memory runs out."""
    os._exit(1)


def nap(folder: str, task: int, threads: int) -> int:
    """Leaves its process id; naps, but for task 0."""
    path = Path(folder) / str(task)
    path.with_suffix(".tmp").write_text(str(os.getpid()))
    path.with_suffix(".tmp").rename(path)
    while task:
        time.sleep(0.1)
    return task
