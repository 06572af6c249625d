"""Bootstrap over weighted counts: the machinery under the estimates.

Members and non-members are counted in the ordered distinct scores ("bins"). A bootstrap draw
only changes the counts, so one sort serves the point estimate and every draw.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from knowledge_recycling.errors import KRError

Floats = NDArray[np.float64]
ALPHA = 0.05
"""Every interval here has level 1 - ALPHA."""
_ENTRIES = 2_000_000
"""Numbers held at a time for each array of a bootstrap chunk: 16 MB."""


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


def auc_of_counts(members: Floats, nonmembers: Floats) -> Floats:
    """AUC of each row of weighted counts (D, B) over B bins of rising score; (D,)."""
    below = np.cumsum(nonmembers, axis=1) - 0.5 * nonmembers
    pairs = np.einsum("db,db->d", members, below)
    return np.asarray(pairs / (members.sum(axis=1) * nonmembers.sum(axis=1)))


def tpr_of_counts(members: Floats, nonmembers: Floats, fpr: float) -> Floats:
    """TPR at `fpr` of each row of weighted counts (D, B) over B bins of rising score; (D,)."""
    positives, false = tail(members), tail(nonmembers)
    # 0.29 * 100 is 28.999...: the slack keeps a whole number of false positives whole.
    allowed = fpr * false[:, :1] * (1 + 1e-12)
    threshold = (false > allowed).sum(axis=1)
    return np.asarray(positives[np.arange(len(positives)), threshold] / positives[:, 0])


def tail(counts: Floats) -> Floats:
    """Counts at or above each bin, (D, B + 1); the last column, above all bins, is 0."""
    return np.pad(np.cumsum(counts[:, ::-1], axis=1)[:, ::-1], ((0, 0), (0, 1)))


def as_scores(values: ArrayLike, name: str) -> Floats:
    """Checks and converts to a one-dimensional float64 array that is not empty and has no NaN."""
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 1 or array.size == 0:
        raise KRError(f"{name}: expected a list of numbers, got an array of shape {array.shape}")
    if np.isnan(array).any():
        raise KRError(f"{name}: {int(np.isnan(array).sum())} of {array.size} values are NaN")
    return array


def group_codes(groups: ArrayLike | None, size: int, name: str) -> NDArray[np.intp]:
    """Numbers the groups of `size` records 0, 1, ...; without groups each record is its own."""
    if groups is None:
        return np.arange(size)
    array = np.asarray(groups)
    if array.shape != (size,):
        raise KRError(f"{name}: expected {size} groups, one a score, got shape {array.shape}")
    return np.unique(array, return_inverse=True)[1]


def draw_weights(rng: np.random.Generator, draws: int, units: int) -> Floats:
    """How often each unit is drawn in each bootstrap draw, (draws, units); rows sum to units."""
    picks = rng.integers(0, units, (draws, units)) + np.arange(draws)[:, None] * units
    return np.bincount(picks.ravel(), minlength=draws * units).reshape(draws, units).astype(float)


def chunks(draws: int, width: int) -> list[int]:
    """Splits draws into parts that hold about 16 MB at `width` numbers a draw."""
    step = max(1, min(draws, _ENTRIES // max(width, 1)))
    return [min(step, draws - start) for start in range(0, draws, step)]


def to_estimate(value: float, draws: Floats, units: int) -> Estimate:
    """Percentile interval of a rate.

    All draws of a rate of 0 or 1 agree, which is not certainty: there, the exact binomial end
    for `units` independent trials stands in.
    """
    low, high = ends(draws)
    edge = (ALPHA / 2) ** (1 / units)
    if value >= 1.0:
        low = min(low, edge)
    if value <= 0.0:
        high = max(high, 1 - edge)
    return Estimate(value, min(low, value), max(high, value))


def ends(draws: Floats) -> tuple[float, float]:
    """The two percentiles that hold 95% of the draws."""
    low, high = np.quantile(draws, [ALPHA / 2, 1 - ALPHA / 2])
    return float(low), float(high)
