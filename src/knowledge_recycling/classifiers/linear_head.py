"""Softmax-linear head with differential privacy: full-batch gradient descent on clipped sums.

    V <- momentum V + clipped sum of x (p - y)' + noise,    W <- W - rate V

No sampling: each step is a Gaussian mechanism on the whole set, so T steps of mu / sqrt(T) each
are mu-GDP for one unit (Dong, Roth and Su, arXiv:1905.02383). The noise on the weights of one step
is then rate clip sqrt(T) / mu, whatever the number of images: so a rate in proportion to mu serves
every size of set, until `most` stops it on large ones.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from knowledge_recycling.arrays import Floats
from knowledge_recycling.errors import KRError
from knowledge_recycling.privacy.clipping import Units
from knowledge_recycling.privacy.mechanisms import noisy_outer_sum
from knowledge_recycling.privacy.noise import NoiseSource

BIAS = 0.3
"""The constant input beside the features."""


@dataclass(frozen=True)
class Descent:
    """Frozen constants; never chosen on the private data."""

    steps: int = 100
    rate: float = 1 / 200
    """Of the weights per unit of mu and of the summed gradient."""
    most: float = 150.0
    """Largest rate per image: on large sets the noise no longer limits it."""
    momentum: float = 0.9
    clip: float = 0.5
    """Largest norm of the gradient of an image, and of a patient."""
    averaged: float = 0.5
    """Share of the last iterates whose mean is the result."""


def inputs(z: ArrayLike, centre: ArrayLike) -> Floats:
    """(unit(z - c), bias): (n, k) features to (n, k + 1) inputs of the head."""
    moved = np.asarray(z, np.float64) - np.asarray(centre, np.float64)
    moved /= np.maximum(np.linalg.norm(moved, axis=1, keepdims=True), 1e-12)
    return np.column_stack([moved, np.full(len(moved), BIAS)])


def fit(
    x: Floats,
    labels: NDArray[np.integer],
    classes: int,
    *,
    count: float,
    units: Units,
    mu: float,
    noise: NoiseSource,
    descent: Descent = Descent(),
) -> Floats:
    """Weights W (k + 1, C) from zero; mu-GDP for a unit of `units`.

    Args:
        x: (n, k + 1), see `inputs`.
        labels: (n,) in 0..C-1.
        classes: C, as the user states them.
        count: a noisy or stated number of images, for the largest rate alone.
        units: whose rows they are.
        mu: of all steps together.
        noise: the noise source.
        descent: the frozen constants.

    Raises:
        KRError: inputs that are not finite, or labels out of range.
    """
    if len(labels) and not (labels.min() >= 0 and labels.max() < classes):
        raise KRError(f"labels: expected 0..{classes - 1}")
    truth = np.eye(classes)[labels]
    rate = min(descent.rate * mu, descent.most / max(count, 1.0))
    each = mu / descent.steps**0.5
    weights, velocity = np.zeros((2, x.shape[1], classes))
    total = np.zeros_like(weights)
    first = int(descent.steps * (1 - descent.averaged))
    for step in range(descent.steps):
        residuals = softmax(x @ weights) - truth
        gradient = noisy_outer_sum(x, residuals, descent.clip, units, each, noise)
        velocity = descent.momentum * velocity + gradient
        weights = weights - rate * velocity
        if step >= first:
            total += weights
    return np.asarray(total / (descent.steps - first))


def softmax(logits: Floats) -> Floats:
    """Probabilities (n, C) of logits (n, C)."""
    shifted = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(shifted / shifted.sum(axis=1, keepdims=True))


def learn_answers(x: Floats, probabilities: Floats, ridge: float = 1e-6) -> Floats:
    """Weights (k + 1, C) whose logits are nearest to the logarithms of soft labels.

        W = (X'X + n r I)^-1 X' (log t - mean_c log t)

    Distillation of a linear head in closed form: cross-entropy to soft labels at a high temperature
    is the squared distance of centred logits (Hinton et al. 2015, arXiv:1503.02531, section 2.1).

    Args:
        x: (n, k + 1) inputs of synthetic images.
        probabilities: t, (n, C) in 0..1.
        ridge: r.
    """
    logs = np.log(np.clip(probabilities, 1e-12, 1.0))
    logs -= logs.mean(axis=1, keepdims=True)
    gram = x.T @ x + ridge * len(x) * np.eye(x.shape[1])
    return np.asarray(np.linalg.solve(gram, x.T @ logs))
