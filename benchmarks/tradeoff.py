"""Utility against leak of all runs that have both, as one figure.

    python -m benchmarks.tradeoff

Reads the files of benchmarks/results/privacy and utility, and writes docs/images/tradeoff.png,
whose metadata hold the digest of what it shows.

On the left Students audited with shadows, ordinary and private. On the right every ordinary run of
the utility table, attacked by a threshold, train against test: a weak attack, which also counts
what else the two splits differ in, so the panels share no axis. Up: the Student's accuracy on test
less that of the set's ordinary Teachers.
"""

from __future__ import annotations

import io
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from benchmarks import common, privacy, utility
from benchmarks.private_plot import digest
from knowledge_recycling.auditing.verdict import PRIMARY
from knowledge_recycling.reporting.figures import MUTED, STYLE
from knowledge_recycling.storage.files import write_bytes

IMAGE = common.ROOT / "docs" / "images" / "tradeoff.png"
ALT = "utility against leak of all runs"
COLOURS = {
    "bloodmnist_like": "#b2182b",
    "breastmnist": "#2f5597",
    "dermamnist_like": "#8a5aa0",
    "digits": "#26303b",
    "fashionmnist": "#7f7f2a",
    "malaria_patients": "#c55a2b",
    "pneumoniamnist": "#2a8f7f",
    "retinamnist": "#d08fb0",
}


def main() -> None:
    """Draws the figure."""
    write_bytes(IMAGE, draw(shown()))


def shown() -> dict[str, Any]:
    """What the figure shows.

    Returns:
        `audited`: per file of `privacy`, and `attacked`: per run of `utility`: dataset, epsilon
        (None: an ordinary run), attack AUC on the Student (value, low, high), and points, the
        Student's accuracy less the mean of the ordinary Teachers of its set, in percentage points.
    """
    audits = privacy.measured()
    runs = [run for of in common.by_set(utility.RESULTS).values() for run in of]
    teachers: dict[str, list[float]] = {}
    for run in runs:
        teachers.setdefault(run["dataset"], []).append(run["teacher"]["accuracy"])
    for audit in audits:  # of sets that `utility` does not run
        if audit.get("epsilon") is None:
            teachers.setdefault(audit["dataset"], [audit["run_accuracy"]["teacher"]])

    def point(of: dict[str, Any], accuracy: float, auc: dict[str, float]) -> dict[str, Any]:
        name = of["dataset"].split(",")[0]  # of "digits, epsilon 3"
        points = 100 * (accuracy - float(np.mean(teachers[name])))
        return {"dataset": name, "epsilon": of.get("epsilon"), "auc": auc, "points": points}

    return {
        "audited": [
            point(
                audit,
                audit["run_accuracy"]["student"],
                audit["targets"]["student"]["attacks"][PRIMARY]["auc"],
            )
            for audit in audits
        ],
        "attacked": [
            point(run, run["student"]["accuracy"], run["attacks"]["student"]["auc"])
            for run in runs
            if "student" in run["attacks"]
        ],
    }


def draw(points: dict[str, Any]) -> bytes:
    """Both panels as PNG."""
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(10, 4.6), dpi=110, layout="constrained")
        FigureCanvasAgg(figure)
        left, right, legend = figure.subplots(1, 3, width_ratios=(4, 4, 1.7))
        _panel(left, points["audited"], "audited with 16 shadows, private runs by epsilon")
        _panel(right, points["attacked"], "every run of fast, threshold attack")
        left.set_ylabel("Student's accuracy less ordinary Teacher's, points")
        _legend(legend, {one["dataset"] for of in points.values() for one in of})
        page = io.BytesIO()
        metadata = {"Results": digest(points), "Software": None}
        figure.savefig(page, format="png", metadata=metadata)
        return page.getvalue()


def _panel(panel: Axes, points: list[dict[str, Any]], title: str) -> None:
    for one in points:
        auc, epsilon = one["auc"], one["epsilon"]
        error = [[auc["value"] - auc["low"]], [auc["high"] - auc["value"]]]
        colour = COLOURS[one["dataset"]]
        panel.errorbar(
            auc["value"],
            one["points"],
            xerr=error,
            fmt="s" if epsilon is None else "o",
            color=colour,
            ecolor=(colour, 0.35),
            markerfacecolor=colour if epsilon is None else "white",
            markersize=5,
        )
        if epsilon is not None:
            at = (auc["value"], one["points"])
            label = f"{epsilon:g}"
            panel.annotate(label, at, (4, 4), textcoords="offset points", color=colour, fontsize=8)
    panel.axvline(0.5, color=MUTED, linestyle=":", linewidth=1)
    panel.axhline(0, color=MUTED, linestyle=":", linewidth=1)
    panel.set_title(title)
    panel.set_xlabel("attack AUC on the Student, 95%; 0.5: chance")


def _legend(panel: Axes, names: set[str]) -> None:
    panel.set_axis_off()
    for name in sorted(names):
        panel.plot([], [], "s", color=COLOURS[name], label=name)
    panel.plot([], [], "s", color=MUTED, label="ordinary run")
    panel.plot([], [], "o", color=MUTED, markerfacecolor="white", label="private run")
    panel.legend(loc="center left", labelcolor=MUTED)


if __name__ == "__main__":
    main()
