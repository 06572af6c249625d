"""Controls of the whole audit: leaks planted in real networks and real signals are found.

Records are noise under random labels, so that a network can only know them by heart.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import torch
from torch import Tensor

from knowledge_recycling import classifiers
from knowledge_recycling.attacks.logit_margin import logit_margin
from knowledge_recycling.auditing.auditor import signal_scores
from knowledge_recycling.auditing.verdict import CHANNELS, PRIMARY, Verdict, copies, judge
from knowledge_recycling.classifiers.inference import logits_of
from knowledge_recycling.config import Config
from knowledge_recycling.membership import signals
from knowledge_recycling.membership.halves import complementary_halves
from knowledge_recycling.membership.members import Membership
from knowledge_recycling.statistics.two_way import pooled_estimates
from knowledge_recycling.synthesis.source import SyntheticSet
from knowledge_recycling.training.loop import Recipe, fit
from knowledge_recycling.training.pixels import to_float
from knowledge_recycling.training.runtime import Runtime

N, CLASSES, COUNT = 96, 2, 8
Phi = dict[str, np.ndarray]


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def pool() -> tuple[Tensor, Tensor, np.ndarray]:
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (N, 1, 8, 8), generator=generator, dtype=torch.uint8)
    labels = torch.arange(N) % CLASSES
    membership = complementary_halves(labels.numpy(), None, COUNT, seed=0)
    return images, labels, membership


@pytest.fixture(scope="module")
def phi(pool: tuple[Tensor, Tensor, np.ndarray]) -> Phi:
    """Signals of pipelines that leak in every channel, each by its own plant."""
    images, labels, membership = pool
    runtime = Runtime.start(Config(precision="fp32"))
    found: dict[str, list[np.ndarray]] = {}
    for k, inside in enumerate(torch.from_numpy(membership)):
        teacher = by_heart(images[inside], labels[inside], runtime, k)
        # A Student trained on the members themselves.
        student = by_heart(images[inside], labels[inside], runtime, 100 + k)
        # A Generator that copies members.
        copied = labelled(images[inside], labels[inside], teacher, runtime, k)
        # Innocent images under the soft labels of a Teacher that knows its members by heart.
        near_all = labelled(images, labels, teacher, runtime, 100 + k)
        made = signals.of_synthetic(images, labels, inside, copied)
        told = signals.of_synthetic(images, labels, inside, near_all)
        row = {
            "teacher": logit_margin(
                signals.of_classifier(teacher, images, runtime), labels.numpy()
            ),
            "student": logit_margin(
                signals.of_classifier(student, images, runtime), labels.numpy()
            ),
            "synthetic": made["synthetic"],
            "held_out": made["held_out"],
            "innocent": told["synthetic"],
            "innocent_held_out": told["held_out"],
            **{name: told[name] for name in CHANNELS if name.endswith("_labels")},
        }
        for name, values in row.items():
            found.setdefault(name, []).append(values)
    return {name: np.stack(rows) for name, rows in found.items()}


def by_heart(images: Tensor, labels: Tensor, runtime: Runtime, seed: int) -> torch.nn.Module:
    torch.manual_seed(seed)
    network = classifiers.build(
        network="resnet", channels=1, classes=CLASSES, size=8, width=8, blocks=(1,)
    )
    batch = to_float(images), labels
    recipe = Recipe(steps=120, learning_rate=1e-2, weight_decay=0.0)
    fit(network, lambda step: batch, recipe, runtime, seed=(seed, "planted"), label="planted")
    return network


def labelled(
    images: Tensor, labels: Tensor, teacher: torch.nn.Module, runtime: Runtime, seed: int
) -> SyntheticSet:
    noise = torch.randint(-3, 4, images.shape, generator=torch.Generator().manual_seed(seed))
    made = (images.int() + noise).clamp(0, 255).to(torch.uint8)
    soft = logits_of(teacher, made, runtime).softmax(1)
    return SyntheticSet(made, labels, soft, 1.0)


def verdict(phi: Phi, membership: np.ndarray, images: Tensor, labels: Tensor) -> Verdict:
    channels = {channel: phi[channel] for channel in CHANNELS}
    features = signals.blind_features(images)
    return judge(channels, Membership.of(membership), features, labels.numpy(), draws=300, seed=0)


def test_planted_leaks_are_found(pool: tuple[Tensor, Tensor, np.ndarray], phi: Phi) -> None:
    images, labels, membership = pool
    found = verdict(phi, membership, images, labels)
    assert found.powered
    area = {c: t.attacks[PRIMARY].auc for c, t in found.targets.items()}
    for channel in ("teacher", "student", "synthetic"):
        assert area[channel].value > 0.95, channel
    assert area["soft_labels"].low > 0.55
    # The class that was asked for says nothing of the Teacher.
    assert area["hard_labels"].low <= 0.5 <= area["hard_labels"].high
    assert area["rounded_labels"].value < area["soft_labels"].value


def test_copied_members_are_counted(pool: tuple[Tensor, Tensor, np.ndarray], phi: Phi) -> None:
    membership = Membership.of(pool[2])
    copied = copies(phi["synthetic"], phi["held_out"], membership)
    assert copied.members.value == 1.0
    assert copied.nonmembers.value < 0.6
    # Images near all records alike: non-members look copied as often as members.
    innocent = copies(phi["innocent"], phi["innocent_held_out"], membership)
    assert innocent.excess.value == 0.0


def test_shuffled_membership_finds_nothing(
    pool: tuple[Tensor, Tensor, np.ndarray], phi: Phi
) -> None:
    labels = pool[1].numpy()
    for channel in ("teacher", "student", "synthetic", "soft_labels"):
        found = []
        for seed in range(1, 21):
            shuffled = Membership.of(complementary_halves(labels, None, COUNT, seed=seed))
            scores = signal_scores(phi[channel], shuffled, attacks=(PRIMARY,))[PRIMARY]
            found.append(pooled_estimates(scores, shuffled)[0])
        # The mean of one shuffle has a standard deviation of 0.04.
        assert abs(np.mean([area.value for area in found]) - 0.5) < 0.03, channel
        assert sum(area.low <= 0.5 <= area.high for area in found) >= 15, channel
