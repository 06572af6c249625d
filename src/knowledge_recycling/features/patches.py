"""Contrast-normalised responses to a dictionary of procedural patches, pooled on a 4 x 4 grid.

Coates, Lee and Ng 2011 without k-means (random patches do as well, Coates and Ng 2011): patches p
of 6 x 6 pixels are centred and divided by their contrast, whitened by Z, and compared with unit
atoms d_k; with t the threshold,

    f = sqrt(mean over the cell of max(0, +-d_k' Z (p - mean p) / (std p + 0.03) - t)).

The dictionary holds all eight turns of each atom, so the average over the symmetries of an image is
an average over permuted atoms, and one atom of each orbit says it all.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import relu, unfold

SIDE = 6
ATOMS = 64
GRID = 4
STRIDE = 2
THRESHOLD = 1.0
CONTRAST = 0.03
RIDGE = 0.05
"""Share of the mean variance that is added before whitening."""


@dataclass(frozen=True)
class Dictionary:
    """Whitened atoms as kernels of a convolution, (8 ATOMS, c, 6, 6), turn by turn."""

    kernels: Tensor

    @classmethod
    def draw(cls, images: Tensor, seed: int) -> Dictionary:
        """Takes whitening and atoms from procedural images (n, c, h, w) in 0..1."""
        random = torch.Generator().manual_seed(seed)
        channels = images.shape[1]
        patches = _normalised(_random_patches(images, 4, random))
        turned = turns(patches.reshape(-1, channels, SIDE, SIDE)).flatten(1)
        variances, axes = torch.linalg.eigh(turned.T @ turned / len(turned))
        whiten = (axes * (variances + RIDGE * variances.mean()).rsqrt()) @ axes.T
        atoms = patches[torch.randperm(len(patches), generator=random)[:ATOMS]] @ whiten
        atoms = atoms / atoms.norm(dim=1, keepdim=True)
        turned = turns(atoms.reshape(-1, channels, SIDE, SIDE)).flatten(1)
        kernels = turned @ whiten
        kernels = kernels - kernels.mean(1, keepdim=True)
        return cls(kernels.reshape(-1, channels, SIDE, SIDE))

    def features(self, images: Tensor, symmetry: str) -> Tensor:
        """Raw features (n, d) of images (n, c, h, w) in 0..1; d is 16,384, 8,192 or 2,048."""
        places = (images.shape[-1] - SIDE) // STRIDE + 1
        # Not len(images): an exported graph would take exactly as many images as it was made with.
        patches = images.unfold(2, SIDE, STRIDE).unfold(3, SIDE, STRIDE)
        patches = patches.permute(0, 2, 3, 1, 4, 5).reshape(images.shape[0] * places**2, -1)
        variance, mean = torch.var_mean(patches, 1, correction=0, keepdim=True)
        # Products of small matrices: on a CPU three times faster than convolution and pooling.
        responses = (patches - mean) / (variance.sqrt() + CONTRAST) @ self.kernels.flatten(1).T
        responses = responses.view(images.shape[0], places**2, -1)
        cells = _cells(places)
        signs = [cells @ relu(sign * responses - THRESHOLD) for sign in (1, -1)]
        pooled = torch.stack(signs, 1).sqrt().transpose(2, 3).unflatten(3, (GRID, GRID))
        return _average(pooled, symmetry).flatten(1)


def turns(squares: Tensor) -> Tensor:
    """The eight turns of squares (m, c, s, s): (8 m, c, s, s), by (transposed, mirrored x, y)."""
    both = (squares, squares.transpose(-1, -2))
    mirrored = [view for square in both for view in (square, square.flip(-1))]
    return torch.cat([view for square in mirrored for view in (square, square.flip(-2))])


def _average(pooled: Tensor, symmetry: str) -> Tensor:
    """Means over the symmetries; of maps that these make alike, only one is kept.

    An image that is turned has turned maps, of atoms that are turned too: (n, 2, 8 ATOMS, g, g).
    """
    n, _, _, g, _ = pooled.shape
    maps = pooled.reshape(n, 2, 2, 2, 2, ATOMS, g, g)
    if symmetry == "none":
        return maps
    maps = (maps + maps.flip(3, -1)) / 2
    if symmetry == "flip":
        return maps[:, :, :, :1]
    maps = (maps + maps.flip(4, -2)) / 2
    maps = (maps + maps.flip(2).transpose(3, 4).transpose(-1, -2)) / 2
    return maps[:, :, :1, :1, :1]


def _cells(places: int) -> Tensor:
    """Means over the cells of the grid, (16, places^2), of maps on places x places."""
    cell = torch.arange(places) * GRID // places
    of = (cell[:, None] * GRID + cell).flatten()
    inside = (of == torch.arange(GRID**2)[:, None]).float()
    return inside / inside.sum(1, keepdim=True)


def _random_patches(images: Tensor, each: int, random: torch.Generator) -> Tensor:
    patches = unfold(images, SIDE)
    n, d, places = patches.shape
    picked = torch.randint(0, places, (n, 1, each), generator=random).expand(-1, d, -1)
    return patches.gather(2, picked).transpose(1, 2).reshape(-1, d)


def _normalised(patches: Tensor) -> Tensor:
    """Patches (m, d) that are not flat, centred and divided by their contrast."""
    patches = patches[patches.std(1) > 0.02]
    patches = patches - patches.mean(1, keepdim=True)
    return patches / (patches.std(1, correction=0, keepdim=True) + CONTRAST)
