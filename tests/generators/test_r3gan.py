from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from knowledge_recycling.generators.r3gan import (
    R3GAN,
    Block,
    Discriminator,
    gradient_penalty,
    pairing_discriminator,
    pairing_generator,
)


def moved(network: nn.Module) -> nn.Module:
    """Away from the start, where the zeros hide half of the network."""
    torch.manual_seed(0)
    with torch.no_grad():
        for weight in network.parameters():
            weight.add_(0.2 * torch.randn_like(weight))
    return network


def discriminator() -> nn.Module:
    return moved(Discriminator(channels=1, classes=3, size=8, width=4))


def images(n: int = 8) -> tuple[Tensor, Tensor]:
    torch.manual_seed(0)
    return torch.rand(n, 1, 8, 8) * 2 - 1, torch.arange(n) % 3


def test_pairing_losses_equal_naive_formulas() -> None:
    real, fake = [2.0, 0.0, -1.0], [0.0, 1.0, -1.0]
    naive_d = sum(math.log(1 + math.exp(-(r - f))) for r, f in zip(real, fake, strict=True)) / 3
    naive_g = sum(math.log(1 + math.exp(-(f - r))) for r, f in zip(real, fake, strict=True)) / 3
    pair = torch.tensor(real), torch.tensor(fake)
    assert float(pairing_discriminator(*pair)) == pytest.approx(naive_d)
    assert float(pairing_generator(*pair)) == pytest.approx(naive_g)


def test_only_the_difference_within_a_pair_counts() -> None:
    real, fake, both = torch.randn(3, 16)
    for loss in (pairing_discriminator, pairing_generator):
        torch.testing.assert_close(loss(real + both, fake + both), loss(real, fake))
        assert float(loss(real, real)) == pytest.approx(math.log(2))


def test_penalty_of_a_linear_discriminator_is_its_squared_norm() -> None:
    x, _ = images()
    w = torch.randn(64, requires_grad=True)
    penalty = gradient_penalty(x.requires_grad_().flatten(1) @ w, x)
    torch.testing.assert_close(penalty, w.square().sum())
    (gradient,) = torch.autograd.grad(penalty, w)
    torch.testing.assert_close(gradient, 2 * w)


def test_penalty_of_a_quadratic_discriminator() -> None:
    """D = a/2 ||x||^2 has the gradient a x, so the penalty is a^2 E||x||^2."""
    x, _ = images()
    square = x.square().sum((1, 2, 3)).mean()
    a = torch.tensor(3.0, requires_grad=True)
    penalty = gradient_penalty(a / 2 * x.requires_grad_().square().sum((1, 2, 3)), x)
    torch.testing.assert_close(penalty, 9 * square)
    (gradient,) = torch.autograd.grad(penalty, a)
    torch.testing.assert_close(gradient, 6 * square)


def test_gradient_of_the_penalty_equals_finite_differences() -> None:
    """The penalty jumps where a leaky ReLU switches: the differences are too small to meet that."""
    d, (x, y) = discriminator().double(), images()
    x = x.double().requires_grad_()
    weights = dict(d.named_parameters())
    for name in ("phi.0.weight", "phi.1.conv1.weight", "phi.1.conv2.weight", "embed.weight"):
        weight = weights[name]
        (gradient,) = torch.autograd.grad(gradient_penalty(d(x, y), x), weight)
        direction = torch.randn_like(weight)
        sides = []
        for sign in (1e-8, -1e-8):
            with torch.no_grad():
                weight.add_(direction, alpha=sign)
            sides.append(float(gradient_penalty(d(x, y), x).detach()))
            with torch.no_grad():
                weight.add_(direction, alpha=-sign)
        slope = float((gradient * direction).sum())
        assert (sides[0] - sides[1]) / 2e-8 == pytest.approx(slope, rel=1e-4)


def test_penalty_in_bfloat16_is_near_float32() -> None:
    d, (x, y) = discriminator(), images(64)
    x.requires_grad_()
    found = []
    for enabled in (False, True):
        with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            scores = d(x, y).float()
        penalty = gradient_penalty(scores, x)
        weights = [weight for weight in d.parameters() if weight.ndim == 4]
        gradients = torch.autograd.grad(penalty, weights)
        found.append(torch.cat([penalty[None], *(g.flatten() for g in gradients)]).detach())
    exact, coarse = found
    assert float((coarse - exact).norm() / exact.norm()) < 0.03


