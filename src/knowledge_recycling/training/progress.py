"""Progress of long loops: a bar with the time left on a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from collections.abc import Iterator

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

console = Console(stderr=True, highlight=False)
LINE_SECONDS = 20.0


def track(label: str, start: int, stop: int) -> Iterator[int]:
    """Yields start, ..., stop - 1 and shows how far the loop is and how long it still takes.

    Args:
        label: what is being done, in a few words.
        start: first step of this process (above 0 after a resumption).
        stop: number of steps in all.
    """
    if console.is_terminal:
        yield from _bar(label, start, stop)
    else:
        yield from _lines(label, start, stop)


def _bar(label: str, start: int, stop: int) -> Iterator[int]:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, TimeRemainingColumn(), console=console, transient=True) as progress:
        task = progress.add_task(label, total=stop, completed=start)
        for step in range(start, stop):
            yield step
            progress.update(task, completed=step + 1)


def _lines(label: str, start: int, stop: int) -> Iterator[int]:
    begin = last = time.monotonic()
    for step in range(start, stop):
        yield step
        now = time.monotonic()
        if now - last >= LINE_SECONDS:
            left = (now - begin) / (step + 1 - start) * (stop - step - 1)
            console.print(f"{label}: {step + 1}/{stop}, about {clock(left)} left", soft_wrap=True)
            last = now


def clock(seconds: float) -> str:
    """Formats a duration.

    Example:
        >>> clock(5), clock(65), clock(7300)
        ('5 s', '1 min 05 s', '2 h 01 min')
    """
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
