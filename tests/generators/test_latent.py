from __future__ import annotations

import contextlib
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.covariance import ledoit_wolf
from torch import Tensor
from torch.distributions import Normal, kl_divergence

from knowledge_recycling import generators
from knowledge_recycling.config import Generator as Config
from knowledge_recycling.generators.latent import (
    LatentGenerator,
    LatentTraining,
    feature_loss,
    fit_gaussians,
    grids,
    kl_to_standard_normal,
)

SIZES = (8, 10, 12, 14, 16, 20, 24, 28, 32, 40, 48, 56, 64)


def maps(x: Tensor) -> list[Tensor]:
    return [x, x[:, :, ::2, ::2] * 3]


def training(size: int = 8, channels: int = 1) -> LatentTraining:
    torch.manual_seed(0)
    return LatentTraining(
        Config(width=4, latent_channels=2),
        channels=channels,
        classes=3,
        size=size,
        device=torch.device("cpu"),
        autocast=contextlib.nullcontext,
        feature_maps=maps,
    )


def images(n: int = 12, size: int = 8, channels: int = 1) -> Tensor:
    generator = torch.Generator().manual_seed(n)
    return torch.randint(0, 256, (n, channels, size, size), dtype=torch.uint8, generator=generator)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("channels", [1, 3])
def test_shapes_and_range(size: int, channels: int) -> None:
    network = LatentGenerator(channels=channels, classes=3, size=size, width=4, latent_channels=2)
    assert 4 <= grids(size)[-1] <= 8
    made = network.eval()(torch.randn(4, network.latent_dim), torch.tensor([0, 2, 2, 1]))
    assert made.shape == (4, channels, size, size)
    assert made.abs().max() <= 1


def test_latents_are_the_mean_and_factor_of_the_class() -> None:
    network = LatentGenerator(channels=1, classes=2, size=8, width=4, latent_channels=1).eval()
    network.decoder = torch.nn.Identity()  # type: ignore[assignment]
    torch.manual_seed(0)
    network.mean.copy_(torch.randn_like(network.mean))
    network.factor.copy_(torch.randn_like(network.factor).tril())
    z, labels = torch.randn(5, network.latent_dim), torch.tensor([1, 0, 1, 1, 0])
    expected = torch.stack(
        [network.mean[y] + network.factor[y] @ v for v, y in zip(z, labels, strict=True)]
    )
    torch.testing.assert_close(network(z, labels).flatten(1), expected)


def test_gaussians_equal_the_formula() -> None:
    rng = np.random.default_rng(0)
    labels = np.repeat([0, 1, 2], [40, 15, 2])
    m, v = rng.normal(size=(57, 5)) + labels[:, None], rng.uniform(0.1, 0.3, (57, 5))
    mu, factor = fit_gaussians(m, v, labels, 3)
    centred = np.concatenate([m[labels == y] - m[labels == y].mean(0) for y in range(3)])
    shared = ledoit_wolf(centred, assume_centered=True)[0]
    for y, n in enumerate((40, 15, 2)):
        np.testing.assert_allclose(mu[y], m[labels == y].mean(0))
        own = np.cov(m[labels == y].T, bias=True)
        expected = (n * own + 5 * shared) / (n + 5) + np.diag(v.mean(0))
        np.testing.assert_allclose(factor[y] @ factor[y].T, expected, atol=1e-12)


def test_kl_equals_torch() -> None:
    torch.manual_seed(0)
    mean, log_variance = torch.randn(4, 6), torch.randn(4, 6)
    expected = kl_divergence(Normal(mean, (log_variance / 2).exp()), Normal(0.0, 1.0)).mean()
    torch.testing.assert_close(kl_to_standard_normal(mean, log_variance), expected)


def test_feature_loss_equals_a_naive_loop() -> None:
    torch.manual_seed(0)
    a, b = torch.randn(3, 1, 8, 8), torch.randn(3, 1, 8, 8)
    terms = []
    for got, want in zip(maps(a), maps(b), strict=True):
        terms.append((got - want).abs().mean() / (want.std() + 1e-6))
    torch.testing.assert_close(feature_loss(maps, a, b), sum(terms) / len(terms))
    assert feature_loss(maps, b, b) == 0


def test_the_teacher_is_left_alone_and_the_loss_falls() -> None:
    made, real = training(), images(64).float() / 127.5 - 1
    smooth = torch.nn.functional.avg_pool2d(real, 5, 1, 2)
    first = made.step(smooth, torch.zeros(64), 0.0)
    for _ in range(60):
        last = made.step(smooth, torch.zeros(64), 0.1)
    assert last["reconstruction"] < 0.7 * first["reconstruction"]


def test_resumed_equals_uninterrupted(tmp_path: Path) -> None:
    batch, labels = images().float() / 127.5 - 1, torch.arange(12) % 3

    def steps(made: LatentTraining, numbers: range) -> None:
        for number in numbers:
            torch.manual_seed(number)
            made.step(batch, labels, number / 6)

    whole, first, second = training(), training(), training()
    steps(whole, range(6))
    steps(first, range(3))
    torch.save(first.state_dict(), tmp_path / "state.pt")
    second.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
    steps(second, range(3, 6))
    ours, theirs = (m.snapshot(images(), labels).state_dict() for m in (whole, second))
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_a_snapshot_comes_back_from_disk(tmp_path: Path) -> None:
    made = training()
    made.step(images().float() / 127.5 - 1, torch.zeros(12), 0.0)
    snapshot = made.snapshot(images(), torch.arange(12) % 3)
    generators.save(tmp_path / "000001", "latent", snapshot)
    loaded = generators.load(tmp_path / "000001")
    z, labels = torch.randn(3, snapshot.latent_dim), torch.tensor([0, 1, 2])
    assert torch.equal(loaded(z, labels), snapshot(z, labels))
    assert loaded.latent_dim == snapshot.latent_dim
