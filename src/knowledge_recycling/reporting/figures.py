"""The drawings of the report: plain numbers in, PNG bytes out.

Every figure is one narrow panel, so that panels stand side by side on a wide screen and one
below the other on a phone without shrinking their letters. No pyplot: nothing global is kept.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from knowledge_recycling.reporting.formats import finite
from knowledge_recycling.results import Calibration
from knowledge_recycling.statistics.binomial import clopper_pearson

DPI = 150
INK, MUTED, LINE = "#26303b", "#6b7683", "#e4e7eb"
TEACHER, STUDENT = "#2f5597", "#c55a2b"
COLOURS = {"teacher": TEACHER, "student": STUDENT}
SERIES = ("#2f5597", "#c55a2b", "#3a8a6f", "#8a5aa0", "#a8862a", "#56616d")
DASHES = ("-", "--", "-.", ":", "-", "--")
STYLE: Any = {
    # Class names may hold dollar signs.
    "text.parse_math": False,
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "axes.titlesize": 9,
    "axes.titlelocation": "left",
    "axes.titlecolor": INK,
    "axes.labelcolor": MUTED,
    "axes.edgecolor": "#b9c0c8",
    "axes.linewidth": 0.8,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "grid.color": LINE,
    "grid.linewidth": 0.8,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
    "legend.frameon": False,
    "legend.fontsize": 8,
    "lines.linewidth": 1.6,
    "lines.solid_capstyle": "round",
}


def draw(paint: Callable[[Figure], None], width: float = 4.6, height: float = 3.3) -> bytes:
    """Runs `paint` on a fresh figure of the house's style; sizes in inches."""
    with mpl.rc_context(STYLE), warnings.catch_warnings():
        # Class names may be in any script; the bundled font draws a box for what it lacks.
        warnings.filterwarnings("ignore", message=r"Glyph .* missing from")
        figure = Figure(figsize=(width, height), dpi=DPI, layout="constrained")
        FigureCanvasAgg(figure)
        paint(figure)
        file = io.BytesIO()
        figure.savefig(file, format="png", metadata={"Software": None})
    return file.getvalue()


def series(rows: Sequence[Mapping[str, Any]], key: str) -> tuple[np.ndarray, np.ndarray]:
    """Steps and values of one metric, rows without a finite value left out.

    Example:
        >>> series([{"step": 1, "loss": 2.0}, {"step": 2}], "loss")[1]
        array([2.])
    """
    pairs = [(row["step"], finite(row.get(key))) for row in rows]
    kept = np.array([pair for pair in pairs if pair[1] is not None], dtype=float).reshape(-1, 2)
    return kept[:, 0], kept[:, 1]


