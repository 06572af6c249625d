"""Bootstrap over weighted counts: the machinery under the estimates.

Members and non-members are counted in the ordered distinct scores ("bins"). A bootstrap draw
only changes the counts, so one sort serves the point estimate and every draw.
"""

from __future__ import annotations

import numpy as np

from knowledge_recycling.statistics.estimate import ALPHA, LEAST_UNITS, Estimate, Floats

_ENTRIES = 2_000_000
"""Numbers held at a time for each array of a bootstrap chunk: 16 MB."""


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
    for `units` independent trials stands in. Fewer than `LEAST_UNITS` say nothing.
    """
    if units < LEAST_UNITS:
        return Estimate(value, 0.0, 1.0)
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
