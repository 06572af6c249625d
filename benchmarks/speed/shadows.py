"""Four shadow Teachers: this package's workers, one batched training, and two peers."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.func import functional_call, stack_module_state, vmap
from torch.nn import functional as F

from benchmarks.speed import peers
from benchmarks.speed.clock import main, measured
from benchmarks.speed.teacher import runtime, train
from benchmarks.speed.turns import Cases, Program
from benchmarks.speed.work import (
    BATCH,
    EPOCHS,
    LEARNING_RATE,
    RECORDS,
    SHADOWS,
    SHIFT,
    WEIGHT_DECAY,
    halves,
    network,
    pictures,
)
from knowledge_recycling.classifiers.augmentation import augment
from knowledge_recycling.config import Classifier
from knowledge_recycling.training import progress
from knowledge_recycling.training.batching import Shuffled
from knowledge_recycling.training.loop import Recipe, learning_rate
from knowledge_recycling.training.pixels import to_float
from knowledge_recycling.training.runtime import Runtime
from knowledge_recycling.training.seeds import derive
from knowledge_recycling.workers import Processes

CASE = f"{SHADOWS} shadow Teachers, {RECORDS:,} images each, {EPOCHS} epochs"
OURS = "this package, 2 workers of one thread"
VERSIONS = {
    OURS: ("workers", None),
    "this package, one after the other, one thread": ("alone", 1),
    "one batched training (vmap), one thread": ("batched", 1),
    "one batched training (vmap), two threads": ("batched", 2),
}
PEERS = {
    "Adversarial Robustness Toolbox, its own threads": ("art", None),
    "Adversarial Robustness Toolbox, one thread": ("art", 1),
    "SACRO-ML, its own threads": ("sacroml", None),
    "SACRO-ML, one thread": ("sacroml", 1),
}

Shared = tuple[np.ndarray, np.ndarray, Recipe, Runtime]


def cases(folder: Path, python: str | None) -> Cases:
    """Ours, batched, and the peers that are installed for an interpreter."""
    del folder
    ours = {
        version: Program(("-m", "benchmarks.speed.shadows", name, str(RECORDS)), threads=threads)
        for version, (name, threads) in VERSIONS.items()
    }
    return {CASE: ours | peers.programs(PEERS, RECORDS, python)}


def one(shared: Shared, half: np.ndarray, threads: int) -> None:
    """Trains one shadow; what a worker does."""
    images, labels, recipe, where = shared
    progress.console.quiet = True
    torch.set_num_threads(threads)
    given = where.images(images[half]), torch.from_numpy(labels[half])
    train(*given, recipe, where, seed=int(half[0]))


def by_workers(workers: int, records: int) -> None:
    """The shadows through the package's engine of processes, each of one thread."""
    where = runtime()
    shared = *pictures(2 * records), recipe_of(records), where
    tasks = halves(records)
    measured(
        lambda: list(Processes(workers).map(one, shared, tasks, threads=workers)),
        precision=where.precision,
    )


def recipe_of(records: int) -> Recipe:
    """Steps of the epochs, an incomplete batch left out."""
    return Recipe(EPOCHS * max(1, records // BATCH), LEARNING_RATE, WEIGHT_DECAY)


def batched(records: int) -> None:
    """One training of all shadows at once."""
    where, (images, labels) = runtime(), pictures(2 * records)
    given = where.images(images), torch.from_numpy(labels)
    training = Stacked(recipe_of(records), where)
    chosen = torch.from_numpy(np.stack(halves(records)))
    orders = [order_of(k, records) for k in range(SHADOWS)]

    def work() -> None:
        for step in range(training.recipe.steps):
            index = torch.stack([chosen[k, orders[k](step)] for k in range(SHADOWS)])
            training.step(step, *(tensor[index] for tensor in given))

    measured(work, precision=where.precision)


def order_of(k: int, records: int) -> Shuffled:
    """The batches of shadow k."""
    return Shuffled(records, BATCH, lambda epoch: derive(k, "order", epoch), torch.device("cpu"))


class Stacked:
    """Networks of one shape as one, by `torch.func.stack_module_state` and `vmap`.

    The running statistics of batch norm are stacked too: each network updates its own.
    """

    def __init__(self, recipe: Recipe, where: Runtime, count: int = SHADOWS) -> None:
        self.recipe, self.where, self.section = recipe, where, Classifier(shift=SHIFT)
        networks = []
        for k in range(count):
            torch.manual_seed(k)
            networks.append(network())
        self.weights, self.buffers = stack_module_state(networks)
        self.skeleton = network().to("meta").train()
        decayed = [p for p in self.weights.values() if p.ndim > 2]
        others = [p for p in self.weights.values() if p.ndim <= 2]
        groups = [
            {"params": decayed, "weight_decay": recipe.weight_decay},
            {"params": others, "weight_decay": 0.0},
        ]
        self.optimiser = torch.optim.AdamW(
            groups, lr=recipe.learning_rate, betas=(0.9, 0.99), fused=True
        )

    def step(self, step: int, images: Tensor, labels: Tensor) -> None:
        """One update of all networks; images (K, n, c, h, w) uint8, labels (K, n)."""
        moved = augment(images.flatten(0, 1), self.section).unflatten(0, images.shape[:2])
        self.update(step, to_float(moved), labels)

    def update(self, step: int, x: Tensor, labels: Tensor) -> None:
        """One update on images in -1..1."""
        with self.where.autocast():
            logits = vmap(self._call)(self.weights, self.buffers, x)
        # The sum over networks: each has the gradient of its own mean loss.
        loss = F.cross_entropy(logits.float().flatten(0, 1), labels.flatten()) * len(x)
        for group in self.optimiser.param_groups:
            group["lr"] = learning_rate(self.recipe, step)
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        self.optimiser.step()

    def _call(self, weights: dict[str, Tensor], buffers: dict[str, Tensor], x: Tensor) -> Tensor:
        logits: Tensor = functional_call(self.skeleton, (weights, buffers), (x,))
        return logits


if __name__ == "__main__":
    main({"workers": partial(by_workers, 2), "alone": partial(by_workers, 1), "batched": batched})
