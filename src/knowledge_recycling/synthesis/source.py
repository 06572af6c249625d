"""Draws synthetic images from the Generator; the Teacher labels them softly and may refuse some."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from knowledge_recycling.classifiers.inference import logits_of
from knowledge_recycling.generators.interface import Generator
from knowledge_recycling.synthesis.parameters import Parameters
from knowledge_recycling.training.pixels import to_bytes
from knowledge_recycling.training.runtime import Runtime
from knowledge_recycling.training.seeds import derive

CHUNK = 512
FILTER_ROUNDS = 4
"""A sample that the Teacher refuses is drawn again at most this often, less one."""


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
        return self.draw_classes(self.classes(count, seed), derive(seed, "images"))

    def draw_classes(self, classes: Tensor, seed: int) -> SyntheticSet:
        """Draws and labels an image for each of the classes (n,)."""
        images, acceptance = self.images(classes, seed)
        logits = logits_of(self.teacher, images, self.runtime)
        targets = (logits / self.parameters.temperature).softmax(1)
        return SyntheticSet(images, classes.to(images.device), targets, acceptance)

    def classes(self, count: int, seed: int) -> Tensor:
        """Draws `count` classes from the prior."""
        frequency = torch.tensor(self.class_counts, dtype=torch.float64)
        if self.parameters.prior == "balanced":
            frequency = torch.ones_like(frequency)
        with self._seeded(seed):
            return torch.multinomial(frequency, count, replacement=True).to(self.runtime.device)

    def images(self, classes: Tensor, seed: int) -> tuple[Tensor, float]:
        """Draws an image (c, h, w) uint8 for each of the classes (n,).

        Returns:
            The images, and the share of all samples drawn that passed the filter.
        """
        classes = classes.to(self.runtime.device)
        with self._seeded(seed):
            chunks = [self._sample(chunk) for chunk in classes.split(CHUNK)]
        images, drawn, kept = (list(column) for column in zip(*chunks, strict=True))
        return torch.cat(images), sum(kept) / sum(drawn)

    @contextlib.contextmanager
    def _seeded(self, seed: int) -> Iterator[None]:
        device = self.runtime.device
        with torch.random.fork_rng([device] if device.type == "cuda" else []):
            torch.manual_seed(seed)
            yield

    def _sample(self, classes: Tensor) -> tuple[Tensor, int, int]:
        """One chunk: images, number drawn, number that passed the filter.

        GaFi's dynamic sample filtering: refused samples are drawn again. A class that the Teacher
        hardly ever recognises must not vanish, so each place keeps its best sample in the end.
        """
        images = self._decode(classes)
        drawn = len(classes)
        threshold = self.parameters.filter_threshold
        if not threshold:
            return images, drawn, drawn
        confidence = self._confidence(images, classes)
        for _ in range(FILTER_ROUNDS - 1):
            refused = (confidence < threshold).nonzero()[:, 0]
            if not len(refused):
                break
            new_images = self._decode(classes[refused])
            new_confidence = self._confidence(new_images, classes[refused])
            drawn += len(refused)
            better = new_confidence > confidence[refused]
            place = refused[better]
            images[place], confidence[place] = new_images[better], new_confidence[better]
        return images, drawn, int((confidence >= threshold).sum())

    @torch.no_grad()
    def _decode(self, classes: Tensor) -> Tensor:
        n = len(classes)
        z = torch.randn(n, self.generator.latent_dim, device=self.runtime.device)
        z = _padded(z * self.parameters.latent_std)
        with self.runtime.autocast():
            return to_bytes(self.generator(z, _padded(classes)))[:n]

    def _confidence(self, images: Tensor, classes: Tensor) -> Tensor:
        logits = logits_of(self.teacher, _padded(images), self.runtime)[: len(images)]
        return logits.softmax(1).gather(1, classes[:, None])[:, 0]


def _padded(x: Tensor) -> Tensor:
    """Fills up to a power of two with zeros along the first axis.

    The filter leaves a different number each time, and kernels are made anew for each batch size
    that a device has not seen: a few sizes serve all.
    """
    n = len(x)
    return F.pad(x, (0, 0) * (x.ndim - 1) + (0, (1 << (n - 1).bit_length()) - n))
