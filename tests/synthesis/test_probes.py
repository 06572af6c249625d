from __future__ import annotations

from dataclasses import replace
from typing import cast

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from knowledge_recycling import classifiers
from knowledge_recycling.config import Config, Distillation
from knowledge_recycling.generators.interface import Generator
from knowledge_recycling.results import Look
from knowledge_recycling.synthesis.parameters import Labels, Parameters
from knowledge_recycling.synthesis.probes import Bench, least_leaking
from knowledge_recycling.synthesis.source import Source
from knowledge_recycling.training.runtime import Runtime

RUNTIME = Runtime.start(Config(precision="fp32"))


class Noise(Generator):
    """Images whose brightness leans towards the class."""

    latent_dim = 64

    def forward(self, z: Tensor, labels: Tensor) -> Tensor:
        """Z as an image, shifted by the class."""
        return (0.3 * z.unflatten(1, (1, 8, 8)) + 0.2 * labels[:, None, None, None]).clamp(-1, 1)


class Reader(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        """Logits of two classes from the brightness."""
        return 20 * torch.stack([0.1 - x.mean((1, 2, 3)), x.mean((1, 2, 3)) - 0.1], 1)


def bench() -> Bench:
    torch.manual_seed(0)
    return Bench(
        distillation=Distillation(batch_size=8, shift=0),
        build=lambda: classifiers.build(
            network="resnet", channels=1, classes=2, size=8, width=4, blocks=(1,)
        ),
        images=torch.randint(0, 256, (40, 1, 8, 8), dtype=torch.uint8),
        labels=np.arange(40) % 2,
        seed=(0, "selection"),
        runtime=RUNTIME,
    )


SOURCE = Source(Noise(), Reader(), Parameters(), (30, 30), RUNTIME)


def test_probes_of_one_look_differ_by_their_source_alone() -> None:
    made = bench()
    here = made.score(SOURCE, 6, "screen", "one snapshot")
    assert made.score(SOURCE, 6, "screen", "another that is the same") == here
    assert made.score(SOURCE, 6, "final look", "one snapshot") != here
    wider = replace(SOURCE, parameters=Parameters(latent_std=2.0))
    assert made.score(wider, 6, "screen", "one snapshot") != here


def test_a_watch_is_told_every_look_and_the_last_one_counts() -> None:
    seen: list[tuple[int, dict[str, float]]] = []
    figures = bench().score(
        SOURCE, 6, "first look", "trial 0", lambda *told: seen.append(told), looks=3
    )
    assert [number for number, _ in seen] == [1, 2, 3]
    assert seen[-1][1] == figures


def test_the_default_stays_unless_it_is_beaten_by_more_than_a_standard_error() -> None:
    def figures(accuracy: float, auc: float = 0.9) -> Look:
        return Look(accuracy=accuracy, auc=auc, loss=0.5)

    made = bench()  # 40 images: at 0.8 the standard error is 0.063
    default = figures(0.8)
    assert made.winner([default]) == 0
    assert made.winner([default, figures(0.85), figures(0.86)]) == 0
    assert made.winner([default, figures(0.875), figures(0.7)]) == 1
    assert made.winner([default, figures(0.9), figures(0.9, auc=0.95)]) == 2
    assert made.winner([figures(1.0), figures(1.0, auc=0.99)]) == 0


def right(**share: float) -> dict[Labels, np.ndarray]:
    """Probes that are right on the first of 100 images."""
    found: dict[Labels, np.ndarray] = {}
    for kind, of in share.items():
        found[cast(Labels, kind)] = np.arange(100) < round(100 * of)
    return found


def test_the_labels_that_leak_least_are_taken_unless_validation_speaks_against_them() -> None:
    """One image in 100 is one standard error of the difference, two are 1.42."""
    assert least_leaking(right(soft=0.9, hard=0.9))[0] == "hard"
    assert least_leaking(right(soft=0.9, hard=0.89))[0] == "hard"
    assert least_leaking(right(soft=0.9, hard=0.88))[0] == "soft"
    assert least_leaking(right(soft=0.8, hard=0.9))[0] == "hard"
    errors = least_leaking(right(soft=0.9, hard=0.8))[1]
    assert errors == {"hard": pytest.approx(0.3015 / 10, rel=1e-3), "soft": 0.0}
