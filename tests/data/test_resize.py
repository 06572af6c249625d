from __future__ import annotations

import numpy as np
import pytest

from knowledge_recycling.config import Data
from knowledge_recycling.data import ALLOWED_SIZES, check_square_size, open_source
from knowledge_recycling.data.resize import resize_image, resize_note, resize_stack
from knowledge_recycling.errors import KRError


def test_allowed_sizes_are_doubled_grids_of_four_to_eight() -> None:
    def runs(side: int) -> bool:
        while side % 2 == 0:
            side //= 2
            if 4 <= side <= 8:
                return True
        return False

    assert [side for side in range(8, 225) if runs(side)] == list(ALLOWED_SIZES)


@pytest.mark.parametrize(("size", "nearest"), [(30, 28), (63, 64), (9, 8), (100, 96), (500, 224)])
def test_other_sizes_name_the_nearest(size: int, nearest: int) -> None:
    with pytest.raises(
        KRError, match=f"a side of {size} pixels .* the setting data.size={nearest}$"
    ):
        check_square_size(size)
    with pytest.raises(KRError, match=r"data\.size: a side of 30"):
        open_source(Data(source="digits", size=30))


def test_shrinking_is_antialiased() -> None:
    """A one-pixel checkerboard becomes its mean; picking pixels would give black or white."""
    board = (np.indices((64, 64)).sum(axis=0) % 2 * 255).astype(np.uint8)
    small = resize_image(board, 8)[1:-1, 1:-1]
    assert np.abs(small.astype(float) - 127.5).max() < 2


@pytest.mark.parametrize("channels", [1, 3])
def test_a_stack_is_resized_image_by_image(channels: int) -> None:
    images = np.random.default_rng(0).integers(0, 256, (5, 12, 9, channels), dtype=np.uint8)
    result = resize_stack(images, 16)
    assert result.shape == (5, 16, 16, channels)
    for image, small in zip(images, result, strict=True):
        for channel in range(channels):
            np.testing.assert_array_equal(
                small[..., channel], resize_image(np.ascontiguousarray(image[..., channel]), 16)
            )


def test_constant_images_stay_constant() -> None:
    assert (resize_stack(np.full((1, 28, 28, 1), 200, np.uint8), 32) == 200).all()


def test_notes() -> None:
    assert resize_note({(28, 28)}, 28) is None
    assert resize_note({(28, 28)}, 32) == "resized from 28x28 (height x width) to 32x32, Lanczos"
    source = open_source(Data(source="digits", size=16))
    assert source.images.shape == (1797, 16, 16, 1)
    assert source.notes[-1] == "resized from 8x8 (height x width) to 16x16, Lanczos"
