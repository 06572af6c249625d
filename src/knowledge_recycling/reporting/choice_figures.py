"""The drawings of what validation chose among."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from knowledge_recycling.reporting.figures import INK, MUTED, SERIES, STUDENT, as_percent, draw
from knowledge_recycling.reporting.formats import finite
from knowledge_recycling.results import Candidate, Trial


def snapshots(table: Sequence[Candidate], chosen: float) -> bytes:
    """Validation CAS of each snapshot: the screen, and the longer look at the finalists."""

    def paint(figure: Figure) -> None:
        axes = figure.subplots()
        for look, colour, marker in (("screen", MUTED, "o"), ("final", STUDENT, "D")):
            scored = [(row.snapshot, found) for row in table if (found := getattr(row, look))]
            x = [step for step, _ in scored]
            y = [as_percent(found.accuracy) for _, found in scored]
            line = "-" if look == "screen" else "none"
            label = "screen" if look == "screen" else "longer look"
            axes.plot(x, y, color=colour, marker=marker, linestyle=line, label=label)
        axes.axvline(chosen, color=INK, linewidth=1, linestyle=":", label="chosen")
        axes.set(xlabel="snapshot (Generator step)", ylabel="validation CAS, %")
        axes.legend(loc="best")

    return draw(paint)


def tuning(
    table: Sequence[Trial],
    field: str,
    label: str,
    default: int | None,
    chosen: int | None,
) -> bytes:
    """Validation CAS of each trial over one parameter of synthesis.

    Args:
        table: the trials.
        field: the parameter on the horizontal axis.
        label: its name in words.
        default: number of the un-tuned trial.
        chosen: number of the trial whose parameters were taken.
    """

    def paint(figure: Figure) -> None:
        axes = figure.subplots()
        whole = [row for row in table if row.state == "complete"]
        for colour, prior in zip(SERIES[::2], sorted({row.prior for row in whole}), strict=False):
            of_prior = [row for row in whole if row.prior == prior]
            _trials(axes, of_prior, field, "o", colour, f"{prior} prior")
        pruned = [row for row in table if row.state == "pruned"]
        _trials(axes, pruned, field, "x", "#a3abb4", "pruned")
        for trial, marker, name in ((default, "s", "un-tuned"), (chosen, "o", "chosen")):
            ring = [row for row in table if row.trial == trial]
            _trials(axes, ring, field, marker, STUDENT, name, ring=True)
        axes.set(xlabel=label, ylabel="validation CAS, %")
        if axes.collections:
            axes.legend(loc="best")

    return draw(paint, width=3.7, height=2.9)


def _trials(
    axes: Axes,
    rows: Sequence[Trial],
    field: str,
    marker: str,
    colour: str,
    name: str,
    ring: bool = False,
) -> None:
    shown = [row for row in rows if finite(row.accuracy) is not None]
    if not shown:
        return
    look: Any = {"color": colour, "s": 26, "linewidths": 1.3}
    if ring:
        look = {"facecolors": "none", "edgecolors": colour, "s": 120, "linewidths": 1.6}
    x, y = [getattr(row, field) for row in shown], [as_percent(row.accuracy) for row in shown]
    axes.scatter(x, y, marker=marker, label=name, **look)
