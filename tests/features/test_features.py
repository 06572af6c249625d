from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from knowledge_recycling.errors import KRError
from knowledge_recycling.features import Features
from knowledge_recycling.features.whitening import principal_axes

Turn = Callable[[np.ndarray], np.ndarray]


@pytest.fixture
def images() -> np.ndarray:
    return np.random.default_rng(3).integers(0, 256, (6, 28, 28, 1)).astype(np.uint8)


def test_features_are_unit_vectors_and_the_same_in_every_process(
    small_features: None, images: np.ndarray
) -> None:
    made = Features.make(channels=1, block=20)
    z = made.of_bytes(images)
    assert z.shape == (6, 60)
    assert np.allclose(np.linalg.norm(z, axis=1), 1, atol=1e-5)
    from knowledge_recycling import features

    features._largest.cache_clear()
    assert np.array_equal(Features.make(channels=1, block=20).of_bytes(images), z)


@pytest.mark.parametrize(
    ("symmetry", "turns"),
    [
        ("flip", [lambda x: x[:, :, ::-1]]),
        (
            "square",
            [lambda x: x[:, :, ::-1], lambda x: x[:, ::-1], lambda x: np.rot90(x, 1, (1, 2))],
        ),
    ],
)
def test_a_stated_symmetry_changes_nothing(
    small_features: None,
    images: np.ndarray,
    symmetry: str,
    turns: list[Callable[[np.ndarray], np.ndarray]],
) -> None:
    made = Features.make(channels=1, symmetry=symmetry, block=30)
    plain = Features.make(channels=1, block=30)
    for turn in turns:
        turned = np.ascontiguousarray(turn(images))
        assert np.allclose(made.of_bytes(turned), made.of_bytes(images), atol=2e-4)
        assert not np.allclose(plain.of_bytes(turned), plain.of_bytes(images), atol=1e-2)


def test_a_smaller_block_is_the_start_of_a_larger_one(small_features: None) -> None:
    small, large = (Features.make(channels=3, block=k) for k in (10, 40))
    assert torch.equal(small.get_buffer("axes1"), large.get_buffer("axes1")[:, :10])


def test_other_sizes_and_chunks(small_features: None, images: np.ndarray) -> None:
    made = Features.make(channels=1, block=10)
    many = np.tile(images, (50, 1, 1, 1))
    assert np.allclose(made.of_bytes(many)[:6], made.of_bytes(images), atol=1e-5)
    assert made.of_bytes(images[:, :20, :20]).shape == (6, 30)
    assert made.of_bytes(images[:0]).shape == (0, 30)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"channels": 2}, "expected 1 or 3 channels, got 2"),
        ({"channels": 1, "symmetry": "round"}, "symmetry 'round': expected one of none, flip"),
        ({"channels": 1, "block": 0}, "features per block, got 0"),
    ],
)
def test_what_is_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(KRError, match=message):
        Features.make(**arguments)


def test_images_of_another_kind_are_refused(small_features: None) -> None:
    made = Features.make(channels=1, block=10)
    with pytest.raises(
        KRError, match=r"expected uint8 images of shape \(n, h, w, 1\), got float64"
    ):
        made.of_bytes(np.zeros((2, 28, 28, 1)))


@pytest.mark.parametrize("shape", [(50, 8), (12, 30)])
def test_principal_axes_equal_those_of_the_covariance(shape: tuple[int, int]) -> None:
    raw = torch.randn(shape, generator=torch.Generator().manual_seed(0)).double()
    basis = principal_axes(raw.float(), 3, 0.0)
    _, vectors = np.linalg.eigh(np.cov(raw.numpy().T, bias=True))
    expected = vectors[:, ::-1][:, :3]
    assert np.allclose(np.abs(basis.axes.numpy()), np.abs(expected), atol=1e-3)
