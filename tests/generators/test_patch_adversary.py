from __future__ import annotations

import contextlib

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from knowledge_recycling.generators.patch_adversary import PatchAdversary


def adversary(channels: int = 1) -> PatchAdversary:
    torch.manual_seed(0)
    return PatchAdversary(channels, torch.device("cpu"), contextlib.nullcontext)


def sharp_and_blurred(number: int) -> tuple[Tensor, Tensor]:
    torch.manual_seed(number)
    sharp = torch.rand(32, 1, 16, 16) * 2 - 1
    return sharp, F.avg_pool2d(sharp, 3, 1, 1)


def test_it_learns_to_tell_sharp_from_blurred_images() -> None:
    made = adversary()
    first = made.update(*sharp_and_blurred(0))
    for number in range(1, 60):
        last = made.update(*sharp_and_blurred(number))
    assert last < 0.5 * first
    sharp, blurred = sharp_and_blurred(1000)
    assert made.realism(sharp) > made.realism(blurred) + 0.5


def test_the_loss_is_the_hinge_loss() -> None:
    made, (real, fake) = adversary(), sharp_and_blurred(0)
    made.network.train(False)  # the power iteration of the norms stands still
    a, b = made.network(real), made.network(fake)
    expected = (1 - a).clamp(min=0).mean() + (1 + b).clamp(min=0).mean()
    torch.testing.assert_close(made.update(real, fake), expected)


def test_realism_moves_the_images_and_not_the_adversary() -> None:
    made = adversary(channels=3)
    before = [p.clone() for p in made.network.parameters()]
    images = torch.zeros(2, 3, 28, 28, requires_grad=True)
    made.realism(images).backward()
    assert images.grad is not None
    assert images.grad.abs().sum() > 0
    assert all(p.grad is None for p in made.network.parameters())
    assert all(torch.equal(p, q) for p, q in zip(made.network.parameters(), before, strict=True))


@pytest.mark.parametrize("size", [8, 14, 28, 64])
def test_every_size_has_patches(size: int) -> None:
    assert adversary().realism(torch.zeros(2, 1, size, size)).isfinite()
