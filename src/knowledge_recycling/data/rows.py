"""Images that stay where they lie, in memory or in a mapped file, until some are asked for."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from knowledge_recycling.arrays import Stored

BLOCK = 32
"""Images at a time where all are looked at."""


class Rows:
    """Some rows of one or several arrays; what is handed out is copied.

    Args:
        parts: arrays (n_i, h, w, c) uint8, one after the other.
        places: (n,) which rows of all parts together; None: all of them.

    Example:
        >>> rows = Rows([np.zeros((2, 8, 8, 1), np.uint8), np.ones((1, 8, 8, 1), np.uint8)])
        >>> rows.shape, rows[[2, 0]].max(axis=(1, 2, 3)).tolist()
        ((3, 8, 8, 1), [1, 0])
    """

    dtype: np.dtype[Any] = np.dtype(np.uint8)
    ndim = 4

    def __init__(self, parts: Sequence[np.ndarray], places: np.ndarray | None = None) -> None:
        self._parts = tuple(parts)
        self._places = np.arange(sum(map(len, parts))) if places is None else places

    @classmethod
    def of(cls, images: Stored, places: np.ndarray) -> Rows:
        """Some rows of an array, or of rows."""
        if isinstance(images, Rows):
            return cls(images._parts, images._places[places])
        return cls([np.asarray(images)], places)

    @property
    def shape(self) -> tuple[int, ...]:
        """(n, h, w, c)."""
        return len(self), *self._parts[0].shape[1:]

    def __len__(self) -> int:
        return len(self._places)

    def __getitem__(self, which: Any) -> np.ndarray:
        """Row (h, w, c) of a number; (k, h, w, c) of a slice, of numbers (k,), of (n,) bool."""
        places = self._places[which]
        if len(self._parts) == 1:
            return np.array(self._parts[0][places])
        wanted = np.atleast_1d(places)
        found = np.empty((len(wanted), *self.shape[1:]), np.uint8)
        start = 0
        for part in self._parts:
            here = (start <= wanted) & (wanted < start + len(part))
            found[here] = part[wanted[here] - start]
            start += len(part)
        return found if np.ndim(places) else found[0]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.asarray(self[:], dtype)


def blocks(images: Stored) -> Iterator[np.ndarray]:
    """All images in order, `BLOCK` at a time."""
    for start in range(0, len(images), BLOCK):
        yield images[start : start + BLOCK]
