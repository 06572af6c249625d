"""Draws synthetic images from the Generator and labels them softly by the Teacher."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from knowledge_recycling.batching import Shuffled
from knowledge_recycling.classifiers.augmentation import augment
from knowledge_recycling.classifiers.inference import logits_of
from knowledge_recycling.config import Classifier
from knowledge_recycling.generators.interface import Generator
from knowledge_recycling.runtime import Runtime, derive, to_bytes, to_float

CHUNK = 512
FILTER_ROUNDS = 4
"""A sample that the Teacher refuses is drawn again at most this often, less one."""


@dataclass(frozen=True)
class Parameters:
    """The parameters of synthesis that Generator Tuning searches; these are the un-tuned ones."""

    latent_std: float = 1.0
    """s of z ~ N(0, s^2 I): GaFi's expansion trick above 1, truncation below."""
    prior: Literal["real", "balanced"] = "real"
    """Class frequencies of the synthetic set."""
    temperature: float = 2.0
    """Of the Teacher's softmax in the soft labels; above 1 they say more of unlikely classes."""
    filter_threshold: float = 0.0
    """Least Teacher probability of the wanted class that keeps a sample; 0 keeps all."""


@dataclass(frozen=True)
class SyntheticSet:
    """A synthetic set on the device."""

    images: Tensor
    """(n, c, h, w) uint8: what the Student sees is what could be released."""
    classes: Tensor
    """(n,) the class that the Generator was asked for."""
    targets: Tensor
    """(n, C) the Teacher's softmax at the temperature."""
    acceptance: float
    """Share of all samples drawn that passed the filter."""


@dataclass(frozen=True)
class Source:
    """A source of labelled synthetic images: Generator, Teacher, parameters.

    Args:
        generator: G(z, y), on the device, in eval mode.
        teacher: T, on the device, in eval mode.
        parameters: of synthesis.
        class_counts: images of each class in D_train, for the `real` prior and the set's size.
        runtime: device and precision.
    """

    generator: Generator
    teacher: nn.Module
    parameters: Parameters
    class_counts: tuple[int, ...]
    runtime: Runtime

    def draw(self, count: int, seed: int) -> SyntheticSet:
        """Draws and labels `count` images; the same seed draws the same set.

        The caller's random state is left as it was, so that it does not matter to a resumed
        training when the set was drawn.
        """
        with self._seeded(seed):
            classes = self._classes(count)
        return self.draw_classes(classes, derive(seed, "images"))

    def draw_classes(self, classes: Tensor, seed: int) -> SyntheticSet:
        """Draws and labels an image for each of the classes (n,)."""
        classes = classes.to(self.runtime.device)
        with self._seeded(seed):
            chunks = [self._sample(chunk) for chunk in classes.split(CHUNK)]
        images, logits, drawn, kept = (list(column) for column in zip(*chunks, strict=True))
        targets = self._soften(torch.cat(logits))
        return SyntheticSet(torch.cat(images), classes, targets, sum(kept) / sum(drawn))

    @contextlib.contextmanager
    def _seeded(self, seed: int) -> Iterator[None]:
        device = self.runtime.device
        with torch.random.fork_rng([device] if device.type == "cuda" else []):
            torch.manual_seed(seed)
            yield

    def _classes(self, count: int) -> Tensor:
        frequency = torch.tensor(self.class_counts, dtype=torch.float64)
        if self.parameters.prior == "balanced":
            frequency = torch.ones_like(frequency)
        return torch.multinomial(frequency, count, replacement=True)

    def _sample(self, classes: Tensor) -> tuple[Tensor, Tensor, int, int]:
        """One chunk: images, logits, number drawn, number that passed the filter.

        GaFi's dynamic sample filtering: refused samples are drawn again. A class that the Teacher
        hardly ever recognises must not vanish, so each place keeps its best sample in the end.
        """
        images, logits = self._decode(classes)
        confidence = self._confidence(logits, classes)
        drawn = len(classes)
        threshold = self.parameters.filter_threshold
        for _ in range(FILTER_ROUNDS - 1):
            refused = (confidence < threshold).nonzero()[:, 0]
            if not len(refused):
                break
            new_images, new_logits = self._decode(classes[refused])
            new_confidence = self._confidence(new_logits, classes[refused])
            drawn += len(refused)
            better = new_confidence > confidence[refused]
            place = refused[better]
            images[place], logits[place] = new_images[better], new_logits[better]
            confidence[place] = new_confidence[better]
        return images, logits, drawn, int((confidence >= threshold).sum())

    @torch.no_grad()
    def _decode(self, classes: Tensor) -> tuple[Tensor, Tensor]:
        n = len(classes)
        z = torch.randn(n, self.generator.latent_dim, device=self.runtime.device)
        # The filter leaves a different number each time, and kernels are made anew for each batch
        # size that a device has not seen: a few sizes serve all.
        padding = (1 << (n - 1).bit_length()) - n
        z = F.pad(z * self.parameters.latent_std, (0, 0, 0, padding))
        with self.runtime.autocast():
            images = to_bytes(self.generator(z, F.pad(classes, (0, padding))))
        return images[:n], logits_of(self.teacher, images, self.runtime)[:n]

    @torch.no_grad()
    def label(self, images: Tensor) -> Tensor:
        """The Teacher's softmax (n, C) at the temperature, of images (n, c, h, w) in -1..1."""
        with self.runtime.autocast():
            logits = self.teacher(images.contiguous(memory_format=torch.channels_last))
        return self._soften(logits.float())

    def _soften(self, logits: Tensor) -> Tensor:
        return (logits / self.parameters.temperature).softmax(1)

    def _confidence(self, logits: Tensor, classes: Tensor) -> Tensor:
        return logits.softmax(1).gather(1, classes[:, None])[:, 0]


