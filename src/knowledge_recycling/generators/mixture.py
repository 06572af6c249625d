"""Several Generators as one source of synthetic images (the paper's outlook: more Generators).

Each Generator has faults of its own, which a Student takes for what real images look like. Those
of Generators of different sizes and seeds differ, so a Student of both relies on none of them.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from knowledge_recycling.generators.interface import Generator


class Mixture(Generator):
    """G_1 ... G_M in turn: image i of a batch is made by Generator i mod M.

    Args:
        generators: each takes as many coordinates of z as it has use for. Neither z nor the labels
            decide which of them is asked.
    """

    def __init__(self, generators: Sequence[Generator]) -> None:
        super().__init__()
        self.generators = nn.ModuleList(generators)
        self.latent_dim = max(generator.latent_dim for generator in generators)

    def forward(self, z: Tensor, labels: Tensor) -> Tensor:
        """Z (n, latent_dim) and labels (n,) to images (n, c, h, w) in -1..1."""
        count = len(self.generators)
        parts = [
            g(z[i::count, : g.latent_dim], labels[i::count])
            for i, g in enumerate(self.generators)
            if i < len(z)
        ]
        images = torch.empty(len(z), *parts[0].shape[1:], dtype=parts[0].dtype, device=z.device)
        for i, part in enumerate(parts):
            images[i::count] = part
        return images
