"""docs/images/speed.png: who takes how long, and how a run grows; its metadata hold the digest."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Mapping
from statistics import median
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter

from benchmarks import common
from benchmarks.speed import runs, teacher
from benchmarks.speed.turns import results
from knowledge_recycling.reporting.figures import MUTED, STUDENT, STYLE, TEACHER

IMAGE = common.ROOT / "docs" / "images" / "speed.png"
BARS = ("teacher", "shadows", "scorers", "audit")
HEIGHT = 0.34
"""Of a bar with what is above it, in inches."""


def shown() -> dict[str, dict[str, dict[str, list[float]]]]:
    """Case -> version -> medians of processor seconds and MiB, by part."""
    return {
        part: {
            case: {
                version: [median(turn[key] for turn in turns if key in turn) for key in keys]
                for version, turns in versions.items()
                if turns
            }
            for case, versions in found["cases"].items()
        }
        for part, found in results().items()
        for keys in [("processor", "mib") if part == "pipeline" else ("processor",)]
    }


def digest(found: Mapping[str, Any]) -> str:
    """Of what is shown; in the image under `Results`."""
    return hashlib.sha256(json.dumps(found, sort_keys=True).encode()).hexdigest()


def draw(found: Mapping[str, Any]) -> bytes:
    """Bars for each case on the left, the growth of a run on the right, as PNG."""
    bars = [
        (case, versions)
        for part in BARS
        for case, versions in found.get(part, {}).items()
        if len(versions) > 1 and case != teacher.PRODUCT
    ]
    with mpl.rc_context(STYLE):
        rows = sum(len(versions) + 1 for _, versions in bars)
        height = max(4.5, HEIGHT * rows)
        figure = Figure(figsize=(10, height), dpi=110, layout="constrained")
        FigureCanvasAgg(figure)
        grid = figure.add_gridspec(2, 2, width_ratios=(3, 2), height_ratios=(4, height - 4))
        _bars(figure.add_subplot(grid[:, 0]), bars)
        _growth(figure.add_subplot(grid[0, 1]), found.get("pipeline"))
        page = io.BytesIO()
        figure.savefig(page, format="png", metadata={"Results": digest(found), "Software": None})
        return page.getvalue()


def _bars(axes: Axes, cases: list[tuple[str, dict[str, list[float]]]]) -> None:
    place, ticks = 0, {}
    for case, versions in cases:
        axes.text(0, place, case, transform=axes.get_yaxis_transform(), va="center", color=MUTED)
        for version, (seconds,) in versions.items():
            place += 1
            ours = version == "now" or version.startswith("this package")
            axes.barh(place, seconds, color=TEACHER if ours else STUDENT, height=0.7)
            axes.text(seconds, place, f" {seconds:.3g} s", va="center", fontsize=7)
            ticks[place] = version
        place += 1
    axes.set_yticks(list(ticks), list(ticks.values()))
    axes.set_ylim(place - 0.4, -0.6)
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter("{x:g}")
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.margins(x=0.15)
    axes.grid(visible=False, axis="y")
    axes.set_xlabel("processor seconds; this package now in blue")


def _growth(axes: Axes, cases: Mapping[str, Mapping[str, list[float]]] | None) -> None:
    if not cases:
        axes.set_axis_off()
        return
    seconds, mib = zip(*(next(iter(versions.values())) for versions in cases.values()), strict=True)
    thousands = [count / 1000 for count in runs.RECORDS]
    axes.plot(thousands, seconds, "o-", color=TEACHER)
    axes.set_ylim(bottom=0)
    axes.set_xlabel("thousands of records")
    axes.set_ylabel("processor seconds of kr run", color=TEACHER)
    other = axes.twinx()
    other.grid(visible=False)
    other.plot(thousands, mib, "s--", color=STUDENT)
    other.set_ylim(bottom=0)
    other.set_ylabel("MiB", color=STUDENT)
