"""Images that training looks up where they lie, instead of holding all of them in memory."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from knowledge_recycling.arrays import Stored

CHUNK = 512


class Lookup:
    """Stored images as a tensor (n, c, h, w) uint8 on the CPU would show them, channels last."""

    def __init__(self, stored: Stored) -> None:
        self._stored = stored

    @property
    def shape(self) -> tuple[int, ...]:
        """(n, c, h, w)."""
        n, height, width, channels = self._stored.shape
        return n, channels, height, width

    def __len__(self) -> int:
        return len(self._stored)

    def __getitem__(self, index: Tensor | slice) -> Tensor:
        """Images (k, c, h, w) of a slice, of numbers (k,) or of (n,) bool."""
        found = self._stored[index if isinstance(index, slice) else index.numpy()]
        return torch.from_numpy(found).permute(0, 3, 1, 2)

    def split(self, size: int) -> Iterator[Tensor]:
        """All images in order, `size` at a time."""
        return (self[start : start + size] for start in range(0, max(len(self), 1), size))

    def to(self, device: torch.device) -> Tensor:
        """All of them on a device, without a second copy in memory."""
        n, channels, height, width = self.shape
        whole = torch.empty((n, height, width, channels), dtype=torch.uint8, device=device)
        placed = whole.permute(0, 3, 1, 2)
        for start, chunk in enumerate(self.split(CHUNK)):
            placed[start * CHUNK : (start + 1) * CHUNK] = chunk
        return placed


Images = Tensor | Lookup
"""(n, c, h, w) uint8, indexed by numbers (k,), (n,) bool or a slice."""
