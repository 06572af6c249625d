"""Exact binomial intervals, and what an audit of a given size could have found."""

from __future__ import annotations

import math
from bisect import bisect_left
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import bdtrc, betainccinv, betaincinv

from knowledge_recycling.errors import KRError
from knowledge_recycling.statistics.estimate import ALPHA, Estimate, as_scores, group_codes


@dataclass(frozen=True)
class Power:
    """The smallest TPR that an audit finds; `tpr` is None where not even 1 would be found."""

    tpr: float | None
    fpr: float
    power: float
    text: str


def clopper_pearson(successes: float, trials: float, alpha: float = ALPHA) -> Estimate:
    """The exact binomial interval, alpha / 2 at each end.

    Args:
        successes: from 0 to `trials`; a fraction is allowed, for an effective sample size.
        trials: above 0.
        alpha: one minus the level.

    Raises:
        KRError: counts that cannot be.

    Example:
        >>> estimate = clopper_pearson(0, 10)
        >>> estimate.low, round(estimate.high, 4)
        (0.0, 0.3085)
    """
    if not 0 <= successes <= trials or trials <= 0:
        raise KRError(
            f"{successes} successes in {trials} trials: expected 0 <= successes <= trials"
        )
    failures = trials - successes
    # Quantiles of the beta distribution.
    low = betaincinv(successes, failures + 1, alpha / 2) if successes > 0 else 0.0
    high = betainccinv(successes + 1, failures, alpha / 2) if failures > 0 else 1.0
    return Estimate(float(successes / trials), float(low), float(high))


def proportion(hits: ArrayLike, groups: ArrayLike | None = None) -> Estimate:
    """A share with its exact interval; with groups, at the effective number of trials.

    Of grouped trials (several images per patient) that is the number of independent ones that
    would leave the clustered variance (Korn and Graubard 1998); the number of groups where all or
    none are hits.

    Args:
        hits: (n,), 0 or 1 each.
        groups: (n,), the group of each; None: each is its own.

    Example:
        >>> estimate = proportion([1, 1])
        >>> estimate.value, round(estimate.low, 3), estimate.high
        (1.0, 0.158, 1.0)
    """
    values = as_scores(hits, "hits")
    if groups is None:
        return clopper_pearson(values.sum(), values.size)
    rate = float(values.mean())
    parts = np.bincount(group_codes(groups, values.size, "groups"), values - rate)
    variance = (parts**2).sum() / values.size**2 * parts.size / max(parts.size - 1, 1)
    trials = float(parts.size)
    if 0 < rate < 1 and variance > 0:
        trials = min(float(values.size), rate * (1 - rate) / variance)
    interval = clopper_pearson(rate * trials, trials)
    return Estimate(rate, interval.low, interval.high)


def power_statement(n_members: int, n_nonmembers: int, fpr: float) -> Power:
    """The smallest TPR at `fpr` that an audit of this size finds with 80% power.

    Found means: at a threshold with `fpr` of the non-members above it, the lower end of the TPR's
    Clopper-Pearson interval is above the upper end of the FPR's. The trials count as
    independent, so give numbers of records (or patients), not of records times pipelines.

    Args:
        n_members: member trials.
        n_nonmembers: non-member trials.
        fpr: false-positive rate in (0, 1).

    Returns:
        The rate, and a sentence that says it.

    Raises:
        KRError: no trials, or `fpr` outside (0, 1).
    """
    if n_members < 1 or n_nonmembers < 1 or not 0 < fpr < 1:
        raise KRError("power: expected at least one trial a side and an FPR between 0 and 1")
    power = 0.8
    highest = clopper_pearson(math.floor(fpr * n_nonmembers + 1e-9), n_nonmembers).high
    # The lower end for k hits is above `highest` when P(Binomial(n, highest) >= k) < alpha / 2.
    needed = 1 + bisect_left(
        range(n_members), True, key=lambda k: bdtrc(k, n_members, highest) <= ALPHA / 2
    )
    size = f"{n_members} members and {n_nonmembers} non-members"
    if needed > n_members:
        text = f"With {size}, no attack could have been found at {fpr:.1%} FPR."
        return Power(None, fpr, power, text)
    tpr = float(betaincinv(needed, n_members - needed + 1, power))
    text = (
        f"With {size}, an attack with a TPR of {tpr:.1%} at {fpr:.1%} FPR would have been found "
        f"with {power:.0%} power; a weaker one may have been missed."
    )
    return Power(tpr, fpr, power, text)
