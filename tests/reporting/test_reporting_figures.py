from __future__ import annotations

import io
from collections.abc import Callable, Iterable
from typing import Any

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.text import Text
from PIL import Image

from knowledge_recycling.reporting import choice_figures, figures
from knowledge_recycling.reporting.strips import strip
from knowledge_recycling.results import Calibration, Trial


def opened(png: bytes) -> Image.Image:
    return Image.open(io.BytesIO(png))


def test_smooth_equals_a_loop() -> None:
    values = np.random.default_rng(0).normal(size=31)
    naive = [values[max(0, i - 3) : i + 4].mean() for i in range(31)]
    np.testing.assert_allclose(figures.smooth(values, 7), naive, atol=1e-12)


def test_series_leaves_out_what_is_not_finite() -> None:
    rows: list[dict[str, Any]] = [
        {"step": 1, "a": 1.0},
        {"step": 2, "a": None},
        {"step": 3, "a": float("inf")},
        {"step": 4},
    ]
    steps, values = figures.series(rows, "a")
    assert steps.tolist() == [1]
    assert values.tolist() == [1]


def test_figures_are_crisp_and_leave_no_settings_behind() -> None:
    before = dict(mpl.rcParams)
    png = figures.curves([{"step": 1, "loss": 2.0}, {"step": 2, "loss": 1.0}], {"loss": "loss"})
    image = opened(png)
    assert image.format == "PNG"
    assert image.width == pytest.approx(3.7 * 150, abs=1)
    assert "Software" not in image.info
    assert dict(mpl.rcParams) == before


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[Figure]:
    """The figures that are drawn, beside their PNG bytes."""
    kept: list[Figure] = []
    draw = figures.draw

    def keep(paint: Callable[[Figure], None], **size: float) -> bytes:
        def paint_and_keep(figure: Figure) -> None:
            paint(figure)
            kept.append(figure)

        return draw(paint_and_keep, **size)

    for module in (figures, choice_figures):
        monkeypatch.setattr(module, "draw", keep)
    return kept


def points(drawn: Any) -> list[list[float]]:
    """Of a line or of a scatter."""
    found = drawn.get_xydata() if hasattr(drawn, "get_xydata") else drawn.get_offsets()
    return [[float(x), float(y)] for x, y in found]


def texts(labels: Iterable[Text]) -> list[str]:
    return [label.get_text() for label in labels]


@pytest.mark.parametrize(("classes", "shown"), [(2, 2), (12, 12), (40, 20)])
def test_confusion_of_many_and_of_odd_names(classes: int, shown: int, drawn: list[Figure]) -> None:
    names = ["$\\frac{", "眼底", *("x" * 60 for _ in range(classes - 2))]
    counts = 3 * np.eye(classes, dtype=int)
    counts[0, 1] = 1
    png = figures.confusion(counts.tolist(), names, "student")
    assert opened(png).size == (690, 540)
    (axes,) = drawn[0].axes
    np.testing.assert_array_equal(axes.images[0].get_array(), figures.normalise(counts.tolist()))
    ticks = texts(axes.get_yticklabels())
    assert len(ticks) == shown
    assert ticks[0] == "0 $\\frac{"
    assert ticks[-1].endswith("x" * 13 + "…") or classes == 2
    cells = texts(axes.texts)
    assert cells[:2] == ["75", "25"] if classes <= 12 else not cells
    assert len(cells) == (classes**2 if classes <= 12 else 0)


def test_an_empty_calibration_draws_no_point(drawn: list[Figure]) -> None:
    empty = Calibration(confidence=(None, 0.5), accuracy=(None, 0.25), count=(0, 10))
    figures.reliability(empty, "teacher")
    figures.reliability(empty.model_copy(update={"count": (0, 0)}), "teacher")
    (_, full, _), (_, none, hollow) = (figure.axes[0].lines for figure in drawn)
    assert points(full) == [[0.5, 0.25]]
    assert points(none) == points(hollow) == []


def test_a_bin_of_few_images_is_hollow_and_not_joined(drawn: list[Figure]) -> None:
    found = Calibration(confidence=(0.3, 0.6, 0.9), accuracy=(0.2, 1, 0.8), count=(10, 9, 50))
    figures.reliability(found, "student")
    _, joined, few = drawn[0].axes[0].lines
    assert points(joined) == [[0.3, 0.2], [0.9, 0.8]]
    assert points(few) == [[0.6, 1.0]]
    assert few.get_linestyle() == "None"
    assert few.get_markerfacecolor() == "white"


def test_a_class_that_is_called_its_number_is_named_once(drawn: list[Figure]) -> None:
    figures.confusion([[1.0, 0.0], [0.0, 1.0]], ["0", "cat"], "teacher")
    assert texts(drawn[0].axes[0].get_yticklabels()) == ["0", "1 cat"]


def test_a_trial_without_accuracy_is_not_drawn(drawn: list[Figure]) -> None:
    trial = Trial(
        trial=0,
        state="pruned",
        latent_std=1.0,
        prior="real",
        temperature=2.0,
        filter_threshold=0.0,
        accuracy=0.25,
        auc=0.5,
        loss=1.0,
    )
    lost = trial.model_copy(update={"accuracy": float("nan")})
    for row in (trial, lost):
        choice_figures.tuning([row], "temperature", "temperature", None, 0)
    pruned, ring = drawn[0].axes[0].collections
    assert points(pruned) == points(ring) == [[2.0, 25.0]]
    legend = drawn[0].axes[0].get_legend()
    assert legend is not None
    assert texts(legend.get_texts()) == ["pruned", "chosen"]
    assert not drawn[1].axes[0].collections
    assert drawn[1].axes[0].get_legend() is None


def test_a_roc_curve_stays_above_its_floor(drawn: list[Figure]) -> None:
    figures.roc({"loss": (np.array([0.0, 1.0]), np.array([0.0, 1.0]))}, 0.01)
    chance, curve = drawn[0].axes[0].lines
    assert points(chance) == points(curve) == [[0.01] * 2, [1.0] * 2]


def test_strip_holds_the_pixels_unblurred() -> None:
    images = np.random.default_rng(0).integers(0, 256, (3, 8, 8, 1), np.uint8)
    pixels = np.asarray(opened(strip(images, side=16)))
    assert pixels.shape == (16, 3 * 16 + 2 * 6, 4)
    np.testing.assert_array_equal(pixels[::2, :16:2, 0], images[0, :, :, 0])
    np.testing.assert_array_equal(pixels[::2, 22:38:2, 2], images[1, :, :, 0])
    assert (pixels[:, 16:22, 3] == 0).all()


def test_strip_draws_shares_as_bars() -> None:
    images = np.zeros((2, 10, 10, 3), np.uint8)
    pixels = np.asarray(opened(strip(images, np.array([0.5, 1.0]), side=10)))
    filled = pixels[-1, :, 3] == 255
    assert filled[:10].sum() == 5
    assert filled[16:].sum() == 10
