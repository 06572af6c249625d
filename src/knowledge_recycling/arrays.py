"""Types of arrays that many modules name."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]


class Stored(Protocol):
    """Images (n, h, w, c) uint8: an array, or what hands out arrays of those asked for."""

    @property
    def shape(self) -> tuple[int, ...]:
        """(n, h, w, c)."""

    @property
    def ndim(self) -> int:
        """4."""

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of uint8."""

    def __len__(self) -> int:
        """How many, n."""

    def __getitem__(self, which: Any) -> np.ndarray:
        """Image (h, w, c) of a number; (k, h, w, c) of a slice, of numbers (k,), of (n,) bool."""
