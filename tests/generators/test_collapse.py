from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from knowledge_recycling.config import Config
from knowledge_recycling.generators.collapse import variation
from knowledge_recycling.generators.interface import Generator
from knowledge_recycling.training.runtime import Runtime

RUNTIME = Runtime.of(Config(precision="fp32"))


class Scaled(Generator):
    """Images whose pixels have a standard deviation of `scales[y]`."""

    latent_dim = 64

    def __init__(self, *scales: float) -> None:
        super().__init__()
        self.scales = torch.tensor(scales)

    def forward(self, z: Tensor, labels: Tensor) -> Tensor:
        return z.reshape(-1, 1, 8, 8) * self.scales[labels][:, None, None, None]


def found(*networks: Generator) -> float:
    torch.manual_seed(0)
    real = (torch.randn(600, 1, 8, 8) * 25.5 + 127.5).round().clamp(0, 255).to(torch.uint8)
    return variation(networks, real, torch.arange(600) % 3, RUNTIME)


def test_it_is_the_ratio_of_the_standard_deviations() -> None:
    assert found(Scaled(0.2, 0.2, 0.2)) == pytest.approx(1.0, abs=0.05)
    assert found(Scaled(0.1, 0.1, 0.1)) == pytest.approx(0.5, abs=0.03)


def test_the_worst_class_of_the_worst_generator_counts() -> None:
    assert found(Scaled(0.2, 0.0, 0.2), Scaled(0.2, 0.2, 0.2)) == 0.0
    assert math.isnan(found(Scaled(0.2, math.nan, 0.2)))
