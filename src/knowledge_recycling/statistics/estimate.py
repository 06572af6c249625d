"""What every estimate is made of: scores, groups, and a value with its 95% interval."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from knowledge_recycling.arrays import Floats
from knowledge_recycling.errors import KRError

Indices = NDArray[np.intp]

ALPHA = 0.05
"""Every interval here has level 1 - ALPHA."""
LEAST_UNITS = 5
"""Records, or patients, of a side from which an interval is drawn from them. That of the AUC holds
the truth in 97.5% of nulls of five patients with ten records each (benchmarks/audit_limits.py);
under five, whose variance is hardly known, the interval is 0 to 1."""


@dataclass(frozen=True)
class Estimate:
    """A value and the two ends of its 95% interval.

    Example:
        >>> Estimate(0.5, 0.4, 0.6).as_dict()
        {'value': 0.5, 'low': 0.4, 'high': 0.6}
    """

    value: float
    low: float
    high: float

    def as_dict(self) -> dict[str, float]:
        """The three numbers under the names `value`, `low` and `high`."""
        return asdict(self)


def as_scores(values: ArrayLike, name: str) -> Floats:
    """Checks and converts to a one-dimensional float64 array that is not empty and has no NaN."""
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 1 or array.size == 0:
        raise KRError(f"{name}: expected a list of numbers, got an array of shape {array.shape}")
    if np.isnan(array).any():
        raise KRError(f"{name}: {int(np.isnan(array).sum())} of {array.size} values are NaN")
    return array


def group_codes(groups: ArrayLike | None, size: int, name: str) -> Indices:
    """Numbers the groups of `size` records 0, 1, ...; without groups each record is its own."""
    if groups is None:
        return np.arange(size)
    array = np.asarray(groups)
    if array.shape != (size,):
        raise KRError(f"{name}: expected {size} groups, one a score, got shape {array.shape}")
    unknown = _unknown(array)
    if unknown:
        raise KRError(
            f"{name}: {unknown} of {size} are NaN, None or empty; each record needs its patient"
        )
    return np.unique(array, return_inverse=True)[1]


def _unknown(groups: NDArray[Any]) -> int:
    """How many groups are no name, also where NumPy turned NaN or None into text."""
    if groups.dtype.kind in "biu":
        return 0
    if groups.dtype.kind == "f":
        return int(np.isnan(groups).sum())
    names = np.char.lower(np.char.strip(groups.astype(str)))
    return int(np.isin(names, ("", "nan", "none", "nat", "<na>")).sum())
