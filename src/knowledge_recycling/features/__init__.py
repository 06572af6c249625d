"""Features of images that hold no private bit: fixed filters, scaled by procedural images.

Three blocks of raw features f: scattering maps, responses to procedural patches, and maps of a
small network pretrained on procedural scenes. Each is made the same for turned images where the
user states a symmetry, and whitened in part, by m, V and l, the mean, principal axes and variances
of f over procedural images:

    z = unit((V'(f - m))_i (l_i / l_1)^-0.15), i = 1..k,  x = (z_1, z_2, z_3) / sqrt 3
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import interpolate

from knowledge_recycling.arrays import Stored
from knowledge_recycling.errors import KRError
from knowledge_recycling.features import network, scattering
from knowledge_recycling.features.memory import MEMORY, digest
from knowledge_recycling.features.patches import ATOMS, Dictionary
from knowledge_recycling.features.patches import SIDE as PATCH
from knowledge_recycling.features.procedural import SIDE, draw
from knowledge_recycling.features.symmetry import SYMMETRIES
from knowledge_recycling.features.whitening import Basis, principal_axes, unit

SEED = 20260101
"""Seed of the procedural images: a constant, so that features are the same in every run."""
PROCEDURAL = 2500
BLOCKS = 3
LARGEST = 600
"""Largest dimension of a block."""
DECAY = 0.15
CHUNK = 256
PART = 32
"""Images at a time: so few that their maps stay in the processor's cache."""


