from __future__ import annotations

import io
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch
from sklearn.datasets import load_digits
from torch import Tensor

from knowledge_recycling import config
from knowledge_recycling.errors import KRError
from knowledge_recycling.generators.biggan import (
    BigGAN,
    BigGANTraining,
    ClassConditionalNorm,
    Discriminator,
    grid,
    hinge_discriminator,
    hinge_generator,
)

SIZES = [8, 10, 12, 14, 16, 20, 24, 28, 32, 40, 48, 56, 64]


def bfloat16() -> AbstractContextManager[Any]:
    return torch.autocast("cpu", dtype=torch.bfloat16)


def training(
    *,
    channels: int = 1,
    classes: int = 3,
    size: int = 8,
    autocast: Any = nullcontext,
    **fields: Any,
) -> Any:
    settings = {"width": 4, "latent_dim": 6, "learning_rate": 1e-3, **fields}
    return BigGANTraining(
        config.Generator(method="biggan", **settings),
        channels=channels,
        classes=classes,
        size=size,
        device=torch.device("cpu"),
        autocast=autocast,
    )


def batch(n: int = 8, channels: int = 1, size: int = 8) -> tuple[Tensor, Tensor]:
    return torch.rand(n, channels, size, size) * 2 - 1, torch.arange(n) % 3


def steps(trained: Any, first: int, last: int) -> list[dict[str, Tensor]]:
    losses = []
    for step in range(first, last):
        torch.manual_seed(step)
        losses.append(trained.step(*batch(), step / 10))
    return losses


def same(a: Any, b: Any) -> bool:
    """Bit for bit, through nested dicts and lists."""
    if isinstance(a, Tensor):
        return torch.equal(a, b)
    if isinstance(a, dict):
        return list(a) == list(b) and all(same(a[key], b[key]) for key in a)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(same, a, b))
    return bool(a == b)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("size", SIZES)
def test_shapes_and_range(size: int, channels: int) -> None:
    shape = {"channels": channels, "classes": 3, "size": size, "width": 4}
    g, d = BigGAN(**shape, latent_dim=7), Discriminator(**shape)
    labels = torch.tensor([0, 1, 2])
    images = g(10 * torch.randn(3, 7), labels)
    assert images.shape == (3, channels, size, size)
    assert images.dtype == torch.float32
    assert float(images.detach().abs().max()) <= 1
    assert d(images, labels).shape == (3,)


def test_grid_reaches_the_size_by_doublings_from_4_to_7() -> None:
    for size in SIZES:
        base, doublings = grid(size)
        assert 4 <= base <= 7
        assert doublings >= 1
        assert base * 2**doublings == size


@pytest.mark.parametrize("size", [4, 7, 9, 18, 27, 30, 44, 63])
def test_other_sizes_are_refused(size: int) -> None:
    with pytest.raises(KRError) as error:
        grid(size)
    assert str(error.value) == (
        f"biggan: images of {size} pixels do not fit its grid; set data.size to one of "
        "8, 10, 12, 14, 16, 20, 24, 28, 32, 40, 48, 56, 64"
    )


@pytest.mark.parametrize("latent_dim", [2, 5, 64])
def test_every_latent_and_the_class_reach_the_image(latent_dim: int) -> None:
    torch.manual_seed(0)
    g = BigGAN(channels=1, classes=3, size=32, width=4, latent_dim=latent_dim).eval()
    z, labels = torch.randn(1, latent_dim, requires_grad=True), torch.tensor([1])
    image = g(z, labels)
    (gradient,) = torch.autograd.grad(image.square().sum(), z)
    assert bool((gradient != 0).all())
    assert not torch.equal(image, g(z, torch.tensor([2])))


def test_spec_rebuilds_the_network() -> None:
    spec = {"channels": 3, "classes": 4, "size": 12, "width": 5, "latent_dim": 9}
    g = BigGAN(**spec)
    assert g.spec == spec
    again = BigGAN(**g.spec)
    again.load_state_dict(g.state_dict())
    z, labels = torch.randn(2, g.latent_dim), torch.tensor([0, 3])
    assert torch.equal(g.eval()(z, labels), again.eval()(z, labels))