def smooth(values: np.ndarray, window: int) -> np.ndarray:
    """Centred moving mean, the window cut off at both ends.

    Example:
        >>> smooth(np.array([0.0, 3.0, 6.0]), 3)
        array([1.5, 3. , 4.5])
    """
    index = np.arange(len(values))
    low, high = np.maximum(index - window // 2, 0), np.minimum(index + window // 2 + 1, len(values))
    total = np.concatenate([[0.0], np.cumsum(values)])
    return (total[high] - total[low]) / (high - low)


def curves(
    rows: Sequence[Mapping[str, Any]],
    panels: Mapping[str, str],
    colour: str = TEACHER,
    mark: float | None = None,
) -> bytes:
    """Small panels one below the other over a common axis of steps.

    Args:
        rows: rows of a metrics.jsonl.
        panels: the metric of each panel, from its key to its title.
        colour: of the curves.
        mark: a step to set off in every panel, such as the chosen snapshot's.
    """

    def paint(figure: Figure) -> None:
        grid = figure.subplots(len(panels), 1, sharex=True, squeeze=False)
        for axes, (key, title) in zip(grid[:, 0], panels.items(), strict=True):
            _curve(axes, *series(rows, key), colour)
            axes.set_title(title)
            if mark is not None:
                axes.axvline(mark, color=INK, linewidth=1, linestyle=":")
        grid[-1, 0].set_xlabel("step")

    return draw(paint, width=3.7, height=max(2.6, 0.5 + 1.2 * len(panels)))


def _curve(axes: Axes, steps: np.ndarray, values: np.ndarray, colour: str) -> None:
    if len(values) < 40:
        axes.plot(steps, values, color=colour, marker="o", markersize=3)
        return
    axes.plot(steps, values, color=colour, alpha=0.25, linewidth=0.8)
    axes.plot(steps, smooth(values, max(5, len(values) // 25)), color=colour)
    # A first step far off the rest would flatten the curve that matters.
    low, high = np.percentile(values, [0, 99])
    axes.set_ylim(low - 0.05 * (high - low + 1e-9), high + 0.1 * (high - low + 1e-9))


def confusion(matrix: Sequence[Sequence[float]], names: Sequence[str], who: str) -> bytes:
    """Row-normalised confusion matrix.

    Args:
        matrix: counts (C, C), true class by predicted class.
        names: of the classes.
        who: `teacher` or `student`, for the colour.
    """
    shares = normalise(matrix)
    n = len(shares)
    ticks = [f"{i} {_short(name)}" if name != str(i) else name for i, name in enumerate(names)]

    def paint(figure: Figure) -> None:
        axes = figure.subplots()
        tint = mpl.colors.LinearSegmentedColormap.from_list(who, ["#ffffff", COLOURS[who]])
        axes.imshow(shares, cmap=tint, vmin=0, vmax=1)
        axes.grid(False)
        step = max(1, n // 20)
        axes.set_xticks(range(0, n, step), [str(i) for i in range(0, n, step)])
        axes.set_yticks(range(0, n, step), ticks[::step])
        axes.set(xlabel="predicted class", ylabel="true class")
        for i, j in np.ndindex(n, n) if n <= 12 else ():
            _cell(axes, i, j, float(shares[i, j]), size=10 if n <= 4 else 8 if n <= 8 else 6.5)

    return draw(paint, height=3.6)


def normalise(matrix: Sequence[Sequence[float]]) -> np.ndarray:
    """Divides each row of counts by its sum; a row without images becomes NaN-free zeros.

    Example:
        >>> normalise([[3, 1], [0, 0]])
        array([[0.75, 0.25],
               [0.  , 0.  ]])
    """
    counts = np.asarray(matrix, dtype=float)
    return counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)


def _cell(axes: Axes, row: int, column: int, share: float, size: float) -> None:
    ink = "white" if share > 0.55 else MUTED if share < 0.005 else INK
    text = "0" if share < 0.005 else f"{100 * share:.0f}"
    axes.text(column, row, text, ha="center", va="center", color=ink, fontsize=size)


def _short(name: str, length: int = 14) -> str:
    return name if len(name) <= length else name[: length - 1] + "…"


FEWEST_JOINED = 10
"""A bin of fewer images says little: its point is hollow, and no line leads to it."""


def reliability(calibration: Calibration, who: str) -> bytes:
    """Reliability diagram: accuracy over confidence, with an exact interval and a count per bin.

    Args:
        calibration: of one classifier.
        who: `teacher` or `student`, for the colour.
    """
    bins = zip(calibration.confidence, calibration.accuracy, calibration.count, strict=True)
    kept = [(c, a, n) for c, a, n in bins if n and c is not None and a is not None]
    confidence, accuracy, count = np.array(kept, dtype=float).reshape(-1, 3).T
    few = count < FEWEST_JOINED
    ends = [clopper_pearson(round(a * n), int(n)) for _, a, n in kept]
    low, high = np.array([(e.low, e.high) for e in ends], dtype=float).reshape(-1, 2).T

    def paint(figure: Figure) -> None:
        axes = figure.subplots()
        axes.plot([0, 1], [0, 1], color=MUTED, linewidth=1, linestyle="--")
        axes.vlines(confidence, low, high, color=COLOURS[who], alpha=0.35, linewidth=1.2)
        style: Any = {"color": COLOURS[who], "marker": "o", "markersize": 4}
        axes.plot(confidence[~few], accuracy[~few], **style)
        axes.plot(confidence[few], accuracy[few], **style, linestyle="", markerfacecolor="white")
        left = min([0.95, *confidence, *accuracy])
        axes.set(xlim=(max(0, left - 0.05), 1.01), ylim=(max(0, left - 0.05), 1.02))
        axes.set(xlabel="confidence", ylabel="accuracy")

    return draw(paint, height=3.6)


def roc(
    attacks: Mapping[str, tuple[np.ndarray, ...]],
    floor: float,
    bands: Mapping[str, tuple[np.ndarray, ...]] | None = None,
) -> bytes:
    """ROC curves on log-log axes, where the low false-positive rates that matter are visible.

    Args:
        attacks: name -> (fpr (n,), tpr (n,)), in [0, 1].
        floor: smallest rate shown; lower ones are drawn on it.
        bands: name -> (fpr (m,), lowest tpr (m,), highest tpr (m,)), shaded around its curve.
    """

    def paint(figure: Figure) -> None:
        axes = figure.subplots()
        axes.plot([floor, 1], [floor, 1], color=MUTED, linewidth=1, label="chance")
        for i, (name, curve) in enumerate(attacks.items()):
            x, y = (np.maximum(rate, floor) for rate in curve)
            look: Any = {"color": SERIES[i % len(SERIES)], "linestyle": DASHES[i % len(DASHES)]}
            axes.plot(x, y, label=name, drawstyle="steps-post", **look)
            if bands and name in bands:
                at, low, high = (np.maximum(rate, floor) for rate in bands[name])
                shade: Any = {"color": look["color"], "alpha": 0.15, "linewidth": 0}
                axes.fill_between(at, low, high, **shade)
        axes.set(xscale="log", yscale="log", xlim=(floor, 1), ylim=(floor, 1.1))
        axes.set(xlabel="false-positive rate", ylabel="true-positive rate")
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_formatter(lambda rate, _: f"{100 * rate:g}%")
        axes.legend(loc="lower right")

    return draw(paint, height=3.8)


def roc_words(curves: Mapping[str, tuple[np.ndarray, ...]]) -> str:
    """The figures of ROC curves, for who cannot see them.

    Args:
        curves: name -> (fpr (n,), tpr (n,)), rising.

    Example:
        >>> roc_words({"Student": (np.array([0.0, 1.0]), np.array([0.0, 1.0]))})
        'true-positive rate at 1%, 10% and 50% false positives: Student 1.0%, 10.0%, 50.0%'
    """
    texts = []
    for name, (fpr, tpr, *_) in curves.items():
        rates = np.interp((0.01, 0.1, 0.5), fpr, tpr)
        texts.append(f"{name} {', '.join(f'{100 * rate:.1f}%' for rate in rates)}")
    return f"true-positive rate at 1%, 10% and 50% false positives: {'; '.join(texts)}"


def curve_words(rows: Sequence[Mapping[str, Any]], panels: Mapping[str, str]) -> str:
    """First and last value of each curve, for who cannot see them.

    Example:
        >>> curve_words([{"step": 1, "l": 2.0}, {"step": 9, "l": 0.5}], {"l": "loss"})
        'loss from 2 at step 1 to 0.5 at step 9'
    """
    texts = []
    for key, title in panels.items():
        steps, values = series(rows, key)
        if len(values):
            first, last = ((f"{values[i]:.3g}", f"{steps[i]:.0f}") for i in (0, -1))
            texts.append(
                f"{title} from {first[0]} at step {first[1]} to {last[0]} at step {last[1]}"
            )
    return "; ".join(texts)


def as_percent(value: Any) -> float:
    """A share in percent; NaN where it is none."""
    number = finite(value)
    return float("nan") if number is None else 100 * number
