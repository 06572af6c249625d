"""The Teacher of a private run: noisy class counts, a noisy centre, and a noisy linear head.

Three releases, of which each is a Gaussian mechanism on the whole set, so that their mu^2 add up
exactly; the proof is in docs/private.md. Nothing else of the images reaches the network: the
features and their scale come from procedural images, and every constant here is frozen.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from knowledge_recycling.arrays import Stored
from knowledge_recycling.classifiers import linear_head
from knowledge_recycling.classifiers.feature_network import FeatureNetwork
from knowledge_recycling.features import LARGEST, Features
from knowledge_recycling.privacy.clipping import Units
from knowledge_recycling.privacy.mechanisms import Budget, noisy_counts, noisy_mean
from knowledge_recycling.privacy.noise import NoiseSource

LEAST_BLOCK = 100
IMAGES_PER_FEATURE = 5.0
"""Images at mu = 1 for each feature of a block."""


def block_size(count: float, mu: float) -> int:
    """Features per block that so many images can afford: count mu / 5, from 100 to 600.

    Example:
        >>> block_size(500, 0.7), block_size(2000, 0.7), block_size(50_000, 0.7)
        (100, 280, 600)
    """
    return int(np.clip(count * mu / IMAGES_PER_FEATURE, LEAST_BLOCK, LARGEST))


@dataclass(frozen=True)
class Release:
    """What the mechanisms gave; everything else of the Teacher is public."""

    counts: NDArray[np.float64]
    """(C,) noisy numbers of images (patients' weights) per class."""
    block: int
    """Features per block, by the noisy counts."""
    centre: NDArray[np.float64]
    """(3 block,)"""
    weights: NDArray[np.float64]
    """(3 block + 1, C)"""


def release(
    embed: Callable[[int], NDArray[np.float32]],
    labels: NDArray[np.integer],
    classes: int,
    *,
    units: Units,
    budget: Budget,
    noise: NoiseSource,
) -> Release:
    """The three releases of a Teacher; spends the shares `counts`, `mean` and `head`.

    Args:
        embed: features (n, 3 k) of the images with blocks of k.
        labels: (n,) in 0..C-1.
        classes: C, as the user states them.
        units: whose images they are.
        budget: with shares of those three names.
        noise: `privacy.noise.gaussian`, or a stub in tests.

    Raises:
        KRError: labels out of range, or features that are not finite.
    """
    counts = noisy_counts(labels, classes, units, budget.spend("counts"), noise)
    count = max(float(counts.sum()), 1.0)
    block = block_size(count, budget.mu)
    z = embed(block)
    centre = noisy_mean(z, 1.0, units, budget.spend("mean"), noise)
    weights = linear_head.fit(
        linear_head.inputs(z, centre),
        labels,
        classes,
        count=count,
        units=units,
        mu=budget.spend("head"),
        noise=noise,
    )
    return Release(counts, block, centre, weights)


def network_of(found: Release, features: Features) -> FeatureNetwork:
    """The Teacher of a release on its features, in eval mode."""
    classes = found.weights.shape[1]
    network = FeatureNetwork(features.channels, classes, features.symmetry, found.block)
    network.features.load_state_dict(features.state_dict())
    network.centre.copy_(torch.from_numpy(found.centre))
    with torch.no_grad():
        network.weights.copy_(torch.from_numpy(found.weights))
    return network.eval()


def train(
    images: Stored,
    labels: NDArray[np.integer],
    classes: int,
    *,
    units: Units,
    budget: Budget,
    symmetry: str,
    noise: NoiseSource,
) -> tuple[FeatureNetwork, NDArray[np.float64]]:
    """Trains the Teacher, see `release`.

    Args:
        images: (n, h, w, c) uint8.
        labels: (n,) in 0..C-1.
        classes: C, as the user states them.
        units: whose images they are.
        budget: as for `release`.
        symmetry: that the user states, see `features.Features`.
        noise: as for `release`.

    Returns:
        The network in eval mode, and the noisy counts (C,).

    Raises:
        KRError: arrays of another shape, or values that are not finite.
    """
    channels = images.shape[3]

    def embed(block: int) -> NDArray[np.float32]:
        return Features.make(channels=channels, symmetry=symmetry, block=block).of_bytes(images)

    found = release(embed, labels, classes, units=units, budget=budget, noise=noise)
    features = Features.make(channels=channels, symmetry=symmetry, block=found.block)
    return network_of(found, features), found.counts
