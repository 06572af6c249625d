"""Progress: a bar on a terminal, one bar per cell in a notebook, plain lines elsewhere."""

from __future__ import annotations

import html
import time
import warnings
from collections.abc import Iterator
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from knowledge_recycling.errors import printable

in_notebook = Console().is_jupyter
# Not as Jupyter: rich would give each line a display of its own. Notebooks paint stderr red.
console = Console(
    stderr=not in_notebook, force_jupyter=False, highlight=False, markup=False, emoji=False
)
if in_notebook:
    # From a bar of Optuna's that is never shown.
    warnings.filterwarnings("ignore", message="IProgress not found")
LINE_SECONDS = 20.0
NOTEBOOK_SECONDS = 0.5


def say(line: str) -> None:
    """Prints a line, whatever names it quotes."""
    console.print(printable(line), soft_wrap=True)


def track(label: str, start: int, stop: int) -> Iterator[int]:
    """Yields start, ..., stop - 1 and shows how far the loop is and how long it still takes.

    Args:
        label: what is being done, in a few words.
        start: first step of this process (above 0 after a resumption).
        stop: number of steps in all.
    """
    if in_notebook:
        yield from _cell(label, start, stop)
    elif console.is_terminal:
        yield from _bar(label, start, stop)
    else:
        yield from _lines(label, start, stop)


def _bar(label: str, start: int, stop: int) -> Iterator[int]:
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn())
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
            say(f"{label}: {step + 1}/{stop}, about {clock(left)} left")
            last = now


def _cell(label: str, start: int, stop: int) -> Iterator[int]:
    begin = time.monotonic()
    last = 0.0
    for step in range(start, stop):
        yield step
        now = time.monotonic()
        if not console.quiet and (now - last >= NOTEBOOK_SECONDS or step == stop - 1):
            left = (now - begin) / (step + 1 - start) * (stop - step - 1)
            ahead = f", about {clock(left)} left" if step + 1 < stop else ""
            notebook_bar.show(f"{label}: {step + 1}/{stop}{ahead}", (step + 1) / stop)
            last = now


class NotebookBar:
    """One bar per cell, which the loops of a run fill in turn; needs no widgets."""

    def __init__(self) -> None:
        self._cell: int | None = None
        self._display: Any = None

    def show(self, words: str, share: float) -> None:
        """Draws the bar, or draws it anew where this cell has one.

        Args:
            words: to stand beside it.
            share: how much of it is filled, 0..1.
        """
        from IPython import get_ipython
        from IPython.display import display

        bar = f'<progress value="{share:.4f}"></progress> {html.escape(words)}'
        bundle = {"text/plain": words, "text/html": bar}
        shell: Any = get_ipython()
        if self._cell == shell.execution_count:
            self._display.update(bundle, raw=True)
            return
        self._cell = shell.execution_count
        self._display = display(bundle, raw=True, display_id=True)


notebook_bar = NotebookBar()


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
