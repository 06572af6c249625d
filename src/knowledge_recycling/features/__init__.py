"""Features of images that hold no private bit: fixed filters, scaled by procedural images.

Three blocks of raw features f: scattering maps, responses to procedural patches, and maps of a
small network pretrained on procedural scenes. Each is made the same for turned images where the
user states a symmetry, and whitened in part, by m, V and l, the mean, principal axes and variances
of f over procedural images:

    z = unit((V'(f - m))_i (l_i / l_1)^-0.15), i = 1..k,  x = (z_1, z_2, z_3) / sqrt 3
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import interpolate

from knowledge_recycling.errors import KRError
from knowledge_recycling.features import network, scattering
from knowledge_recycling.features.patches import Dictionary
from knowledge_recycling.features.procedural import SIDE, draw
from knowledge_recycling.features.symmetry import SYMMETRIES
from knowledge_recycling.features.whitening import Basis, principal_axes

SEED = 20260101
"""Seed of the procedural images: a constant, so that features are the same in every run."""
PROCEDURAL = 2500
BLOCKS = 3
LARGEST = 600
"""Largest dimension of a block."""
DECAY = 0.15
CHUNK = 128


@dataclass(frozen=True)
class Features:
    """Maps images to unit vectors; made by `Features.make`.

    Example:
        >>> features = Features.make(channels=1, symmetry="flip", block=20)
        >>> features(np.zeros((5, 28, 28, 1), np.uint8)).shape, features.dim
        ((5, 60), 60)
    """

    channels: int
    symmetry: str
    dictionary: Dictionary
    bases: tuple[Basis, ...]

    @classmethod
    @torch.no_grad()
    def make(cls, *, channels: int, symmetry: str = "none", block: int = LARGEST) -> Features:
        """Computes the dictionary and the three bases from procedural images: 10 to 40 seconds.

        Args:
            channels: 1 grey, 3 colour.
            symmetry: changes that leave the class of an image as it is: `none`, `flip`
                (left-right) or `square` (the eight rotations and flips).
            block: number k of features of each of the three blocks, 1..600.

        Raises:
            KRError: unknown symmetry, number of channels or block out of range.
        """
        if channels not in (1, 3):
            raise KRError(f"features: expected 1 or 3 channels, got {channels}")
        if symmetry not in SYMMETRIES:
            raise KRError(f"symmetry {symmetry!r}: expected one of {', '.join(SYMMETRIES)}")
        if not 1 <= block <= LARGEST:
            raise KRError(f"features: expected 1..{LARGEST} features per block, got {block}")
        images = draw(PROCEDURAL, channels, SEED)
        dictionary = Dictionary.draw(draw(PROCEDURAL, channels, SEED + 1), SEED)
        bases = tuple(
            principal_axes(torch.cat([raw(chunk) for chunk in images.split(CHUNK)]), block, DECAY)
            for raw in _raw(dictionary, symmetry)
        )
        return cls(channels, symmetry, dictionary, bases)

    @property
    def dim(self) -> int:
        """Number of features, three times that of a block."""
        return sum(basis.axes.shape[1] for basis in self.bases)

    @torch.no_grad()
    def __call__(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Features (n, dim) float32, each of norm 1, of images (n, h, w, c) uint8 of any size.

        Raises:
            KRError: the images are not uint8 of shape (n, h, w, channels).
        """
        if images.dtype != np.uint8 or images.ndim != 4 or images.shape[3] != self.channels:
            raise KRError(
                f"features: expected uint8 images of shape (n, h, w, {self.channels}), "
                f"got {images.dtype} of shape {images.shape}"
            )
        features = np.empty((len(images), self.dim), np.float32)
        for start in range(0, len(images), CHUNK):
            features[start : start + CHUNK] = self._of(images[start : start + CHUNK]).numpy()
        return features

    def _of(self, images: NDArray[np.uint8]) -> Tensor:
        pixels = torch.from_numpy(np.ascontiguousarray(images)).permute(0, 3, 1, 2)
        pixels = _resample(pixels.float() / 255)
        blocks = [
            basis.project(raw(pixels))
            for basis, raw in zip(self.bases, _raw(self.dictionary, self.symmetry), strict=True)
        ]
        return torch.cat(blocks, 1) / len(blocks) ** 0.5


def _raw(dictionary: Dictionary, symmetry: str) -> tuple[Callable[[Tensor], Tensor], ...]:
    """The three blocks' raw features, (n, d) of images (n, c, 28, 28) in 0..1."""
    return (
        lambda images: scattering.features(images, symmetry),
        lambda images: dictionary.features(images, symmetry),
        lambda images: network.features(images, symmetry),
    )


def _resample(images: Tensor) -> Tensor:
    if images.shape[2:] == (SIDE, SIDE):
        return images
    return interpolate(images, (SIDE, SIDE), mode="bilinear", align_corners=False, antialias=True)
