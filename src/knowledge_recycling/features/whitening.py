"""A basis for features, taken from procedural images alone: principal axes and their variances."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Basis:
    """Principal axes of raw features of procedural images."""

    mean: Tensor
    """(d,)"""
    axes: Tensor
    """(d, k), orthonormal columns."""
    variances: Tensor
    """(k,), falling."""

    def project(self, raw: Tensor, decay: float) -> Tensor:
        """Unit vectors z = unit((V'(f - m))_i (l_i / l_1)^-decay), (n, k) of raw (n, d)."""
        z = (raw - self.mean) @ self.axes
        z = z * (self.variances / self.variances[0]) ** -decay
        return z / z.norm(dim=1, keepdim=True).clamp(min=1e-12)


def principal_axes(raw: Tensor, k: int) -> Basis:
    """The k principal axes of raw features (n, d), n <= d, by the n x n Gram matrix."""
    mean = raw.mean(0)
    centred = raw - mean
    squares, left = torch.linalg.eigh((centred @ centred.T).double())
    squares, left = squares.flip(0)[:k].clamp(min=1e-12), left.flip(1)[:, :k]
    axes = centred.T @ (left / squares.sqrt()).float()
    return Basis(mean, axes, (squares / len(raw)).float())
