"""What Teachers and shadows are trained on and with, the same for all versions."""

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
SHADOWS, RECORDS, EPOCHS = 4, 2000, 5
"""Each shadow trains on so many images, a random half of a pool."""


def pictures(count: int, seed: int = 0) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Noisy images (n, 28, 28, 1) of ten patterns, and which pattern it is (n,)."""
    rng = np.random.default_rng(seed)
    patterns = rng.integers(40, 216, (CLASSES, 7, 7)).repeat(4, axis=1).repeat(4, axis=2)
    labels = np.arange(count) % CLASSES
    noise = rng.integers(-40, 40, (count, SIZE, SIZE))
    return (patterns[labels] + noise).astype(np.uint8)[..., None], labels


def halves() -> list[NDArray[np.int64]]:
    """Which images of the pool each shadow trains on: `RECORDS` of twice as many."""
    orders = [np.random.default_rng(k).permutation(2 * RECORDS) for k in range(SHADOWS)]
    return [order[:RECORDS] for order in orders]


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
