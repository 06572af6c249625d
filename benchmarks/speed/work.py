"""What is trained and scored, the same for all versions."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType

import numpy as np
from numpy.typing import NDArray
from torch import nn

SIZE, CLASSES, WIDTH, BLOCKS = 28, 10, 16, (1, 1, 1)
BATCH, SHIFT = 64, 2
LEARNING_RATE, WEIGHT_DECAY = 5e-3, 0.05
SHADOWS, RECORDS, EPOCHS = 4, 2000, 3
"""Each shadow trains on so many images, a random half of a pool."""
PIPELINES = 16


def pictures(count: int, seed: int = 0) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Noisy images (n, 28, 28, 1) of ten patterns, and which pattern it is (n,)."""
    rng = np.random.default_rng(seed)
    patterns = rng.integers(40, 216, (CLASSES, 7, 7)).repeat(4, axis=1).repeat(4, axis=2)
    labels = np.arange(count) % CLASSES
    noise = rng.integers(-40, 40, (count, SIZE, SIZE))
    return (patterns[labels] + noise).astype(np.uint8)[..., None], labels


def halves(records: int) -> list[NDArray[np.int64]]:
    """Which images each shadow trains on: so many of a pool of twice as many."""
    orders = [np.random.default_rng(k).permutation(2 * records) for k in range(SHADOWS)]
    return [order[:records] for order in orders]


def signals(records: int) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Signals and membership (`PIPELINES`, n): halves in complementary pairs, members higher."""
    rng = np.random.default_rng(0)
    half = rng.random((PIPELINES // 2, records)).argsort(axis=1) < records // 2
    mask = np.concatenate([half, ~half])
    return rng.normal(size=mask.shape) + 0.3 * mask, mask


def sides(records: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The signals of members and of others, as scores."""
    phi, mask = signals(records)
    return phi[mask], phi[~mask]


def network() -> nn.Module:
    """The Teacher, untrained.

    A peer's interpreter has torch, but not all that `knowledge_recycling.classifiers` imports:
    there the folder stands in for the package.
    """
    name = "knowledge_recycling.classifiers"
    try:
        __import__(name)
    except ImportError:
        import knowledge_recycling

        package = ModuleType(name)
        package.__path__ = [str(Path(knowledge_recycling.__file__).parent / "classifiers")]
        sys.modules[name] = package
    from knowledge_recycling.classifiers.resnet import ResNet

    return ResNet(1, CLASSES, WIDTH, BLOCKS, SIZE)
