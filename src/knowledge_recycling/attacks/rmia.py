"""Robust membership inference (RMIA): Zarifzadeh et al., arXiv:2312.03262.

r(x) = p(x | target) / p(x), and the score is the share of population records z with
r(x) / r(z) > gamma. The population is all records of the audit, so no knowledge of the target's
membership enters, and the score places each target's records on one scale.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from knowledge_recycling.arrays import Floats
from knowledge_recycling.attacks.leave_pair_out import as_signals, leave_pair_out
from knowledge_recycling.attacks.logit_margin import probability
from knowledge_recycling.errors import KRError
from knowledge_recycling.membership.members import Membership

_TINY = 1e-300


def online(
    signals: ArrayLike,
    membership: Membership,
    *,
    gamma: float = 1.0,
) -> Floats:
    """RMIA with p(x) = (mean p_in + mean p_out) / 2.

    Args:
        signals: (K, N), phi of record n under pipeline k; p = 1 / (1 + exp(-phi)).
        membership: which records trained which pipeline.
        gamma: above 0; 1 ranks all records, more looks at the top only (the paper uses 1 to 2).

    Returns:
        (K, N) scores in [0, 1) of each pipeline as the target, higher means member. A record
        without an IN or OUT shadow has the median r.

    Raises:
        KRError: shapes or values that do not fit.
    """
    phi, member = as_signals(signals, membership), membership.mask
    p = np.maximum(probability(phi), _TINY)
    inside, outside = _mean(p, member, membership), _mean(p, ~member, membership)
    return _dominated(p / ((inside + outside) / 2), gamma)


def offline(
    signals: ArrayLike,
    membership: Membership,
    *,
    gamma: float = 1.0,
    a: float = 0.3,
) -> Floats:
    """RMIA with p(x) = ((1 + a) mean p_out + (1 - a)) / 2: OUT shadows alone.

    Args:
        signals: as in `online`.
        membership: as in `online`.
        gamma: as in `online`.
        a: in [0, 1], how close mean p_in is to mean p_out; 1: the same.

    Returns:
        As `online`.

    Raises:
        KRError: shapes or values that do not fit.
    """
    if not 0 <= a <= 1:
        raise KRError(f"a: {a} is not between 0 and 1")
    phi = as_signals(signals, membership)
    p = np.maximum(probability(phi), _TINY)
    outside = _mean(p, ~membership.mask, membership)
    return _dominated(p / (((1 + a) * outside + 1 - a) / 2), gamma)


def _mean(p: Floats, chosen: NDArray[np.bool_], membership: Membership) -> Floats:
    """Mean over the chosen shadows of each target; NaN where there is none; (K, N)."""
    count = leave_pair_out(chosen.astype(np.float64), membership)
    total = leave_pair_out(np.where(chosen, p, 0.0), membership)
    mean = np.maximum(total / np.maximum(count, 1.0), _TINY)
    return np.where(count > 0, mean, np.nan)


def _dominated(ratio: Floats, gamma: float) -> Floats:
    """Share of each row's r(z) that are below r(x) / gamma: looked up, never n x m."""
    if not gamma > 0:
        raise KRError(f"gamma: {gamma} is not above 0")
    # Undecided, not r = 1: offline, most r lie below 1, and a record would stand out by its lack.
    median = np.nanmedian(ratio, axis=1, keepdims=True) if np.isnan(ratio).any() else ratio
    ratio = np.where(np.isnan(ratio), np.nan_to_num(median, nan=1.0), ratio)
    rows = [np.searchsorted(np.sort(row), row / gamma, side="left") for row in ratio]
    return np.stack(rows) / ratio.shape[1]
