from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from knowledge_recycling.data.checks import as_images
from knowledge_recycling.data.scale import Seen, apply_range, check_contrast, constant, suggest
from knowledge_recycling.errors import KRError

NOISE = np.random.default_rng(0).integers(0, 256, (6, 8, 8, 1), dtype=np.uint8)


@given(
    st.lists(st.integers(-70000, 70000), min_size=1, max_size=20),
    st.integers(-1000, 1000),
    st.integers(1, 70000),
)
def test_a_range_is_applied_as_a_naive_loop_would(values: list[int], low: int, width: int) -> None:
    found, outside = apply_range(np.array(values), (low, low + width))
    naive = [round(min(max((v - low) / width, 0), 1) * 255) for v in values]
    assert found.tolist() == naive
    assert outside == any(not low <= v <= low + width for v in values)


@given(st.floats(-1e5, 1e5), st.floats(0, 1e5))
def test_a_suggested_range_holds_the_values(low: float, width: float) -> None:
    text = suggest(low, low + width).removeprefix("data.range=")
    bottom, top = map(float, text.split(","))
    assert bottom <= low + 1
    assert top >= low + width or np.isclose(top, low + width, rtol=1e-4)
    assert bottom < top or low + width == low


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (NOISE.astype(np.uint16) * 16, "found uint16 values .* setting data.range=0,4095"),
        (NOISE.astype(np.int16) - 9, "found int16 values .* setting data.range=-9,246"),
        (NOISE.astype(int), "found int64 values .*convert with images.astype"),
        (NOISE / 127.5, "outside by 1; state one range for all .* data.range=0,255"),
        (NOISE / 127.5 - 1, "found -1..1, outside by 1; .* data.range=-1,1"),
        (NOISE / 255 * 1.03, "outside by 0.03; clip them"),
        (NOISE.astype(complex), "found complex128"),
        (NOISE.astype("U3"), "found <U3"),
        (NOISE.astype("datetime64[s]"), "found datetime64"),
    ],
)
def test_values_on_no_known_scale(images: np.ndarray, message: str) -> None:
    with pytest.raises(KRError, match=message):
        as_images(images, "mine")


@pytest.mark.parametrize("dtype", [np.uint16, np.int32, np.float64, np.uint8])
def test_a_stated_range_fits_any_type(dtype: type) -> None:
    images, notes = as_images(NOISE.astype(dtype), "mine", (0, 510))
    np.testing.assert_array_equal(images, np.rint(NOISE / 2))
    assert notes == ["values 0..510 scaled to 0..255"]


def test_floats_just_outside_are_clipped() -> None:
    images = NOISE / 255
    images[0, 0, 0, 0], images[1, 0, 0, 0] = 1.0009, -0.0009
    found, notes = as_images(images, "mine")
    assert (found[0, 0, 0, 0], found[1, 0, 0, 0]) == (255, 0)
    assert "2 images with values outside that range, clipped" in notes


def test_blocks_are_judged_together() -> None:
    seen = Seen()
    parts = [seen.convert(block, None) for block in np.split(NOISE / 255, 3)]
    np.testing.assert_array_equal(np.concatenate(parts), NOISE)
    assert seen.judge(np.dtype(float), None, "mine") == ["float values 0..1 scaled to 0..255"]
    seen.convert(NOISE[:1] * 1.0, None)
    with pytest.raises(KRError, match=r"found 0..2\d\d, outside by 2\d\d; divide by 255 first"):
        seen.judge(np.dtype(float), None, "mine")


def test_constant_images_and_contrast() -> None:
    images = np.repeat(NOISE, 3, axis=-1)
    images[1] = [1, 2, 3]
    assert constant(images).tolist() == [False, True, False, False, False, False]
    assert check_contrast(images, None, "mine") == []
    assert check_contrast(images // 16, None, "mine") == [
        "the largest value is 15 of 255, so all images are dark; the setting data.range=0,15 "
        "stretches them"
    ]
    images[2] //= 128
    faint = ["1 image with the values 0 and 1 alone, black to the eye"]
    assert check_contrast(images, None, "mine") == faint
    assert check_contrast(images // 128, (0.0, 255.0), "mine") == []
