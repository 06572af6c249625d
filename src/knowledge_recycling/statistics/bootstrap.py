"""The bootstrap of a mean: draws as weights of the records, some at a time."""

from __future__ import annotations

import numpy as np

from knowledge_recycling.arrays import Floats
from knowledge_recycling.statistics.estimate import ALPHA

_ENTRIES = 2_000_000
"""Numbers held at a time for each array of a bootstrap chunk: 16 MB."""


def draw_weights(rng: np.random.Generator, draws: int, units: int) -> Floats:
    """How often each unit is drawn in each bootstrap draw, (draws, units); rows sum to units."""
    picks = rng.integers(0, units, (draws, units)) + np.arange(draws)[:, None] * units
    return np.bincount(picks.ravel(), minlength=draws * units).reshape(draws, units).astype(float)


def chunks(draws: int, width: int) -> list[int]:
    """Splits draws into parts that hold about 16 MB at `width` numbers a draw."""
    step = max(1, min(draws, _ENTRIES // max(width, 1)))
    return [min(step, draws - start) for start in range(0, draws, step)]


def ends(draws: Floats) -> tuple[float, float]:
    """The two percentiles that hold 95% of the draws."""
    low, high = np.quantile(draws, [ALPHA / 2, 1 - ALPHA / 2])
    return float(low), float(high)
