from __future__ import annotations

import io
from typing import Any

import matplotlib as mpl
import numpy as np
import pytest
from PIL import Image

from knowledge_recycling.reporting import figures
from knowledge_recycling.reporting.strips import strip


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


@pytest.mark.parametrize("classes", [2, 12, 40])
def test_confusion_of_many_and_of_odd_names(classes: int) -> None:
    names = ["$\\frac{", "眼底", *("x" * 60 for _ in range(classes - 2))]
    assert (
        opened(figures.confusion(np.eye(classes, dtype=int).tolist(), names, "student")).width > 0
    )


def test_drawings_of_nothing_do_not_fail() -> None:
    empty: Any = {"confidence": [None], "accuracy": [None], "count": [0]}
    assert figures.reliability(empty, "teacher")
    row = {"trial": 0, "state": "pruned", "prior": "real", "accuracy": None, "temperature": 1.0}
    assert figures.tuning([row], "temperature", "temperature", None, None)
    nothing = np.array([0.0, 1.0])
    assert figures.roc({"loss": (nothing, nothing)}, 0.01)


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
