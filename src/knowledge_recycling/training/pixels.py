"""Between pixels as stored and pixels as networks see them."""

from __future__ import annotations

import torch
from torch.nn import functional as F

LARGEST_GRID = 64
"""Side in pixels above which networks see blocks of pixels as channels, see `fold`."""


def to_float(images: torch.Tensor) -> torch.Tensor:
    """Maps uint8 0..255 to float32 -1..1."""
    return images.float() / 127.5 - 1.0


def to_bytes(images: torch.Tensor) -> torch.Tensor:
    """Maps float -1..1 to uint8 0..255, rounding; the inverse of `to_float`."""
    return ((images.float() + 1.0) * 127.5).round().clamp(0, 255).to(torch.uint8)


def fold(size: int) -> int:
    """Side f of the blocks in which networks see images: the least power of 2 with size / f <= 64.

    A convolution at 224 x 224 costs 64 times one at 28 x 28. Networks see an image of c channels
    as one of c f^2 channels on a grid of size / f instead (space to depth, Shi et al. 2016,
    arXiv:1609.05158), so that the grid is never larger than 64.

    Example:
        >>> fold(28), fold(64), fold(96), fold(128), fold(224)
        (1, 1, 2, 2, 4)
    """
    f = 1
    while size > LARGEST_GRID * f:
        f *= 2
    return f


def folded(images: torch.Tensor, f: int) -> torch.Tensor:
    """(n, c, h, w) to (n, c f^2, h / f, w / f); the images themselves where f is 1."""
    return images if f == 1 else F.pixel_unshuffle(images, f)


def unfolded(maps: torch.Tensor, f: int) -> torch.Tensor:
    """The inverse of `folded`."""
    return maps if f == 1 else F.pixel_shuffle(maps, f)
