"""Probe classifiers: short trainings on synthetic data, judged on real validation data.

The accuracy of a probe is the Classification Accuracy Score (CAS, arXiv:1905.10887) on
validation, by which Checkpoint Optimisation and Generator Tuning choose.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from knowledge_recycling.arrays import Stored
from knowledge_recycling.classifiers import metrics
from knowledge_recycling.classifiers.inference import probabilities_of
from knowledge_recycling.config import Config, Distillation
from knowledge_recycling.results import Look
from knowledge_recycling.synthesis.gkd import Lessons
from knowledge_recycling.synthesis.parameters import BY_LEAK, Labels
from knowledge_recycling.synthesis.source import Source
from knowledge_recycling.training.images import Images
from knowledge_recycling.training.loop import Judge, fit
from knowledge_recycling.training.runtime import Runtime
from knowledge_recycling.training.seeds import derive

PROBE_LESSONS = {"regeneration_period": 1, "size_multiple": 1.0}
"""Probes judge the Generator, so they learn like this where the Student does otherwise too."""
Watch = Callable[[int, dict[str, float]], None]


@dataclass(frozen=True)
class Bench:
    """Everything that the probes of one stage share.

    Args:
        distillation: the Student's recipe, which a probe follows for fewer steps.
        build: makes the Student's network, untrained.
        images, labels: real validation images (n, c, h, w) uint8 on the device, labels (n,).
        seed: (seed, stage).
        runtime: device and precision.
    """

    distillation: Distillation
    build: Callable[[], nn.Module]
    images: Images
    labels: np.ndarray
    seed: tuple[int, str]
    runtime: Runtime

    @classmethod
    def of(
        cls,
        stage: str,
        config: Config,
        build: Callable[[], nn.Module],
        images: Stored,
        labels: np.ndarray,
        runtime: Runtime,
    ) -> Bench:
        """The bench of a stage that chooses on these validation images (n, h, w, c) uint8."""
        seed = (config.seed, stage)
        return cls(config.distillation, build, runtime.images(images), labels, seed, runtime)

    def probabilities(self, network: nn.Module) -> np.ndarray:
        """What a network says of the validation images, (n, C)."""
        return probabilities_of(network, self.images, self.runtime)

    def score(
        self,
        source: Source,
        steps: int,
        look: str,
        of: str,
        watch: Watch | None = None,
        looks: int = 1,
    ) -> dict[str, float]:
        """Trains a probe on `source` and returns accuracy, AUC and loss on validation.

        Args:
            source: of synthetic images.
            steps: length of the training.
            look: what the probe is compared in; decides its randomness with the stage's seed.
            of: what is looked at, shown with the progress.
            watch: told the look's number and figures on the way; may raise to stop the probe.
            looks: how often `watch` is told, the last time at the end.
        """
        seen: list[dict[str, float]] = []

        def judge(network: nn.Module) -> dict[str, float]:
            seen.append(metrics.quick_look(self.probabilities(network), self.labels))
            if watch:
                watch(len(seen), seen[-1])
            return seen[-1]

        self.probe(source, steps, look, of, judge=judge, looks=looks)
        return seen[-1]

    def probe(
        self,
        source: Source,
        steps: int,
        look: str,
        of: str,
        labels: Labels = "soft",
        judge: Judge | None = None,
        looks: int = 1,
    ) -> nn.Module:
        """A probe that was trained on `source`, in eval mode.

        Probes that are compared have the same first weights, classes and z (common random
        numbers): their difference is then the sources' much more than chance. Without them a
        short probe's first weights decide more than what it learns from.

        The last weights count: a best look would choose on validation a second time. Probes are
        short, so a killed one starts over.

        Args:
            source: of synthetic images.
            steps: length of the training.
            look: what the probe is compared in; decides its randomness with the stage's seed.
            of: what is looked at, shown with the progress.
            labels: what it learns by.
            judge: see `fit`.
            looks: see `fit`.
        """
        seed = (self.seed[0], f"{self.seed[1]}/{look}")
        torch.manual_seed(derive(*seed, "weights"))
        network = self.runtime.place(self.build())
        section = self.distillation.model_copy(update=PROBE_LESSONS)
        lessons = Lessons(source, section, labels, steps, lambda *keys: derive(*seed, *keys))
        fit(
            network,
            lessons,
            lessons.recipe,
            self.runtime,
            loss=lessons.loss,
            seed=seed,
            label=f"probe: {look} of {of}",
            judge=judge,
            looks=looks,
        )
        return network

    def winner(self, scores: Sequence[Look]) -> int:
        """Which of the probes to follow: the first, which is the default, or a better one.

        Chance alone makes the best of several short probes better than the default. So it must lead
        by more than one standard error of the default's accuracy on the validation images (after
        the one-standard-error rule of Breiman et al. 1984, Classification and Regression Trees).

        Args:
            scores: of probes of one look, the default's first.
        """
        best = max(range(len(scores)), key=lambda number: rank(scores[number]))
        accuracy = scores[0].accuracy
        error = math.sqrt(accuracy * (1 - accuracy) / len(self.labels))
        return best if scores[best].accuracy > accuracy + error else 0


def least_leaking(right: Mapping[Labels, np.ndarray]) -> tuple[Labels, dict[Labels, float]]:
    """The kind of labels that leaks least among those that validation does not tell from the best.

    A kind is told from the best where its accuracy is lower by more than one standard error of the
    difference, taken over the same validation images.

    Args:
        right: kind -> (n,) bool, whether a probe that learned by it was right.

    Returns:
        The kind, and each kind's standard error; the best's is 0.

    Example:
        >>> right = {"hard": np.array([1, 1, 0, 1]) > 0, "soft": np.array([1, 1, 1, 1]) > 0}
        >>> least_leaking(right)
        ('hard', {'hard': 0.25, 'soft': 0.0})
    """
    found = {kind: right[kind].astype(float) for kind in BY_LEAK if kind in right}
    best = max(found.values(), key=lambda of: of.mean())
    errors = {
        kind: float((best - of).std(ddof=1) / math.sqrt(len(of))) for kind, of in found.items()
    }
    # One image of difference is one standard error exactly, before rounding.
    close = (k for k, of in found.items() if best.mean() - of.mean() <= errors[k] + 1e-12)
    return next(close), errors


def rank(figures: Look) -> tuple[float, float]:
    """Sorts probes: higher accuracy, and among equals (validation sets are small) higher AUC."""
    return figures.accuracy, 0.5 if figures.auc is None else figures.auc
