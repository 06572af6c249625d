"""Generative Knowledge Distillation (GKD): the batches and the loss of a Student or a probe.

With Teacher T, Student S, their feature maps phi_l, and x a batch of synthetic images,

    L(S) = -sum_c t_c log softmax(S(x) / tau)_c + w mean_l |phi_l^S(x) - phi_l^T(x)|^2 / Var phi_l^T

where t = softmax(T(x) / tau). The first term is the paper's (arXiv:2407.15526; tau after Hinton et
al. 2015, arXiv:1503.02531, section 2: S divides its own logits too, so that it ends as sure as T is
and not tau times less). The second is ours, after FitNets (Romero et al. 2015, arXiv:1412.6550):
labels alone leave S free to tell synthetic images apart by other features than T does, which may
mean nothing on real images. It runs over the first few maps alone: they hold what edges and
textures T looks at, the last ones also what T remembers of its members.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from knowledge_recycling.classifiers.augmentation import augment
from knowledge_recycling.config import Distillation
from knowledge_recycling.synthesis.parameters import Labels
from knowledge_recycling.synthesis.source import Source
from knowledge_recycling.training.batching import Shuffled
from knowledge_recycling.training.loop import Recipe, cross_entropy
from knowledge_recycling.training.pixels import to_float
from knowledge_recycling.training.seeds import derive


class Lessons:
    """Endless training batches, and the loss that teaches with them.

    An epoch is one pass over a synthetic set of `size_multiple` times |D_train| images. Every
    `regeneration_period` epochs the set is drawn anew; 0 keeps the first one.

    Args:
        source: what to draw from, and the Teacher.
        section: regeneration, blends, weight of the features, batch size, augmentation.
        labels: what the Student learns by.
        steps: how many batches will be asked for: no set is drawn larger than they need.
        seed: makes a seed from an epoch's number or a set's.
    """

    def __init__(
        self,
        source: Source,
        section: Distillation,
        labels: Labels,
        steps: int,
        seed: Callable[..., int],
    ) -> None:
        self.source, self.section, self.labels, self.seed = source, section, labels, seed
        self.recipe = Recipe(steps, section.learning_rate, section.weight_decay)
        wanted = round(sum(source.class_counts) * section.size_multiple)
        self.size = max(2, min(wanted, steps * section.batch_size))
        self.batch = Shuffled(
            self.size,
            section.batch_size,
            lambda epoch: seed("order", epoch),
            source.runtime.device,
        )
        self._number = -1
        self._set: tuple[Tensor, Tensor] | None = None

    def __call__(self, step: int) -> tuple[Tensor, Tensor]:
        """Images (n, c, h, w) in -1..1 of one step, and the classes (n,) that were asked for."""
        images, classes = self._current(self._set_number(self.batch.epoch(step)))
        chosen = self.batch(step)
        x = to_float(augment(images[chosen], self.section))
        if self.labels == "soft" and (count := round(self.section.blended * len(x))):
            x[:count] = blend(x, count)
        return x, classes[chosen]

    def loss(self, student: nn.Module, images: Tensor, classes: Tensor) -> Tensor:
        """L(S) on a batch; under hard labels the cross-entropy to the classes."""
        if self.labels == "hard":
            return cross_entropy(student, images, classes)
        with torch.no_grad():
            wanted, answer = answers(self.source.teacher, images)
        found, logits = answers(student, images)
        temperature = self.source.parameters.temperature
        loss = F.cross_entropy(
            logits.float() / temperature, (answer.float() / temperature).softmax(1)
        )
        if not self.section.feature_weight:
            return loss
        pairs = list(zip(found, wanted, strict=False))[: self.section.matched_maps]
        apart = [distance(s, t) for s, t in pairs if s.shape == t.shape]
        return loss + self.section.feature_weight * torch.stack(apart).mean() if apart else loss

    def images_drawn(self) -> int:
        """How many synthetic images all the steps take."""
        epochs = -(-self.recipe.steps // self.batch.epoch_steps)
        return (self._set_number(epochs - 1) + 1) * self.size

    def _set_number(self, epoch: int) -> int:
        period = self.section.regeneration_period
        return epoch // period if period else 0

    def _current(self, number: int) -> tuple[Tensor, Tensor]:
        if self._set is None or number != self._number:
            self._set = None  # frees the old set before the new one is drawn
            seed = self.seed("set", number)
            classes = self.source.classes(self.size, seed)
            images, _ = self.source.images(classes, derive(seed, "images"))
            self._set, self._number = (images, classes), number
        return self._set


def answers(network: nn.Module, images: Tensor) -> tuple[list[Tensor], Tensor]:
    """Feature maps, and logits (n, C), of a batch in one pass.

    A network of the user's own without `feature_maps` and `classify` has no maps to compare.
    """
    feature_maps, classify = (getattr(network, of, None) for of in ("feature_maps", "classify"))
    if feature_maps is None or classify is None:
        return [], network(images)
    maps = feature_maps(images)
    return maps, classify(maps)


def distance(s: Tensor, t: Tensor) -> Tensor:
    """Mean |s - t|^2 / Var t of two feature maps, which have the same shape."""
    if s.ndim == 4:  # in the order in which they lie in memory: faster on a CPU
        s, t = s.permute(0, 2, 3, 1), t.permute(0, 2, 3, 1)
    s, t = s.float(), t.float()
    return F.mse_loss(s, t) / (t.var() + 1e-6)


def blend(images: Tensor, count: int) -> Tensor:
    """The first `count` images, each blended with another of the batch in uniform proportion.

    The Student is to be the Teacher's equal as a function, not on typical images alone, and a blend
    lies where the Generator puts nothing (function matching: Beyer et al. 2022, arXiv:2106.05237).
    Unlike mixup's, its label is what the Teacher says of the blend itself.

    Args:
        images: (n, c, h, w).
        count: 1..n.
    """
    share = torch.rand(count, 1, 1, 1, device=images.device)
    other = images[torch.randperm(len(images), device=images.device)[:count]]
    return share * images[:count] + (1 - share) * other
