"""Which images make up the batch of a step."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor


class Shuffled:
    """Batches without replacement, a new order every epoch; a pure function of the step.

    The last, incomplete batch of an epoch is left out; a set smaller than a batch is one batch.

    Args:
        n: size of the set.
        batch_size: wanted size of a batch.
        seed: makes a seed from an epoch's number.
        device: where the indices are wanted.
    """

    def __init__(
        self, n: int, batch_size: int, seed: Callable[[int], int], device: torch.device
    ) -> None:
        self.n, self.batch_size, self.seed, self.device = n, batch_size, seed, device
        self.epoch_steps = max(1, n // batch_size)
        self._epoch = -1
        self._order = torch.empty(0, dtype=torch.int64)

    def epoch(self, step: int) -> int:
        """Number of the epoch that a step lies in."""
        return step // self.epoch_steps

    def __call__(self, step: int) -> Tensor:
        """Indices (batch,) of one step."""
        if self.epoch(step) != self._epoch:
            self._epoch = self.epoch(step)
            generator = torch.Generator().manual_seed(self.seed(self._epoch))
            self._order = torch.randperm(self.n, generator=generator).to(self.device)
        start = step % self.epoch_steps * self.batch_size
        return self._order[start : start + self.batch_size]
