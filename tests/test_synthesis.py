from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from knowledge_recycling.config import Classifier, Config
from knowledge_recycling.generators.interface import Generator
from knowledge_recycling.runtime import Runtime, derive
from knowledge_recycling.synthesis import FILTER_ROUNDS, Parameters, Source, Stream, blend

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


def stream(steps: int = 100, **options: Any) -> Stream:
    recipe = Classifier(batch_size=20, shift=0)
    return Stream(source(), recipe, steps, lambda *keys: derive(0, *keys), **options)


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


def test_every_epoch_is_drawn_anew() -> None:
    fresh = stream()
    assert (fresh.size, fresh.batch.epoch_steps) == (100, 5)
    first = torch.cat([fresh(step)[0] for step in range(5)]).flatten(1).sort(0).values
    second = torch.cat([fresh(step)[0] for step in range(5, 10)]).flatten(1).sort(0).values
    assert not torch.equal(first, second)
    assert fresh.images_drawn(10) == 200


@pytest.mark.parametrize(("period", "same"), [(0, [0, 1, 2, 3]), (2, [0, 1])])
def test_a_set_is_kept_for_its_period(period: int, same: list[int]) -> None:
    kept = stream(period=period)

    def epoch(number: int) -> Tensor:
        batches = [kept(step)[0] for step in range(5 * number, 5 * number + 5)]
        return torch.cat(batches).flatten(1).sort(0).values

    epochs = [epoch(number) for number in range(4)]
    assert [n for n in range(4) if torch.equal(epochs[n], epochs[0])] == same
    assert kept.images_drawn(20) == (100 if period == 0 else 200)


def test_a_step_does_not_depend_on_the_steps_before() -> None:
    forward = stream(period=2)
    expected = [forward(step) for step in range(20)]
    for step in (17, 3, 11):
        images, targets = stream(period=2)(step)
        assert torch.equal(images, expected[step][0])
        assert torch.equal(targets, expected[step][1])


def test_hard_labels_are_the_classes_asked_for() -> None:
    images, targets = stream(labels="hard")(0)
    assert targets.dtype == torch.int64
    brightness = images.mean((1, 2, 3))
    assert torch.corrcoef(torch.stack([brightness, targets.float()]))[0, 1] > 0.9


def test_no_set_is_larger_than_the_steps_need() -> None:
    assert stream(steps=2).size == 40
    assert stream(size_multiple=3.0).size == 300


def test_a_blend_lies_between_two_images_of_the_batch() -> None:
    images = torch.diag(torch.arange(1.0, 7.0))[:, None, None]
    torch.manual_seed(0)
    blends = blend(images, 4)[:, 0, 0]
    for number, row in enumerate(blends):
        shares = row / torch.arange(1.0, 7.0)
        assert shares.sum() == pytest.approx(1)
        assert (shares > 0).sum() <= 2
        assert shares[number] > 0
    assert (blends > 0).sum() > 4  # some partner is another image


def test_blends_bear_the_teachers_label_for_the_blend_itself() -> None:
    mixed = stream(blended=0.5)
    mixed.source = source(temperature=2.0)
    torch.manual_seed(0)
    images, targets = mixed(0)
    torch.testing.assert_close(targets, (Reader()(images) / 2.0).softmax(1), atol=2e-2, rtol=0)
    plain, _ = stream()(0)
    assert torch.equal(images[10:], plain[10:])
    assert not torch.equal(images[:10], plain[:10])


def test_hard_labels_are_not_blended() -> None:
    assert torch.equal(stream(labels="hard", blended=1.0)(0)[0], stream()(0)[0])
