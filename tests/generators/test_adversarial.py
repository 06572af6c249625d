"""What holds for every adversarial method."""

from __future__ import annotations

import io
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch
from sklearn.datasets import load_digits
from torch import Tensor

from knowledge_recycling.errors import KRError
from knowledge_recycling.generators.adversarial import grid
from knowledge_recycling.generators.interface import Generator
from knowledge_recycling.stages.generator import ADVERSARIAL
from knowledge_recycling.training.pixels import fold

SIZES = [8, 10, 12, 14, 16, 20, 24, 28, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224]
both = pytest.mark.parametrize("method", ADVERSARIAL)


def bfloat16() -> AbstractContextManager[Any]:
    return torch.autocast("cpu", dtype=torch.bfloat16)


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


@both
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("size", SIZES)
def test_shapes_and_range(method: str, size: int, channels: int) -> None:
    shape = {"channels": channels, "classes": 3, "size": size, "width": 4}
    network, discriminator = ADVERSARIAL[method].networks
    g, d = network(**shape, latent_dim=7), discriminator(**shape)
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
        assert base * 2**doublings * fold(size) == size


@pytest.mark.parametrize("size", [4, 7, 9, 18, 27, 30, 44, 63])
def test_other_sizes_are_refused(size: int) -> None:
    with pytest.raises(KRError) as error:
        grid(size)
    assert str(error.value) == (
        f"biggan, r3gan: images of {size} pixels do not fit the grid; set data.size to one of "
        "8, 10, 12, 14, 16, 20, 24, 28, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224"
    )


@both
@pytest.mark.parametrize("latent_dim", [2, 5, 64])
def test_every_latent_and_the_class_reach_the_image(method: str, latent_dim: int) -> None:
    torch.manual_seed(0)
    network = ADVERSARIAL[method].networks[0]
    g = network(channels=1, classes=3, size=32, width=4, latent_dim=latent_dim).eval()
    z, labels = torch.randn(1, latent_dim, requires_grad=True), torch.tensor([1])
    image = g(z, labels)
    (gradient,) = torch.autograd.grad(image.square().sum(), z)
    assert bool((gradient != 0).all())
    assert not torch.equal(image, g(z, torch.tensor([2])))


@both
def test_spec_rebuilds_the_network(method: str) -> None:
    spec = {"channels": 3, "classes": 4, "size": 12, "width": 5, "latent_dim": 9}
    network = ADVERSARIAL[method].networks[0]
    g = network(**spec)
    assert g.spec == spec
    again = network(**g.spec)
    again.load_state_dict(g.state_dict())
    z, labels = torch.randn(2, g.latent_dim), torch.tensor([0, 3])
    assert torch.equal(g.eval()(z, labels), again.eval()(z, labels))


@both
def test_resumed_training_equals_uninterrupted_bit_for_bit(
    training: Any, method: str, tmp_path: Path
) -> None:
    # The penalties' turn must survive: it comes in the middle of a step here.
    fields = {"discriminator_steps": 2} | ({"penalty_every": 3} if method == "r3gan" else {})
    torch.manual_seed(0)
    whole = training(method, **fields)
    losses = steps(whole, 0, 5)
    torch.manual_seed(0)
    broken = training(method, **fields)
    steps(broken, 0, 3)
    torch.save(broken.state_dict(), tmp_path / "state.pt")
    torch.manual_seed(99)
    resumed = training(method, **fields)
    resumed.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
    assert same(steps(resumed, 3, 5), losses[3:])
    assert same(resumed.state_dict(), whole.state_dict())


@both
def test_state_does_not_hide_a_difference(training: Any, method: str) -> None:
    """The comparison above can fail: another step, another state."""
    trained = training(method)
    buffer = io.BytesIO()
    torch.save(trained.state_dict(), buffer)
    steps(trained, 0, 1)
    buffer.seek(0)
    before, after = torch.load(buffer, weights_only=True), trained.state_dict()
    assert all(not same(before[part], after[part]) for part in before)


@both
def test_average_equals_naive_moving_average(training: Any, method: str) -> None:
    torch.manual_seed(0)
    trained = training(method, averaging=0.15)
    expected: dict[str, Tensor] = {}
    for t in range(4):
        steps(trained, t, t + 1)
        decay = min(0.15, (1 + t) / (10 + t)) if t else 0.0
        for name, value in trained.generator.state_dict().items():
            if value.is_floating_point():
                old = expected.get(name, torch.zeros_like(value))
                expected[name] = decay * old + (1 - decay) * value
    snapshot = trained.snapshot(*batch()).state_dict()
    buffers = {name for name in expected if "running" in name}
    assert bool(buffers) == (method == "biggan")
    assert "first.weight" in expected
    for name, value in expected.items():
        torch.testing.assert_close(snapshot[name], value)


@both
def test_snapshot_is_a_copy_whose_images_do_not_depend_on_the_batch(
    training: Any, method: str
) -> None:
    torch.manual_seed(0)
    trained = training(method, channels=3, size=12, autocast=bfloat16)
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


@both
@pytest.mark.parametrize("autocast", [nullcontext, bfloat16])
@pytest.mark.parametrize("augmentation", [True, False])
def test_losses_are_finite_detached_scalars(
    training: Any, method: str, autocast: Any, augmentation: bool
) -> None:
    torch.manual_seed(0)
    trained = training(method, autocast=autocast, augmentation=augmentation, discriminator_steps=2)
    first = trained.generator.first.weight.clone()
    losses = trained.step(*batch(), 0.0)
    assert {"generator", "discriminator"} <= set(losses)
    for loss in losses.values():
        assert loss.shape == ()
        assert loss.dtype == torch.float32
        assert not loss.requires_grad
        assert bool(loss.isfinite())
    assert not torch.equal(trained.generator.first.weight, first)


@both
def test_learns_the_digits(training: Any, method: str) -> None:
    """After a short training each class mean is most like the real mean of its own class."""
    data = load_digits(n_class=4)
    images = torch.tensor(data.images / 8 - 1, dtype=torch.float32)[:, None]
    labels = torch.tensor(data.target)
    torch.manual_seed(0)
    trained = training(method, classes=4, width=8, latent_dim=16, learning_rate=4e-3)
    untrained = mean_correlations(trained.snapshot(images, labels), images, labels)
    for step in range(200):
        torch.manual_seed(step)
        chosen = torch.randint(len(images), (32,))
        loss = trained.step(images[chosen], labels[chosen], step / 200)["discriminator"]
        assert bool(loss.isfinite())
    correlations = mean_correlations(trained.snapshot(images, labels), images, labels)
    assert float(correlations.diagonal().mean()) > float(untrained.diagonal().mean()) + 0.3
    assert correlations.argmax(1).tolist() == [0, 1, 2, 3]


def mean_correlations(g: Generator, images: Tensor, labels: Tensor) -> Tensor:
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
