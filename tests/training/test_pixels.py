from __future__ import annotations

import pytest
import torch

from knowledge_recycling.classifiers.resnet import ResNet
from knowledge_recycling.data import ALLOWED_SIZES
from knowledge_recycling.training.pixels import fold, folded, to_bytes, to_float, unfolded


def test_the_grid_is_never_larger_than_64() -> None:
    for size in ALLOWED_SIZES:
        f = fold(size)
        assert size % f == 0
        assert size // f <= 64
        assert f == 1 or size // (f // 2) > 64


@pytest.mark.parametrize("f", [1, 2, 4])
def test_folding_moves_pixels_and_changes_none(f: int) -> None:
    images = torch.arange(2 * 3 * 8 * 8.0).reshape(2, 3, 8, 8)
    maps = folded(images, f)
    assert maps.shape == (2, 3 * f * f, 8 // f, 8 // f)
    assert torch.equal(unfolded(maps, f), images)
    # channel c, row i and column j of a block lie in channel (c f + i) f + j
    assert maps[1, (2 * f + (f - 1)) * f, 0, 0] == images[1, 2, f - 1, 0]


def test_bytes_come_back() -> None:
    values = torch.arange(256, dtype=torch.uint8)
    assert torch.equal(to_bytes(to_float(values)), values)


@pytest.mark.parametrize(("size", "grid"), [(28, 28), (96, 48), (224, 56)])
def test_a_classifier_sees_large_images_in_blocks(size: int, grid: int) -> None:
    network = ResNet(3, 5, 8, (1, 1, 1), size)
    maps = network.feature_maps(torch.zeros(2, 3, size, size))
    assert [m.shape[2] for m in maps] == [grid, grid, grid // 2, grid // 4]
    assert network.classify(maps).shape == (2, 5)