class Stream:
    """Endless training batches for a Student or probe: step -> images, targets.

    An epoch is one pass over a synthetic set of `size_multiple` times |D_train| images. Every
    `period` epochs the set is drawn anew; period 0 keeps the first one.

    Args:
        source: what to draw from.
        classifier: batch size and augmentation.
        steps: how many batches will be asked for: no set is drawn larger than they need.
        seed: makes a seed from an epoch's number or a set's.
        labels: `soft`: the Teacher's; `hard`: the class asked for.
        period: regeneration period in epochs.
        size_multiple: of the set, relative to |D_train|.
        blended: under soft labels, share of each batch that are blends of two images.
    """

    def __init__(
        self,
        source: Source,
        classifier: Classifier,
        steps: int,
        seed: Callable[..., int],
        *,
        labels: str = "soft",
        period: int = 1,
        size_multiple: float = 1.0,
        blended: float = 0.0,
    ) -> None:
        self.source, self.classifier, self.seed = source, classifier, seed
        self.labels, self.period = labels, period
        self.blended = blended if labels == "soft" else 0.0
        self.temperature = source.parameters.temperature if labels == "soft" else 1.0
        wanted = round(sum(source.class_counts) * size_multiple)
        self.size = max(2, min(wanted, steps * classifier.batch_size))
        self.batch = Shuffled(
            self.size,
            classifier.batch_size,
            lambda epoch: seed("order", epoch),
            source.runtime.device,
        )
        self._number = -1
        self._set: SyntheticSet | None = None

    def __call__(self, step: int) -> tuple[Tensor, Tensor]:
        """Images (n, c, h, w) in -1..1 and targets (n, C) or (n,) of one step."""
        current = self._current(self.batch.epoch(step) // self.period if self.period else 0)
        chosen = self.batch(step)
        images = to_float(augment(current.images[chosen], self.classifier))
        targets = (current.targets if self.labels == "soft" else current.classes)[chosen]
        if count := round(self.blended * len(images)):
            blends = blend(images, count)
            soft = self.source.label(blends)
            return torch.cat([blends, images[count:]]), torch.cat([soft, targets[count:]])
        return images, targets

    def _current(self, number: int) -> SyntheticSet:
        if self._set is None or number != self._number:
            self._set = None  # frees the old set before the new one is drawn
            self._set = self.source.draw(self.size, self.seed("set", number))
            self._number = number
        return self._set

    def images_drawn(self, steps: int) -> int:
        """How many synthetic images `steps` batches take."""
        epochs = -(-steps // self.batch.epoch_steps)
        sets = -(-epochs // self.period) if self.period else 1
        return sets * self.size


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
