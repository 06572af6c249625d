"""200 steps of the Teacher: this package's loop beside a plain one and the machine's peak rate."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import torch
from torch import Tensor
from torch.utils.data import DataLoader, TensorDataset
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.speed import plain
from benchmarks.speed.clock import main, measured
from benchmarks.speed.turns import Cases, Program
from benchmarks.speed.work import (
    BATCH,
    LEARNING_RATE,
    SHIFT,
    SIZE,
    WEIGHT_DECAY,
    network,
    pictures,
)
from knowledge_recycling.classifiers.augmentation import augment
from knowledge_recycling.config import Classifier
from knowledge_recycling.training import precision, progress
from knowledge_recycling.training.batching import Shuffled
from knowledge_recycling.training.loop import Recipe, fit
from knowledge_recycling.training.pixels import to_float
from knowledge_recycling.training.runtime import Runtime
from knowledge_recycling.training.seeds import derive

STEPS, IMAGES = 200, 4096
SIDE, PRODUCTS = 1024, 30
CPU = torch.device("cpu")
TRAINING, PRODUCT = f"{STEPS} steps of the Teacher", f"{PRODUCTS} matrix products"


def cases(folder: Path, python: str | None) -> Cases:
    """Both trainings, and the products in both precisions."""
    del folder, python
    return {
        TRAINING: {
            "this package": _program("ours", STEPS),
            "plain PyTorch": _program("plain", STEPS),
        },
        PRODUCT: {kind: _program(kind, PRODUCTS) for kind in ("float32", "bfloat16")},
    }


def _program(name: str, count: int) -> Program:
    return Program(("-m", "benchmarks.speed.teacher", name, str(count)))


def runtime() -> Runtime:
    """At the precision that a run would take here."""
    progress.console.quiet = True
    return Runtime(CPU, precision.decide(CPU)["precision"])


def train(images: Tensor, labels: Tensor, recipe: Recipe, where: Runtime, seed: int) -> None:
    """Trains a Teacher on images (n, c, h, w) uint8 as its stage does, without looks or files."""
    torch.manual_seed(derive(seed, "teacher", "weights"))
    order = Shuffled(len(labels), BATCH, lambda epoch: derive(seed, "order", epoch), where.device)
    section = Classifier(shift=SHIFT)

    def batches(step: int) -> tuple[Tensor, Tensor]:
        index = order(step)
        return to_float(augment(images[index], section)), labels[index]

    fit(where.place(network()), batches, recipe, where, seed=(seed, "teacher"), label="Teacher")


def ours(steps: int) -> None:
    """This package's loop."""
    where, (images, labels) = runtime(), pictures(IMAGES)
    given = where.images(images), torch.from_numpy(labels)
    recipe = Recipe(steps, LEARNING_RATE, WEIGHT_DECAY)
    flops = steps * flops_of_a_step()
    measured(lambda: train(*given, recipe, where, 0), flops=flops, precision=where.precision)


def plainly(steps: int) -> None:
    """A DataLoader over tensors, float32, the memory's order as it comes."""
    images, labels = pictures(IMAGES)
    pixels = torch.from_numpy(images).permute(0, 3, 1, 2).contiguous()
    dataset = TensorDataset(to_float(pixels), torch.from_numpy(labels))
    flops = steps * flops_of_a_step()

    def work() -> None:
        torch.manual_seed(0)
        loader = DataLoader(dataset, batch_size=BATCH, shuffle=True, drop_last=True)
        plain.train(network(), loader, epochs=steps, steps=steps)

    measured(work, flops=flops, precision="fp32")


def flops_of_a_step() -> int:
    """Of the network, forward and backward: multiplications and additions of its products."""
    with FlopCounterMode(display=False) as counter:
        network()(torch.zeros(BATCH, 1, SIZE, SIZE)).sum().backward()
    return counter.get_total_flops()


def product(dtype: torch.dtype, count: int) -> None:
    """Square matrix products."""
    a, b = (torch.full((SIDE, SIDE), 0.5, dtype=dtype) for _ in range(2))
    a @ b  # kernels are made at the first call

    def work() -> None:
        for _ in range(count):
            a @ b

    measured(work, flops=count * 2 * SIDE**3)


if __name__ == "__main__":
    main(
        {
            "ours": ours,
            "plain": plainly,
            "float32": partial(product, torch.float32),
            "bfloat16": partial(product, torch.bfloat16),
        }
    )
