"""Softmax-linear head with differential privacy: full-batch gradient descent on clipped sums.

    W <- W - rate V,  V <- momentum V + (sum_u clip_C(g_u) + N(0, (sigma C)^2)) / n

with g_u the gradient of unit u (an image, or a patient: the sum of the clipped gradients of the
images). No sampling: each step is a Gaussian mechanism on the whole set, so T steps at noise
multiplier sigma are mu-GDP with mu = sqrt(T) / sigma under adding or removing one unit
(Dong, Roth and Su, arXiv:1905.02383). `n` is the stated size of the set, not a count of it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from knowledge_recycling.errors import KRError

Floats = NDArray[np.floating]
Noise = Callable[[tuple[int, ...], float], NDArray[np.floating]]
"""Noise(shape, scale): independent normal numbers of that standard deviation."""


@dataclass(frozen=True)
class HeadSettings:
    """Frozen constants of the descent; never chosen on the private data."""

    steps: int = 100
    rate: float = 8.0
    momentum: float = 0.9
    clip: float = 0.5
    """Largest norm of the gradient of an image."""
    unit_clip: float = 0.5
    """Largest norm of the gradient of a patient; not used where the unit is an image."""
    bias: float = 0.3
    """The constant input beside the features."""
    averaged: float = 0.5
    """Share of the last iterates whose mean is the result."""


@dataclass(frozen=True)
class LinearHead:
    """A trained head: logits = (unit(z - centre), bias) W."""

    centre: Floats
    """(k,)"""
    weights: Floats
    """(k + 1, C)"""
    bias: float

    def logits(self, z: Floats) -> Floats:
        """Logits (n, C) of features (n, k)."""
        return _inputs(z, self.centre, self.bias) @ self.weights


def clipped_sum(rows: Floats, clip: float, groups: NDArray[np.integer] | None = None) -> Floats:
    """Sum over units of rows (n, k) clipped to norm `clip`; a patient counts with their mean row.

    Adding or removing one unit changes the sum by at most `clip` in norm.

    Args:
        rows: one row per image.
        clip: largest norm of a row.
        groups: patient of each image, (n,); None: the unit is an image.

    Raises:
        KRError: a row holds NaN or infinity.

    Example:
        >>> clipped_sum(np.array([[3.0, 4.0], [0.1, 0.0]]), clip=1.0)
        array([0.7, 0.8])
    """
    _refuse_nan(rows)
    rows = rows * _factor(np.linalg.norm(rows, axis=1, keepdims=True), clip)
    if groups is not None:
        # A mean of rows within the clip is within it: nothing is left to clip.
        rows = np.array([rows[unit].mean(axis=0) for unit in _units(groups)])
    return rows.sum(axis=0)


def private_mean(
    rows: Floats,
    units: int,
    noise: Noise,
    sigma: float,
    clip: float = 1.0,
    groups: NDArray[np.integer] | None = None,
) -> Floats:
    """Mean c of the units' rows with noise, shrunk to 0 by James and Stein; (1 / sigma)-GDP.

    c = (clipped sum + N(0, (sigma clip)^2)) / units, times max(0, 1 - k s^2 / |c|^2) with
    s = sigma clip / units, the noise in each of the k numbers. The shrinking reads c alone.

    Args:
        rows: features (n, k).
        units: number of images, or of patients, that the user states.
        noise: the source of noise.
        sigma: noise multiplier.
        clip: largest norm of a row.
        groups: patient of each image, (n,); None: the unit is an image.

    Raises:
        KRError: a row holds NaN or infinity.
    """
    total = clipped_sum(rows, clip, groups)
    mean = (total + noise(total.shape, sigma * clip)) / units
    expected = total.size * (sigma * clip / units) ** 2
    shrunk = mean * max(0.0, 1 - expected / max(float(mean @ mean), 1e-12))
    return shrunk.astype(np.float32)


def clipped_gradient(
    inputs: Floats,
    residuals: Floats,
    settings: HeadSettings,
    members: list[NDArray[np.intp]] | None = None,
) -> Floats:
    """Sum over units of the clipped gradients x (p - y)', (k + 1, C).

    The gradient of an image has norm |x| |p - y|, so it is clipped without being formed.

    Args:
        inputs: x, (n, k + 1).
        residuals: p - y, (n, C).
        settings: gives `clip` and `unit_clip`.
        members: rows of each patient; None: the unit is an image.
    """
    norms = np.linalg.norm(inputs, axis=1, keepdims=True)
    norms = norms * np.linalg.norm(residuals, axis=1, keepdims=True)
    residuals = residuals * _factor(norms, settings.clip)
    if members is None:
        return inputs.T @ residuals
    total = np.zeros((inputs.shape[1], residuals.shape[1]), np.float32)
    for rows in members:
        gradient = inputs[rows].T @ residuals[rows]
        norm = np.sqrt(np.sum(gradient**2, keepdims=True))
        total += gradient * _factor(norm, settings.unit_clip)
    return total


def fit(
    z: Floats,
    labels: NDArray[np.integer],
    classes: int,
    stated: int,
    *,
    centre: Floats,
    noise: Noise,
    sigma: float,
    settings: HeadSettings,
    groups: NDArray[np.integer] | None = None,
) -> LinearHead:
    """Trains the head from zero weights.

    Args:
        z: features (n, k).
        labels: 0..C-1, (n,).
        classes: C, as the user states them.
        stated: size of the set that the user states; scales the step only.
        centre: (k,), subtracted from the features; for instance a `private_mean`.
        noise: the source of noise.
        sigma: noise multiplier: the noise on each sum has standard deviation sigma times the clip.
        settings: the frozen constants.
        groups: patient of each image, (n,); None: the unit is an image.

    Raises:
        KRError: features with NaN or infinity, or labels out of range.
    """
    _refuse_nan(z)
    if len(labels) and not (labels.min() >= 0 and labels.max() < classes):
        raise KRError(f"labels: expected 0..{classes - 1}")
    inputs = _inputs(z, centre, settings.bias)
    truth = np.eye(classes, dtype=np.float32)[labels]
    members = None if groups is None else _units(groups)
    scale = sigma * (settings.clip if groups is None else settings.unit_clip)
    weights: Floats = np.zeros((inputs.shape[1], classes), np.float32)
    velocity, total = np.zeros_like(weights), np.zeros_like(weights)
    first = int(settings.steps * (1 - settings.averaged))
    for step in range(settings.steps):
        residuals = softmax(inputs @ weights) - truth
        gradient = clipped_gradient(inputs, residuals, settings, members)
        gradient = (gradient + noise(gradient.shape, scale)).astype(np.float32)
        velocity = settings.momentum * velocity + gradient / stated
        weights = weights - settings.rate * velocity
        if step >= first:
            total += weights
    return LinearHead(centre, total / (settings.steps - first), settings.bias)


def softmax(logits: Floats) -> Floats:
    """Probabilities (n, C) of logits (n, C)."""
    shifted = np.exp(logits - logits.max(axis=1, keepdims=True))
    return shifted / shifted.sum(axis=1, keepdims=True)


def _inputs(z: Floats, centre: Floats, bias: float) -> Floats:
    moved = z - centre
    moved /= np.maximum(np.linalg.norm(moved, axis=1, keepdims=True), 1e-12)
    return np.concatenate([moved, np.full((len(moved), 1), bias, np.float32)], axis=1)


def _factor(norms: Floats, clip: float) -> Floats:
    return clip / np.maximum(norms, clip)


def _units(groups: NDArray[np.integer]) -> list[NDArray[np.intp]]:
    order = np.argsort(groups, kind="stable")
    starts = np.flatnonzero(np.diff(groups[order])) + 1
    return np.split(order, starts)


def _refuse_nan(rows: Floats) -> None:
    if not np.isfinite(rows).all():
        raise KRError("features: NaN or infinite values; privacy cannot be bounded with them")