def test_class_conditional_norm_equals_naive_affine() -> None:
    torch.manual_seed(0)
    layer = ClassConditionalNorm(3, 4).double()
    h, condition = torch.randn(5, 3, 2, 2, dtype=torch.float64), torch.randn(5, 4).double()
    result = layer(h, condition)
    for i in range(5):
        for c in range(3):
            values = h[:, c]
            normal = (h[i, c] - values.mean()) / (values.var(correction=0) + 1e-5).sqrt()
            gain, bias = layer.gain.weight[c] @ condition[i], layer.bias.weight[c] @ condition[i]
            torch.testing.assert_close(result[i, c], (1 + gain) * normal + bias)


def test_projection_is_psi_plus_inner_product_with_the_class() -> None:
    torch.manual_seed(0)
    d = Discriminator(channels=1, classes=3, size=8, width=4).eval()
    image = torch.randn(1, 1, 8, 8).expand(3, 1, 8, 8)
    scores = d(image, torch.arange(3)).detach()
    assert len(set(scores.tolist())) == 3
    phi = d.phi(image[:1]).relu().sum((0, 2, 3))
    expected = [
        float((d.embed.weight[y] @ phi + d.psi.weight[0] @ phi + d.psi.bias).detach())
        for y in range(3)
    ]
    torch.testing.assert_close(scores, torch.tensor(expected))


def test_discriminator_weights_have_spectral_norm_one() -> None:
    torch.manual_seed(0)
    trained = training()
    steps(trained, 0, 20)  # the power iteration follows the weights
    weights = [
        layer.weight.detach().flatten(1) for layer in trained.discriminator.eval().normalised
    ]
    assert len(weights) == 2 * 3 + 2
    for weight in weights:
        assert float(torch.linalg.matrix_norm(weight, 2)) == pytest.approx(1, abs=0.05)


def test_hinge_losses_equal_naive_formulas() -> None:
    real, fake = torch.tensor([-2.0, 0.5, 3.0]), torch.tensor([-3.0, -0.5, 0.0, 2.0])
    naive = sum(max(0.0, 1 - r) for r in real.tolist()) / 3
    naive += sum(max(0.0, 1 + f) for f in fake.tolist()) / 4
    assert float(hinge_discriminator(real, fake)) == pytest.approx(naive)
    assert float(hinge_generator(fake)) == pytest.approx(-sum(fake.tolist()) / 4)


def test_resumed_training_equals_uninterrupted_bit_for_bit(tmp_path: Path) -> None:
    torch.manual_seed(0)
    whole = training()
    losses = steps(whole, 0, 5)
    torch.manual_seed(0)
    broken = training()
    steps(broken, 0, 3)
    torch.save(broken.state_dict(), tmp_path / "state.pt")
    torch.manual_seed(99)
    resumed = training()
    resumed.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
    assert same(steps(resumed, 3, 5), losses[3:])
    assert same(resumed.state_dict(), whole.state_dict())


def test_state_does_not_hide_a_difference() -> None:
    """The comparison above can fail: another step, another state."""
    trained = training()
    buffer = io.BytesIO()
    torch.save(trained.state_dict(), buffer)
    steps(trained, 0, 1)
    buffer.seek(0)
    before, after = torch.load(buffer, weights_only=True), trained.state_dict()
    assert all(not same(before[part], after[part]) for part in before)


def test_average_equals_naive_moving_average() -> None:
    torch.manual_seed(0)
    trained = training(averaging=0.15)
    expected: dict[str, Tensor] = {}
    for t in range(4):
        steps(trained, t, t + 1)
        decay = min(0.15, (1 + t) / (10 + t)) if t else 0.0
        for name, value in trained.generator.state_dict().items():
            if value.is_floating_point():
                old = expected.get(name, torch.zeros_like(value))
                expected[name] = decay * old + (1 - decay) * value
    snapshot = trained.snapshot(*batch()).state_dict()
    assert {"norm.running_mean", "first.weight"} <= set(expected)
    for name, value in expected.items():
        torch.testing.assert_close(snapshot[name], value)


