"""A basis for features, taken from procedural images alone: principal axes and their variances."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Basis:
    """Mean of raw features of procedural images, and scaled principal axes."""

    mean: Tensor
    """(d,)"""
    axes: Tensor
    """(d, k): axis i times (l_i / l_1)^-decay, with l the falling variances."""

    def project(self, raw: Tensor) -> Tensor:
        """Unit vectors z = unit((V'(f - m))_i (l_i / l_1)^-decay), (n, k) of raw (n, d)."""
        return unit(self.coordinates(raw))

    def coordinates(self, raw: Tensor) -> Tensor:
        """The same, not yet of norm 1."""
        return (raw - self.mean) @ self.axes


def unit(z: Tensor) -> Tensor:
    """Rows (..., k) divided by their norms; a row of zeros stays one."""
    return z / z.norm(dim=-1, keepdim=True).clamp(min=1e-12)


def principal_axes(raw: Tensor, k: int, decay: float) -> Basis:
    """The k principal axes of raw features (n, d), by the smaller of the two Gram matrices.

    Raises:
        ValueError: k is not below both n and d.
    """
    if not 1 <= k < min(raw.shape):
        raise ValueError(f"principal_axes: expected k in 1..{min(raw.shape) - 1}, got {k}")
    mean = raw.mean(0)
    centred = raw - mean
    if raw.shape[1] <= len(raw):
        variances, axes = _leading((centred.T @ centred) / len(raw), k)
    else:
        variances, rows = _leading((centred @ centred.T) / len(raw), k)
        axes = centred.T @ (rows / (variances * len(raw)).sqrt())
    return Basis(mean, axes * (variances / variances[0]) ** -decay)


def _leading(gram: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """The k largest eigenvalues (k,) and their eigenvectors (n, k), signs made the same."""
    values, vectors = torch.linalg.eigh(gram)
    values, vectors = values.flip(0)[:k].clamp(min=1e-12), vectors.flip(1)[:, :k]
    largest = vectors.gather(0, vectors.abs().argmax(0, keepdim=True))
    return values, vectors * largest.sign()
