from __future__ import annotations

import pytest
import torch
from torch import Tensor

from knowledge_recycling.generators.interface import Generator
from knowledge_recycling.generators.mixture import Mixture


class Constant(Generator):
    """Adds a constant of its own to z and the label, which tells who made an image."""

    def __init__(self, value: float, latent_dim: int = 1) -> None:
        super().__init__()
        self.value, self.latent_dim = value, latent_dim

    def forward(self, z: Tensor, labels: Tensor) -> Tensor:
        """Images (n, 1, 2, 2)."""
        assert z.shape[1] == self.latent_dim
        return (z[:, 0] + labels + self.value)[:, None, None, None].expand(-1, 1, 2, 2)


@pytest.mark.parametrize("size", [1, 2, 7])
def test_the_generators_take_turns_and_each_image_keeps_its_place(size: int) -> None:
    mixture = Mixture([Constant(100), Constant(200, latent_dim=3), Constant(300)])
    assert mixture.latent_dim == 3
    z, labels = torch.arange(3 * size).view(size, 3) / 10, torch.arange(size) % 2
    turn = torch.tensor([100, 200, 300])[torch.arange(size) % 3]
    expected = z[:, 0] + labels + turn
    torch.testing.assert_close(mixture(z, labels), Constant(0)(expected[:, None], labels * 0))