def test_snapshot_is_a_copy_whose_images_do_not_depend_on_the_batch() -> None:
    torch.manual_seed(0)
    trained = training(channels=3, size=12, autocast=bfloat16)
    trained.step(*batch(channels=3, size=12), 0.0)
    snapshot = trained.snapshot(*batch(channels=3, size=12))
    before = {name: value.clone() for name, value in snapshot.state_dict().items()}
    z, labels = torch.randn(8, 6), torch.arange(8) % 3
    with torch.no_grad():
        together = snapshot(z, labels)
        alone = torch.cat([snapshot(z[i : i + 1], labels[i : i + 1]) for i in range(8)])
    torch.testing.assert_close(together, alone)
    trained.step(*batch(channels=3, size=12), 0.1)
    assert same(before, dict(snapshot.state_dict()))
    assert not snapshot.training
    assert all(value.is_contiguous() for value in before.values())


@pytest.mark.parametrize("autocast", [nullcontext, bfloat16])
@pytest.mark.parametrize("augmentation", [True, False])
def test_losses_are_finite_detached_scalars(autocast: Any, augmentation: bool) -> None:
    torch.manual_seed(0)
    trained = training(autocast=autocast, augmentation=augmentation, discriminator_steps=2)
    first = trained.generator.first.weight.clone()
    losses = trained.step(*batch(), 0.0)
    assert set(losses) == {"generator", "discriminator"}
    for loss in losses.values():
        assert loss.shape == ()
        assert loss.dtype == torch.float32
        assert not loss.requires_grad
        assert bool(loss.isfinite())
    assert not torch.equal(trained.generator.first.weight, first)


def test_discriminator_alone_learns_to_tell_real_from_synthetic() -> None:
    """Without the Generator's step the loss falls from 2 towards 0: gradients reach D rightly."""
    torch.manual_seed(0)
    trained = training(augmentation=False, discriminator_steps=60, learning_rate=2e-3)
    images = torch.linspace(-1, 1, 8).expand(16, 1, 8, 8)
    assert float(trained.step(images, torch.arange(16) % 3, 0.0)["discriminator"]) < 0.5


def test_learns_the_digits() -> None:
    """After a short training each class mean is most like the real mean of its own class."""
    data = load_digits(n_class=4)
    images = torch.tensor(data.images / 8 - 1, dtype=torch.float32)[:, None]
    labels = torch.tensor(data.target)
    torch.manual_seed(0)
    trained = training(classes=4, width=8, latent_dim=16, learning_rate=4e-3)
    untrained = mean_correlations(trained.snapshot(images, labels), images, labels)
    for step in range(200):
        torch.manual_seed(step)
        chosen = torch.randint(len(images), (32,))
        loss = trained.step(images[chosen], labels[chosen], step / 200)["discriminator"]
        assert bool(loss.isfinite())
    correlations = mean_correlations(trained.snapshot(images, labels), images, labels)
    assert float(correlations.diagonal().mean()) > float(untrained.diagonal().mean()) + 0.3
    assert correlations.argmax(1).tolist() == [0, 1, 2, 3]


def mean_correlations(g: BigGAN, images: Tensor, labels: Tensor) -> Tensor:
    """(4, 4) Pearson correlations of synthetic class means (rows) with real ones.

    What the classes have in common is subtracted first, so only their differences count.
    """
    torch.manual_seed(1)
    wanted = torch.arange(4).repeat_interleave(50)
    with torch.no_grad():
        synthetic = g(torch.randn(200, g.latent_dim), wanted)
    fake = torch.stack([synthetic[wanted == y].mean(0).flatten() for y in range(4)])
    real = torch.stack([images[labels == y].mean(0).flatten() for y in range(4)])
    return torch.corrcoef(torch.cat([fake - fake.mean(0), real - real.mean(0)]))[:4, 4:]
