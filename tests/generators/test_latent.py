from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.distributions import Normal, kl_divergence

from knowledge_recycling import generators
from knowledge_recycling.config import Latent as Config
from knowledge_recycling.generators.latent import (
    LatentGenerator,
    LatentTraining,
    feature_losses,
    grids,
    kl_to_standard_normal,
)

SIZES = (8, 10, 12, 14, 16, 20, 24, 28, 32, 40, 48, 56, 64, 80, 96, 128, 224)


def maps(x: Tensor) -> list[Tensor]:
    return [x, x[:, :, ::2, ::2] * 3]


def training(size: int = 8, channels: int = 1, **fields: Any) -> LatentTraining:
    torch.manual_seed(0)
    return LatentTraining(
        Config(method="latent", width=4, **fields),
        channels=channels,
        latent_channels=2,
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
    shape = {"channels": channels, "size": size, "width": 4, "latent_channels": 2}
    network = LatentGenerator(components=[1, 2, 1], **shape)
    assert 4 <= grids(size)[-1] <= 8
    made = network.eval()(torch.randn(4, network.latent_dim), torch.tensor([0, 2, 2, 1]))
    assert made.shape == (4, channels, size, size)
    assert made.abs().max() <= 1


def bare(components: list[int]) -> LatentGenerator:
    """A Generator that shows the latents instead of decoding them; random means and factors."""
    shape = {"channels": 1, "size": 8, "width": 4, "latent_channels": 1}
    network = LatentGenerator(components=components, **shape).eval()
    network.decoder = torch.nn.Identity()  # type: ignore[assignment]
    torch.manual_seed(0)
    network.mean.copy_(torch.randn_like(network.mean))
    network.factor.copy_(torch.randn_like(network.factor).tril())
    return network


def test_latents_are_the_mean_and_factor_of_the_class() -> None:
    network = bare([1, 1])
    z, labels = torch.randn(5, network.latent_dim), torch.tensor([1, 0, 1, 1, 0])
    expected = torch.stack(
        [network.mean[y] + network.factor[y] @ v[:-2] for v, y in zip(z, labels, strict=True)]
    )
    torch.testing.assert_close(network(z, labels).flatten(1), expected)


@pytest.mark.parametrize("latent_std", [0.5, 1.0, 2.0])
def test_components_come_as_often_as_they_weigh_at_every_standard_deviation(
    latent_std: float,
) -> None:
    network = bare([1, 3])
    network.factor.zero_()
    network.weight.copy_(torch.tensor([1.0, 0.5, 0.3, 0.2]))
    z = latent_std * torch.randn(4000, network.latent_dim)
    latents = network(z, torch.ones(4000, dtype=torch.int64)).flatten(1)
    shares = [(latents == network.mean[k]).all(1).float().mean().item() for k in range(4)]
    # Six standard deviations of a share in 4,000 draws: at most 6 * sqrt(0.25 / 4000) = 0.047.
    np.testing.assert_allclose(shares, [0, 0.5, 0.3, 0.2], atol=0.05)


def test_kl_equals_torch() -> None:
    torch.manual_seed(0)
    mean, log_variance = torch.randn(4, 6), torch.randn(4, 6)
    expected = kl_divergence(Normal(mean, (log_variance / 2).exp()), Normal(0.0, 1.0)).mean()
    torch.testing.assert_close(kl_to_standard_normal(mean, log_variance), expected)


def test_feature_losses_equal_a_naive_loop() -> None:
    torch.manual_seed(0)
    a, b = torch.randn(3, 2, 8, 8), torch.randn(3, 2, 8, 8)
    features, textures = [], []
    for got, want in zip(maps(a), maps(b), strict=True):
        scale = want.std() + 1e-6
        features.append((got - want).abs().mean() / scale)
        grids = [(got[i, c], want[i, c]) for i in range(3) for c in range(2)]
        mean = sum((g.mean() - w.mean()).abs() for g, w in grids) / 6
        spread = sum((g.std(correction=0) - w.std(correction=0)).abs() for g, w in grids) / 6
        textures.append((mean + spread) / scale)
    found = feature_losses(maps, a, b)
    torch.testing.assert_close(found[0], sum(features) / 2)
    torch.testing.assert_close(found[1], sum(textures) / 2, atol=1e-5, rtol=1e-4)
    assert max(feature_losses(maps, b, b)) == 0


def test_a_blurred_image_lacks_texture() -> None:
    torch.manual_seed(0)
    sharp = torch.randn(8, 1, 16, 16)
    blurred = torch.nn.functional.avg_pool2d(sharp, 3, 1, 1)
    other = sharp.flip(3)  # as far away pixel by pixel, yet of the same texture
    assert feature_losses(maps, other, sharp)[1] < 0.5 * feature_losses(maps, blurred, sharp)[1]


def test_vectors_have_no_texture_and_flat_images_a_gradient() -> None:
    x = torch.zeros(2, 1, 8, 8, requires_grad=True)
    assert feature_losses(lambda x: [x.mean((2, 3))], x, torch.ones(2, 1, 8, 8))[1] == 0
    feature_losses(maps, x, torch.randn(2, 1, 8, 8))[1].backward()
    assert x.grad is not None
    assert x.grad.isfinite().all()


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


def test_the_settings_of_the_mixture_reach_the_snapshot() -> None:
    labels = torch.arange(60) % 3
    many = {"component_images": 2, "component_minimum": 6, "shared_covariance": True}
    plain, made = training(), training(**many)
    assert plain.snapshot(images(60), labels).spec["components"] == [1, 1, 1]
    snapshot = made.snapshot(images(60), labels)
    assert max(snapshot.spec["components"]) > 1
    assert (20 * snapshot.weight).round().min() >= 6
    assert torch.equal(snapshot.factor[0], snapshot.factor[2])


def test_a_snapshot_comes_back_from_disk(tmp_path: Path) -> None:
    made = training()
    made.step(images().float() / 127.5 - 1, torch.zeros(12), 0.0)
    snapshot = made.snapshot(images(), torch.arange(12) % 3)
    generators.save(tmp_path / "000001", "latent", [snapshot])
    loaded = generators.load(tmp_path / "000001")
    z, labels = torch.randn(3, snapshot.latent_dim), torch.tensor([0, 1, 2])
    assert torch.equal(loaded(z, labels), snapshot(z, labels))
    assert loaded.latent_dim == snapshot.latent_dim
