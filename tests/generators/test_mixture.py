from __future__ import annotations

import pytest
import torch
from torch import Tensor

from knowledge_recycling.generators.interface import Generator
from knowledge_recycling.generators.mixture import Mixture


class Constant(Generator):
    """Adds a constant of its own to z and the label, which tells who made an image."""

    latent_dim = 1

    def __init__(self, value: float) -> None:
        super().__init__()
        self.value = value

    def forward(self, z: Tensor, labels: Tensor) -> Tensor:
        """Images (n, 1, 2, 2)."""
        return (z[:, 0] + labels + self.value)[:, None, None, None].expand(-1, 1, 2, 2)


@pytest.mark.parametrize("size", [1, 2, 7])
def test_the_generators_take_turns_and_each_image_keeps_its_place(size: int) -> None:
    mixture = Mixture([Constant(100), Constant(200), Constant(300)])
    z, labels = torch.arange(size)[:, None] / 10, torch.arange(size) % 2
    turn = torch.tensor([100, 200, 300])[torch.arange(size) % 3]
    expected = z[:, 0] + labels + turn
    torch.testing.assert_close(mixture(z, labels), Constant(0)(expected[:, None], labels * 0))
