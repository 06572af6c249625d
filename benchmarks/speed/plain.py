"""A training as people write it with PyTorch alone; what the package's loop is measured against."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader

from benchmarks.speed.work import LEARNING_RATE, SHIFT, SIZE, WEIGHT_DECAY


def shifted(images: Tensor) -> Tensor:
    """Each image (n, c, h, w) moved by up to `SHIFT` pixels."""
    padded = F.pad(images, (SHIFT,) * 4, mode="replicate")
    moved = []
    for image in padded:
        y, x = torch.randint(0, 2 * SHIFT + 1, (2,)).tolist()
        moved.append(image[:, y : y + SIZE, x : x + SIZE])
    return torch.stack(moved)


def train(
    model: nn.Module,
    dataloader: DataLoader[tuple[Tensor, ...]],
    epochs: int,
    steps: int | None = None,
    augmented: bool = True,
) -> None:
    """Trains in place for some epochs, or until so many steps are taken."""
    optimiser = torch.optim.AdamW(model.parameters(), lr=LEARNING_RATE, weight_decay=WEIGHT_DECAY)
    model.train()
    done = 0
    for _ in range(epochs):
        total = 0.0
        for images, labels in dataloader:
            optimiser.zero_grad()
            loss = F.cross_entropy(model(shifted(images) if augmented else images), labels)
            loss.backward()
            optimiser.step()
            total += loss.item()
            done += 1
            if done == steps:
                return
