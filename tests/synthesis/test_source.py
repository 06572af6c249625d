from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from knowledge_recycling.config import Config
from knowledge_recycling.generators.interface import Generator
from knowledge_recycling.synthesis.parameters import Parameters
from knowledge_recycling.synthesis.source import FILTER_ROUNDS, Source
from knowledge_recycling.training.runtime import Runtime

RUNTIME = Runtime.start(Config(precision="fp32"))
COUNTS = (60, 30, 10)


class Painter(Generator):
    """Paints the class into the mean of the image and z into its left half."""

    latent_dim = 1

    def forward(self, z: Tensor, labels: Tensor) -> Tensor:
        """An image whose brightness is the class, moved by z."""
        level = labels[:, None, None, None] * 0.5 - 0.5 + 0.1 * z[:, :, None, None]
        return level.expand(-1, 1, 8, 8).clamp(-1, 1)


class Reader(nn.Module):
    """Reads the class off the brightness, softly."""

    def forward(self, x: Tensor) -> Tensor:
        """Logits: minus the distance of the brightness to that of each class."""
        return -20 * (x.mean((1, 2, 3))[:, None] - torch.tensor([-0.5, 0.0, 0.5])).abs()


def source(**parameters: Any) -> Source:
    return Source(Painter(), Reader(), Parameters(**parameters), COUNTS, RUNTIME)


def test_the_same_seed_draws_the_same_set() -> None:
    first, again, other = source().draw(50, 1), source().draw(50, 1), source().draw(50, 2)
    assert torch.equal(first.images, again.images)
    assert torch.equal(first.targets, again.targets)
    assert not torch.equal(first.images, other.images)
    assert first.images.dtype == torch.uint8


def test_drawing_leaves_the_callers_randomness() -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    source().draw(20, 1)
    assert torch.equal(torch.rand(3), expected)


def test_soft_labels_are_the_teachers_softmax_at_the_temperature() -> None:
    drawn = source(temperature=2.0).draw(30, 1)
    logits = Reader()(drawn.images.float() / 127.5 - 1)
    torch.testing.assert_close(drawn.targets, (logits / 2.0).softmax(1))


@pytest.mark.parametrize(
    ("prior", "shares"), [("real", (0.6, 0.3, 0.1)), ("balanced", (1 / 3,) * 3)]
)
def test_the_prior_is_followed(prior: str, shares: tuple[float, ...]) -> None:
    classes = source(prior=prior).draw(6000, 3).classes
    found = torch.bincount(classes, minlength=3) / 6000
    # Six standard deviations of a share in 6,000 draws: at most 6 * sqrt(0.25 / 6000) = 0.039.
    torch.testing.assert_close(found, torch.tensor(shares), atol=0.04, rtol=0)


def test_the_latent_standard_deviation_spreads_the_images() -> None:
    def spread(s: float) -> float:
        drawn = source(latent_std=s).draw_classes(torch.ones(400, dtype=torch.int64), 1)
        return drawn.images.float().mean((1, 2, 3)).std().item()

    assert spread(2.0) == pytest.approx(2 * spread(1.0), rel=0.02)


def test_the_filter_keeps_what_the_teacher_recognises() -> None:
    middle = torch.ones(300, dtype=torch.int64)
    free = source(latent_std=3.0).draw_classes(middle, 1)
    kept = source(latent_std=3.0, filter_threshold=0.6).draw_classes(middle, 1)
    assert free.acceptance == 1.0
    assert 0 < kept.acceptance < 1

    def refused(targets: Tensor) -> float:
        return (targets[:, 1] < 0.6).float().mean().item()

    share = refused(free.targets)
    assert share > 0.2
    assert refused(kept.targets) == pytest.approx(share**FILTER_ROUNDS, abs=0.05)


def test_a_class_that_is_never_recognised_does_not_vanish() -> None:
    class Blind(Reader):
        def forward(self, x: Tensor) -> Tensor:
            return torch.tensor([5.0, 0.0, 0.0]).expand(len(x), 3)

    blind = Source(Painter(), Blind(), Parameters(filter_threshold=0.9), COUNTS, RUNTIME)
    drawn = blind.draw_classes(torch.full((8,), 2), 1)
    assert len(drawn.images) == 8
    assert drawn.acceptance == 0
