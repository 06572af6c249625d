"""Averages of scattering maps over the symmetries of an image.

Scattering is equivariant: the maps of a turned image are the turned maps, their orientations
permuted. So the average over the eight symmetries of the square needs the maps only once.
"""

from __future__ import annotations

import torch
from torch import Tensor

ORIENTATIONS = 8
SYMMETRIES = ("none", "flip", "square")


def average(maps: Tensor, symmetry: str) -> Tensor:
    """Maps (n, c, 81, h, h) averaged over the group; `none`: as they are."""
    if symmetry == "none":
        return maps
    angles = torch.arange(ORIENTATIONS)
    mirrored = -angles % ORIENTATIONS
    maps = (maps + _turn(maps, mirrored).flip(-1)) / 2
    if symmetry == "square":
        maps = (maps + _turn(maps, mirrored).flip(-2)) / 2
        transposed = (ORIENTATIONS // 2 - angles) % ORIENTATIONS
        maps = (maps + _turn(maps, transposed).transpose(-1, -2)) / 2
    return maps


def _turn(maps: Tensor, orientations: Tensor) -> Tensor:
    """Permutes the orientations of both orders; the order of maps is that of `scattering`."""
    n, c, _, h, w = maps.shape
    mean, first = maps[:, :, :1], maps[:, :, 1 : 1 + ORIENTATIONS]
    second = maps[:, :, 1 + ORIENTATIONS :].reshape(n, c, -1, ORIENTATIONS, h, w)
    sources = torch.cat([torch.zeros(1, dtype=torch.long), 1 + orientations])
    second = second[:, :, sources][:, :, :, orientations].reshape(n, c, -1, h, w)
    return torch.cat([mean, first[:, :, orientations], second], 2)


def views(images: Tensor, symmetry: str) -> list[Tensor]:
    """The images (n, c, h, h) under each change that the symmetry names: 1, 2 or 8 of them."""
    seen = [images]
    if symmetry != "none":
        seen.append(images.flip(-1))
    if symmetry == "square":
        seen += [view.flip(-2) for view in seen]
        seen += [view.transpose(-1, -2) for view in seen]
    return seen
