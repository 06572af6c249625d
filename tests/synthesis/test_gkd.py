from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from knowledge_recycling import classifiers
from knowledge_recycling.config import Config, Distillation
from knowledge_recycling.generators.interface import Generator
from knowledge_recycling.synthesis.gkd import Lessons, blend
from knowledge_recycling.synthesis.parameters import Parameters
from knowledge_recycling.synthesis.source import Source
from knowledge_recycling.training.loop import fit
from knowledge_recycling.training.runtime import Runtime
from knowledge_recycling.training.seeds import derive

RUNTIME = Runtime.start(Config(precision="fp32"))
COUNTS = (60, 30, 10)


class Painter(Generator):
    """Paints the class into the brightness and z over it."""

    latent_dim = 64

    def forward(self, z: Tensor, labels: Tensor) -> Tensor:
        """Z as an image about the brightness of the class."""
        level = (labels * 0.5 - 0.5)[:, None, None, None]
        return (level + 0.2 * z.unflatten(1, (1, 8, 8))).clamp(-1, 1)


class Reader(nn.Module):
    """Reads the class off the brightness, softly; shows no feature maps."""

    def forward(self, x: Tensor) -> Tensor:
        """Logits: minus the distance of the brightness to that of each class."""
        return -20 * (x.mean((1, 2, 3))[:, None] - torch.tensor([-0.5, 0.0, 0.5])).abs()


def resnet(seed: int, width: int = 4) -> nn.Module:
    torch.manual_seed(seed)
    return classifiers.build(
        network="resnet", channels=1, classes=3, size=8, width=width, blocks=(1, 1)
    )


def lessons(steps: int = 100, teacher: nn.Module | None = None, **options: Any) -> Lessons:
    plain: dict[str, Any] = {"learning_rate": 0.02, "blended": 0.0} | {
        "batch_size": 20,
        "shift": 0,
        "regeneration_period": 1,
    }
    parameters = Parameters(temperature=options.pop("temperature", 2.0))
    source = Source(Painter(), teacher or Reader(), parameters, COUNTS, RUNTIME)
    labels = options.pop("labels", "soft")
    section = Distillation(**plain | options)
    return Lessons(source, section, labels, steps, lambda *keys: derive(0, *keys))


def images_of(given: Lessons, epoch: int) -> Tensor:
    """The images of an epoch of five steps, in an order of their own."""
    batches = [given(step)[0] for step in range(5 * epoch, 5 * epoch + 5)]
    return torch.cat(batches).flatten(1).sort(0).values


@pytest.mark.parametrize(
    ("period", "same", "drawn"), [(0, [0, 1, 2, 3], 100), (1, [0], 400), (2, [0, 1], 200)]
)
def test_a_set_is_kept_for_its_period(period: int, same: list[int], drawn: int) -> None:
    given = lessons(steps=20, regeneration_period=period)
    assert (given.size, given.batch.epoch_steps) == (100, 5)
    epochs = [images_of(given, number) for number in range(4)]
    assert [n for n in range(4) if torch.equal(epochs[n], epochs[0])] == same
    assert given.images_drawn() == drawn


def test_a_step_does_not_depend_on_the_steps_before() -> None:
    forward = lessons(regeneration_period=2)
    expected = [forward(step) for step in range(20)]
    for step in (17, 3, 11):
        images, classes = lessons(regeneration_period=2)(step)
        assert torch.equal(images, expected[step][0])
        assert torch.equal(classes, expected[step][1])


def test_the_classes_are_those_asked_for() -> None:
    images, classes = lessons()(0)
    assert classes.dtype == torch.int64
    brightness = images.mean((1, 2, 3))
    assert torch.corrcoef(torch.stack([brightness, classes.float()]))[0, 1] > 0.9


def test_no_set_is_larger_than_the_steps_need() -> None:
    assert lessons(steps=2).size == 40
    assert lessons(size_multiple=3.0).size == 300


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


def test_a_share_of_the_batch_is_blended_under_soft_labels_alone() -> None:
    plain = lessons()(0)[0]
    half = lessons(blended=0.5)(0)[0]
    assert torch.equal(half[10:], plain[10:])
    assert not torch.equal(half[:10], plain[:10])
    assert torch.equal(lessons(blended=1.0, labels="hard")(0)[0], plain)


def test_the_loss_is_the_cross_entropy_to_the_teachers_tempered_softmax_and_the_maps() -> None:
    """Equation of the module's docstring, by hand; a Student of other shape has the first term."""
    teacher, student = resnet(0).eval().requires_grad_(False), resnet(1).eval()
    given = lessons(
        teacher=teacher, temperature=3.0, feature_weight=0.5, matched_maps=2, blended=0.5
    )
    images, classes = given(0)
    soft = (teacher(images) / 3.0).softmax(1)
    labels = -(soft * (student(images) / 3.0).log_softmax(1)).sum(1).mean()
    apart = [
        (s - t).square().mean() / t.var()
        for s, t in zip(student.feature_maps(images), teacher.feature_maps(images), strict=True)  # type: ignore[operator]
    ][:2]
    expected = labels + 0.5 * sum(apart) / 2
    torch.testing.assert_close(given.loss(student, images, classes), expected, rtol=1e-3, atol=0)
    other = resnet(1, width=8).eval()
    alone = F.cross_entropy(other(images) / 3.0, soft)
    torch.testing.assert_close(given.loss(other, images, classes), alone)


def test_under_hard_labels_the_teacher_is_not_asked() -> None:
    class Silent(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            raise AssertionError

    given = lessons(teacher=Silent(), labels="hard")
    student = resnet(0).eval()
    images, classes = given(0)
    expected = F.cross_entropy(student(images), classes)
    torch.testing.assert_close(given.loss(student, images, classes), expected)


class Constant(nn.Module):
    """The same logits for all images."""

    def __init__(self, logits: Tensor) -> None:
        super().__init__()
        self.logits = nn.Parameter(logits.clone())

    def forward(self, x: Tensor) -> Tensor:
        """One row an image."""
        return self.logits.expand(len(x), 3)


@pytest.mark.parametrize("temperature", [1.0, 3.0])
def test_a_student_of_tempered_labels_is_as_sure_as_its_teacher(temperature: float) -> None:
    wanted = torch.tensor([2.0, -1.0, 0.5])
    given = lessons(
        600,
        teacher=Constant(wanted),
        temperature=temperature,
        learning_rate=0.1,
        weight_decay=0.0,
    )
    student = Constant(torch.zeros(3))
    fit(student, given, given.recipe, RUNTIME, loss=given.loss, seed=(0, "x"), label="x")
    found = student.logits.detach()
    torch.testing.assert_close(found - found.mean(), wanted - wanted.mean(), atol=0.02, rtol=0)


def test_the_matched_maps_alone_come_near_the_teachers() -> None:
    teacher = resnet(0).eval().requires_grad_(False)

    def apart(weight: float) -> list[float]:
        """Squared distance of each map after training, in units of the Teacher's variance."""
        given = lessons(100, teacher=teacher, feature_weight=weight, matched_maps=1)
        student = resnet(1)
        fit(student, given, given.recipe, RUNTIME, loss=given.loss, seed=(0, "x"), label="x")
        maps = [of.feature_maps(given(0)[0]) for of in (student, teacher)]  # type: ignore[operator]
        return [(F.mse_loss(s, t) / t.var()).item() for s, t in zip(*maps, strict=True)]

    matched, free = apart(3.0), apart(0.0)
    assert matched[0] < free[0] / 10
    assert matched[-1] > 10