class Features(nn.Module):
    """Maps images to unit vectors; made by `Features.make`, and all of it is in its buffers.

    Args:
        channels: 1 grey, 3 colour.
        symmetry: changes that leave the class of an image as it is: `none`, `flip`
            (left-right) or `square` (the eight rotations and flips).
        block: number k of features of each of the three blocks, 1..600.

    Raises:
        KRError: unknown symmetry, number of channels or block out of range.

    Example:
        >>> features = Features.make(channels=1, symmetry="flip", block=20)
        >>> features.of_bytes(np.zeros((5, 28, 28, 1), np.uint8)).shape, features.dim
        ((5, 60), 60)
    """

    kernels: Tensor

    def __init__(self, channels: int, symmetry: str, block: int) -> None:
        super().__init__()
        if channels not in (1, 3):
            raise KRError(f"features: expected 1 or 3 channels, got {channels}")
        if symmetry not in SYMMETRIES:
            raise KRError(f"symmetry {symmetry!r}: expected one of {', '.join(SYMMETRIES)}")
        if not 1 <= block <= LARGEST:
            raise KRError(f"features: expected 1..{LARGEST} features per block, got {block}")
        self.channels, self.symmetry, self.block = channels, symmetry, block
        self._digest: bytes | None = None
        self._made = False
        self.register_buffer("kernels", torch.zeros(8 * ATOMS, channels, PATCH, PATCH))
        with torch.no_grad():
            blank = torch.zeros(1, channels, SIDE, SIDE)
            dims = [raw(blank).shape[1] for raw in self._raw()]
        for i, d in enumerate(dims):
            self.register_buffer(f"mean{i}", torch.zeros(d))
            self.register_buffer(f"axes{i}", torch.zeros(d, block))

    @classmethod
    def make(cls, *, channels: int, symmetry: str = "none", block: int = LARGEST) -> Features:
        """Features scaled by procedural images, 15 to 20 core seconds once per process.

        A block of k features is the first k of the largest block.

        Raises:
            KRError: as the constructor.
        """
        made = cls(channels, symmetry, block)
        made.load_state_dict(
            {
                name: value[:, :block] if name.startswith("axes") else value
                for name, value in _largest(channels, symmetry).state_dict().items()
            }
        )
        made._made = True
        return made

    @property
    def dim(self) -> int:
        """Number of features, three times that of a block."""
        return BLOCKS * self.block

    @torch.no_grad()
    def forward(self, images: Tensor) -> Tensor:
        """Features (n, dim) float32, of norm 1, of images (n, c, h, w) in 0..1, any size."""
        if torch.compiler.is_exporting():  # a graph has no loop over chunks
            return self._of(images)
        chunks = [self._remembered(chunk) for chunk in images.split(CHUNK) if len(chunk)]
        return torch.cat(chunks) if chunks else torch.zeros(0, self.dim)

    def _remembered(self, images: Tensor) -> Tensor:
        """Teacher and Student have the same features and are asked about the same images.

        What was made here shares its axes with all that was: shadows differ in the block alone.
        """
        if self._made and images.is_cpu:
            key = f"{self.channels} {self.symmetry}".encode()
            widest = _largest(self.channels, self.symmetry)
            z = MEMORY.get(key + digest(images), lambda: widest._projected(images))
            return unit(z[:, :, : self.block]).flatten(1) / BLOCKS**0.5
        if self._digest is None:
            self._digest = digest(*self.state_dict().values()) + self.symmetry.encode()
        return MEMORY.get(self._digest + digest(images), lambda: self._of(images))

    def _projected(self, images: Tensor) -> Tensor:
        """Projections on the axes (n, 3, block), not yet of norm 1."""
        return torch.stack([basis.coordinates(raw) for raw, basis in self._blocks(images)], 1)

    def _load_from_state_dict(self, *args: Any, **kwargs: Any) -> None:
        self._digest, self._made = None, False
        super()._load_from_state_dict(*args, **kwargs)

    def _of(self, images: Tensor) -> Tensor:
        blocks = [basis.project(raw) for raw, basis in self._blocks(images)]
        return torch.cat(blocks, 1) / BLOCKS**0.5

    def _blocks(self, images: Tensor) -> Iterator[tuple[Tensor, Basis]]:
        """Raw features of each block, and what projects them."""
        pixels = _resample(images.float()).contiguous()
        parts = (pixels,) if torch.compiler.is_exporting() else pixels.split(PART)
        for i, raw in enumerate(self._raw()):
            basis = Basis(getattr(self, f"mean{i}"), getattr(self, f"axes{i}"))
            yield torch.cat([raw(part) for part in parts]), basis

    def of_bytes(self, images: Stored) -> NDArray[np.float32]:
        """Features (n, dim) of images (n, h, w, c) uint8.

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
            chunk = torch.from_numpy(np.ascontiguousarray(images[start : start + CHUNK]))
            features[start : start + CHUNK] = self(chunk.permute(0, 3, 1, 2).float() / 255).numpy()
        return features

    def _raw(self) -> tuple[Callable[[Tensor], Tensor], ...]:
        """The three blocks' raw features, (n, d) of images (n, c, 28, 28) in 0..1."""
        return (
            lambda images: scattering.features(images, self.symmetry),
            lambda images: Dictionary(self.kernels).features(images, self.symmetry),
            lambda images: network.features(images, self.symmetry),
        )


@cache
@torch.no_grad()
def _largest(channels: int, symmetry: str) -> Features:
    """The features with the largest block, which all others are a part of."""
    made = Features(channels, symmetry, LARGEST)
    images = draw(PROCEDURAL, channels, SEED)
    made.kernels.copy_(Dictionary.draw(draw(PROCEDURAL, channels, SEED + 1), SEED).kernels)
    for i, raw in enumerate(made._raw()):
        responses = torch.cat([raw(part) for part in images.split(PART)])
        basis = principal_axes(responses, LARGEST, DECAY)
        getattr(made, f"mean{i}").copy_(basis.mean)
        getattr(made, f"axes{i}").copy_(basis.axes)
    return made


def _resample(images: Tensor) -> Tensor:
    if images.shape[2:] == (SIDE, SIDE):
        return images
    return interpolate(images, (SIDE, SIDE), mode="bilinear", align_corners=False, antialias=True)
