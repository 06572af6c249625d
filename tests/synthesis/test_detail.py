from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from knowledge_recycling.config import Config
from knowledge_recycling.generators.moments import MomentsGenerator, spectrum
from knowledge_recycling.synthesis.detail import DetailedSource, detailed
from knowledge_recycling.synthesis.parameters import Parameters
from knowledge_recycling.synthesis.source import Source
from knowledge_recycling.training.runtime import Runtime

RUNTIME = Runtime.start(Config(precision="fp32"))


def smooth(channels: int = 1, count: int = 6, side: int = 28) -> torch.Tensor:
    """Grey images of a gentle slope."""
    slope = torch.linspace(100, 150, side).round().to(torch.uint8)
    return slope.expand(count, channels, side, side).contiguous()


@pytest.mark.parametrize(("channels", "side"), [(1, 28), (3, 32)])
def test_low_frequencies_stay_and_the_others_are_new(channels: int, side: int) -> None:
    images, kept = smooth(channels, side=side), 6
    made = detailed(images, kept, seed=1)
    assert made.shape == images.shape
    assert made.dtype == torch.uint8
    before, after = (spectrum(x.numpy() / 255) for x in (images, made))
    # Bytes are rounded, and pixels outside 0..255 are cut.
    np.testing.assert_allclose(after[..., :kept, :kept], before[..., :kept, :kept], atol=1.5)
    fine = np.square(after).sum((1, 2, 3)) - np.square(after[..., :kept, :kept]).sum((1, 2, 3))
    assert np.median(fine) > 1


def test_the_same_seed_gives_the_same_detail() -> None:
    first, again, other = (detailed(smooth(), 6, seed) for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_half_of_the_images_have_detail_and_the_rest_are_the_generators() -> None:
    torch.manual_seed(0)
    generator = MomentsGenerator(channels=1, classes=2, size=28, frequencies=4).eval()
    generator.factor.copy_(0.01 * torch.eye(16))
    of = (generator, nn.Identity(), Parameters(), (5, 5), RUNTIME)
    classes = torch.tensor([0, 1] * 5)
    plain, _ = Source(*of).images(classes, 3)
    made, _ = DetailedSource(*of).images(classes, 3)
    same = (made == plain).flatten(1).all(1)
    assert same.tolist() == [False] * 5 + [True] * 5