def test_losses_of_the_discriminator_are_pairing_r1_and_r2(training: Any) -> None:
    trained = training("r3gan", augmentation=False, penalty=0.3)
    d, g = moved(trained.discriminator), moved(trained.generator)
    x, y = images()
    torch.manual_seed(1)
    losses = trained.discriminator_losses(x, y, 0)
    torch.manual_seed(1)
    fake = g(torch.randn(8, 6), y).detach().requires_grad_()
    x.requires_grad_()
    r1, r2 = (0.3 / 2 * gradient_penalty(d(side, y), side) for side in (x, fake))
    torch.testing.assert_close(losses["penalty"], r1 + r2)
    torch.testing.assert_close(losses["discriminator"], pairing_discriminator(d(x, y), d(fake, y)))


def test_lazy_penalties_come_in_turn_and_count_more(training: Any) -> None:
    x, y = images()
    found = {}
    for every in (1, 3):
        torch.manual_seed(0)
        trained = training("r3gan", penalty_every=every)
        torch.manual_seed(1)
        found[every] = float(trained.discriminator_losses(x, y, 0)["penalty"].detach())
    assert found[3] == pytest.approx(3 * found[1])
    turns = ["penalty" in trained.discriminator_losses(x, y, update) for update in range(7)]
    assert turns == [True, False, False, True, False, False, True]
    # Two updates a step, every third penalised: 0 1 | 2 3 | 4 5 | 6 7; the last one is reported.
    trained = training("r3gan", penalty_every=3, discriminator_steps=2)
    assert ["penalty" in trained.step(x, y, 0.0) for _ in range(4)] == [False, True, False, False]


def test_no_penalty_without_weight(training: Any) -> None:
    assert set(training("r3gan", penalty=0).step(*images(), 0.0)) == {"generator", "discriminator"}


@pytest.mark.parametrize("penalty", [0.0, 1.0])
def test_penalty_bounds_the_gradient_of_a_discriminator_that_wins(
    training: Any, penalty: float
) -> None:
    """Real images far from all synthetic ones: without the penalty D grows steeper for ever."""
    torch.manual_seed(0)
    trained = training("r3gan", augmentation=False, penalty=penalty, discriminator_steps=150)
    x, y = torch.linspace(-1, 1, 8).expand(16, 1, 8, 8), torch.arange(16) % 3
    assert all(bool(loss.isfinite()) for loss in trained.step(x, y, 0.0).values())
    x = x.clone().requires_grad_()
    steepness = float(gradient_penalty(trained.discriminator(x, y), x).detach())
    assert (steepness < 1) == (penalty > 0)


def test_blocks_start_as_the_identity() -> None:
    h = torch.randn(2, 4, 5, 5)
    g = R3GAN(channels=1, classes=3, size=16, width=4, latent_dim=6)
    d = Discriminator(channels=1, classes=3, size=16, width=4)
    blocks = [m for network in (g, d) for m in network.modules() if isinstance(m, Block)]
    assert len(blocks) == 3 + 3
    for block in blocks:
        h = torch.randn(2, block.conv1.in_channels, 5, 5)
        assert torch.equal(block(h), h)


def test_projection_is_psi_plus_inner_product_with_the_class() -> None:
    d = discriminator()
    image = images(1)[0].expand(3, 1, 8, 8)
    scores = d(image, torch.arange(3)).detach()
    assert len(set(scores.tolist())) == 3
    phi = d.get_submodule("phi")(image[:1])[0]
    weight, (psi, bias) = d.get_parameter("embed.weight"), d.get_submodule("psi").parameters()
    torch.testing.assert_close(scores, (weight @ phi + psi[0] @ phi + bias).detach())


def test_the_latent_standard_deviation_matters() -> None:
    torch.manual_seed(0)
    g = R3GAN(channels=1, classes=3, size=8, width=4, latent_dim=6)
    z, y = torch.randn(200, 6), torch.zeros(200, dtype=torch.int64)
    spread = [float(g(s * z, y).std(0).mean().detach()) for s in (0.5, 1.0, 1.5)]
    assert spread[0] < 0.8 * spread[1]
    assert spread[1] < 0.95 * spread[2]  # tanh bounds it


def test_learns_which_class_is_dark(training: Any) -> None:
    torch.manual_seed(0)
    trained = training("r3gan", classes=2, learning_rate=4e-3, augmentation=False)
    labels = torch.arange(32) % 2
    for step in range(100):
        torch.manual_seed(step)
        bright = (labels - 0.5).view(-1, 1, 1, 1)
        trained.step(bright + 0.2 * torch.randn(32, 1, 8, 8), labels, step / 100)
    g = trained.snapshot(*images())
    made = g(torch.randn(32, g.latent_dim), labels).mean((1, 2, 3))
    assert float(made[labels == 0].max()) < 0 < float(made[labels == 1].min())
    assert float(made[labels == 0].mean()) == pytest.approx(-0.5, abs=0.2)
    assert float(made[labels == 1].mean()) == pytest.approx(0.5, abs=0.2)
