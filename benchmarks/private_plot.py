"""Accuracy of private Teachers against epsilon, beside what is not private, as one figure.

    python -m benchmarks.private_plot

Reads the files of benchmarks/results/private, utility and privacy, and writes
docs/images/private.png, whose metadata hold the digest of what it shows.
"""

from __future__ import annotations

import hashlib
import io
import json
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from benchmarks import common, privacy, private, private_resnet, utility
from knowledge_recycling.auditing.verdict import PRIMARY
from knowledge_recycling.reporting.figures import MUTED, STUDENT, STYLE, TEACHER
from knowledge_recycling.statistics.rates import mean_interval
from knowledge_recycling.storage.files import write_bytes

IMAGE = common.ROOT / "docs" / "images" / "private.png"
LEAK = "#8a5aa0"
ALT = "accuracy against epsilon on {}"


def main() -> None:
    """Draws the figure."""
    write_bytes(IMAGE, draw(shown()))


def shown() -> dict[str, Any]:
    """What the figure shows, by set: accuracies in percent, and attack AUC of shadow audits."""
    found, ordinary = private.results(), common.by_set(utility.RESULTS)
    resnets = private_resnet.accuracies()
    audits = {a["dataset"]: a for a in privacy.measured()}
    sets: dict[str, Any] = {}
    for name in sorted({name for name, _ in found}):
        runs = {
            epsilon: found[name, epsilon]
            for epsilon in private.EPSILONS
            if (name, epsilon) in found
        }
        fast = ordinary.get((name, "fast"), [])
        sets[name] = {
            "unit": next(iter(runs.values()))[0]["unit"],
            "private": {str(epsilon): _accuracies(of) for epsilon, of in runs.items()},
            "fast": _accuracies(fast) if fast else None,
            "resnet": {
                f"{epsilon:g}": 100 * resnets[name, epsilon]
                for epsilon in private.EPSILONS
                if epsilon is not None and (name, epsilon) in resnets
            },
            "audits": {
                str(epsilon): _leak(audits[key])
                for epsilon in (*private.EPSILONS[:-1], None)
                if (key := name if epsilon is None else f"{name}, epsilon {epsilon:g}") in audits
            },
        }
    return sets


def _accuracies(runs: list[dict[str, Any]]) -> list[float]:
    return [100 * run["teacher"]["accuracy"] for run in runs]


def _leak(audit: dict[str, Any]) -> dict[str, float]:
    auc: dict[str, float] = audit["targets"]["student"]["attacks"][PRIMARY]["auc"]
    return auc


def digest(sets: dict[str, Any]) -> str:
    """Of what is shown; in the image under `Results`."""
    return hashlib.sha256(json.dumps(sets, sort_keys=True).encode()).hexdigest()


def draw(sets: dict[str, Any]) -> bytes:
    """One panel per set as PNG."""
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(10, 5.6), dpi=110, layout="constrained")
        FigureCanvasAgg(figure)
        axes = figure.subplots(2, 4).flat
        for panel, (name, about) in zip(axes, sets.items(), strict=False):
            _panel(panel, name, about)
        _legend(axes[len(sets)])
        for panel in axes[len(sets) + 1 :]:
            panel.set_axis_off()
        page = io.BytesIO()
        figure.savefig(page, format="png", metadata={"Results": digest(sets), "Software": None})
        return page.getvalue()


def _panel(panel: Axes, name: str, about: dict[str, Any]) -> None:
    epsilons = [epsilon for epsilon in about["private"] if epsilon != "None"]
    x = np.log2([float(epsilon) for epsilon in epsilons])
    means = [mean_interval(about["private"][epsilon]) for epsilon in epsilons]
    panel.plot(x, [mean.value for mean in means], "o-", color=STUDENT, markersize=4)
    some = [i for i, epsilon in enumerate(epsilons) if len(about["private"][epsilon]) > 1]
    low, high = ([getattr(means[i], end) for i in some] for end in ("low", "high"))
    panel.fill_between(x[some], low, high, color=STUDENT, alpha=0.15, linewidth=0)
    if "None" in about["private"]:
        panel.axhline(np.mean(about["private"]["None"]), color=STUDENT, linestyle=":")
    if about["fast"]:
        panel.axhline(np.mean(about["fast"]), color=TEACHER, linestyle="--")
    if about["audits"]:
        _leaks(panel, about["audits"])
    panel.set_title(f"{name}, by {about['unit']}")
    panel.set_xticks(np.log2([0.5, 1, 3, 8]), ["0.5", "1", "3", "8"])
    # In words: most lie far below, and would flatten the lines.
    resnet = ", ".join(f"{value:.0f}% at {at}" for at, value in about["resnet"].items())
    panel.set_xlabel(f"epsilon\nResNet Student: {resnet or 'not measured'}")
    panel.set_ylabel("accuracy, %")


def _leaks(panel: Axes, audits: dict[str, Any]) -> None:
    other = panel.twinx()
    other.grid(visible=False)
    for epsilon, auc in audits.items():
        ordinary = epsilon == "None"
        x = 3.6 if ordinary else np.log2(float(epsilon))
        error = [[auc["value"] - auc["low"]], [auc["high"] - auc["value"]]]
        marker = "s" if ordinary else "D"
        other.errorbar(x, auc["value"], error, fmt=marker, color=LEAK, markersize=4)
    other.set_ylim(0.48, 0.72)
    other.set_ylabel("attack AUC", color=LEAK)


def _legend(panel: Axes) -> None:
    panel.set_axis_off()
    lines = {
        "private Teacher, 95% over seeds": dict(color=STUDENT, marker="o", markersize=4),
        "the same without noise": dict(color=STUDENT, linestyle=":"),
        "Teacher of fast, no guarantee": dict(color=TEACHER, linestyle="--"),
        "attack on the private Student": dict(color=LEAK, marker="D", markersize=4, linewidth=0),
        "attack on an ordinary Student": dict(color=LEAK, marker="s", markersize=4, linewidth=0),
    }
    for label, style in lines.items():
        panel.plot([], [], label=label, **style)  # type: ignore[arg-type]
    panel.legend(loc="center left", labelcolor=MUTED)


if __name__ == "__main__":
    main()
