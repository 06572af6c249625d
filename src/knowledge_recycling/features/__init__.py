"""Features of images that hold no private bit: fixed filters, scaled by procedural images.

    f = sqrt of scattering maps, z = unit((V'(f - m))_i (l_i / l_1)^-1/4), i = 1..k

with m, V, l the mean, principal axes and variances of f over procedural images.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import interpolate

from knowledge_recycling.errors import KRError
from knowledge_recycling.features.procedural import SIDE, draw
from knowledge_recycling.features.scattering import morlet, scattering
from knowledge_recycling.features.symmetry import SYMMETRIES, average
from knowledge_recycling.features.whitening import Basis, principal_axes

SEED = 20260101
"""Seed of the procedural images: a constant, so that features are the same in every run."""
PROCEDURAL = 3000
CHUNK = 128
OPPONENT = torch.tensor([[1 / 3, 1 / 3, 1 / 3], [0.5, -0.5, 0.0], [0.25, 0.25, -0.5]])
"""Lightness, red against green, yellow against blue."""


@dataclass(frozen=True)
class Features:
    """Maps images to unit vectors; made by `Features.make`.

    Example:
        >>> features = Features.make(channels=1, symmetry="none", dim=40)
        >>> features(np.zeros((5, 28, 28, 1), np.uint8)).shape
        (5, 40)
    """

    channels: int
    symmetry: str
    decay: float
    basis: Basis

    @classmethod
    def make(
        cls, *, channels: int, symmetry: str = "none", dim: int, decay: float = 0.25
    ) -> Features:
        """Computes scale and basis from procedural images; about 10 seconds.

        Args:
            channels: 1 grey, 3 colour.
            symmetry: changes that leave the class of an image as it is: `none`, `flip`
                (left-right) or `square` (the eight rotations and flips).
            dim: number of features k.
            decay: exponent of the scale of each principal axis.

        Raises:
            KRError: unknown symmetry, number of channels, or dim out of range.
        """
        if channels not in (1, 3):
            raise KRError(f"features: expected 1 or 3 channels, got {channels}")
        if symmetry not in SYMMETRIES:
            raise KRError(f"symmetry {symmetry!r}: expected one of {', '.join(SYMMETRIES)}")
        if not 1 <= dim <= PROCEDURAL // 2:
            raise KRError(f"features: expected a dimension in 1..{PROCEDURAL // 2}, got {dim}")
        drawn = draw(PROCEDURAL, channels, SEED)
        raw = torch.cat([_raw(chunk, symmetry) for chunk in drawn.split(CHUNK)])
        return cls(channels, symmetry, decay, principal_axes(raw, dim))

    @property
    def dim(self) -> int:
        """Number of features k."""
        return self.basis.axes.shape[1]

    @torch.no_grad()
    def __call__(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Features (n, k) float32, each of norm 1, of images (n, h, w, c) uint8 of any size.

        Raises:
            KRError: the images are not uint8 of shape (n, h, w, channels).
        """
        if images.dtype != np.uint8 or images.ndim != 4 or images.shape[3] != self.channels:
            raise KRError(
                f"features: expected uint8 images of shape (n, h, w, {self.channels}), "
                f"got {images.dtype} of shape {images.shape}"
            )
        pixels = torch.from_numpy(np.ascontiguousarray(images)).permute(0, 3, 1, 2)
        rows = [
            self.basis.project(_raw(_resample(chunk.float() / 255), self.symmetry), self.decay)
            for chunk in pixels.split(CHUNK)
        ]
        return torch.cat(rows).numpy() if rows else np.zeros((0, self.dim), np.float32)


def _resample(images: Tensor) -> Tensor:
    if images.shape[2:] == (SIDE, SIDE):
        return images
    return interpolate(images, (SIDE, SIDE), mode="bilinear", align_corners=False, antialias=True)


@torch.no_grad()
def _raw(images: Tensor, symmetry: str) -> Tensor:
    """Raw features (n, d) of images (n, c, 28, 28) in 0..1."""
    if images.shape[1] == 3:
        images = torch.einsum("oc,nchw->nohw", OPPONENT, images)
    maps = scattering(images, morlet())
    return average(maps.sign() * maps.abs().sqrt(), symmetry).flatten(1)
