"""Exact binomial intervals and the lower bounds on epsilon that rest on them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import bdtrc, betainccinv, betaincinv, gammaln, xlog1py, xlogy

from knowledge_recycling.arrays import Bools, Floats
from knowledge_recycling.errors import KRError
from knowledge_recycling.membership.members import Membership
from knowledge_recycling.statistics.estimate import ALPHA, Indices, as_scores
from knowledge_recycling.statistics.roc import Roc
from knowledge_recycling.statistics.two_way import Trials, rate_above

SPLITS = 51
"""Random splits whose bounds are combined."""
_STREAM = 0xE5
"""Sets the splits apart from all else that is drawn from the same seed."""


@dataclass(frozen=True)
class Epsilon:
    """Empirical lower bound of epsilon and the rates that it comes from.

    Attributes:
        value: the bound.
        low: the same: an attack bounds epsilon from below only.
        high: None, likewise.
        delta: of the guarantee.
        threshold: of the scores; None where no member and non-member could be told apart.
        tpr_low: lower end of the true-positive rate there.
        fpr_high: upper end of the false-positive rate there.
    """

    value: float
    low: float
    high: None
    delta: float
    threshold: float | None
    tpr_low: float
    fpr_high: float


@dataclass(frozen=True)
class OneRun:
    """Lower bound of epsilon from `correct` of `guesses` at the canaries of one run."""

    epsilon: float
    correct: int
    guesses: int
    canaries: int
    delta: float


def epsilon_bound(tpr_low: float, fpr_high: float, delta: float = 0.0) -> float:
    """Lower bound of epsilon, ln((TPR_low - delta) / FPR_high), never below 0.

    Every attack on an (epsilon, delta)-private training has TPR <= e^epsilon FPR + delta. With
    each end at level 1 - alpha/2, the bound holds with probability 1 - alpha.

    Args:
        tpr_low: lower end of the true-positive rate.
        fpr_high: upper end of the false-positive rate, above 0.
        delta: of the guarantee.

    Example:
        >>> round(epsilon_bound(0.5, 0.05), 6) == round(math.log(10), 6)
        True
    """
    return max(0.0, math.log((tpr_low - delta) / fpr_high)) if tpr_low > delta else 0.0


def one_run_p_value(
    epsilon: float, delta: float, correct: int, guesses: int, canaries: int
) -> float:
    """How probable `correct` right guesses or more are under (epsilon, delta)-privacy, at most.

    Steinke, Nasr and Jagielski, arXiv:2305.08846, Theorem 5.2: the probability is at most
    P(W >= v) + 2 m delta max_i P(v > W >= v - i) / i with W ~ Binomial(r, e^eps / (1 + e^eps)).

    Args:
        epsilon: at least 0.
        delta: in [0, 1].
        correct: v, right guesses.
        guesses: r, canaries guessed at; the others are abstained from.
        canaries: m, each included independently with probability one half.

    Returns:
        A bound on the probability, in [0, 1].

    Raises:
        KRError: unless 0 <= correct <= guesses <= canaries.
    """
    if not 0 <= correct <= guesses <= canaries or canaries < 1:
        raise KRError(
            f"{correct} right of {guesses} guesses at {canaries} canaries: expected "
            "0 <= right <= guesses <= canaries"
        )
    accuracy = 1 / (1 + math.exp(-epsilon))
    p_value = float(bdtrc(correct - 1, guesses, accuracy))
    if delta > 0 and correct > 0:
        steps = np.arange(1, correct + 1)
        worst = np.cumsum(_binomial(correct - steps, guesses, accuracy)) / steps
        p_value += 2 * canaries * delta * float(worst.max())
    return min(p_value, 1.0)


def _binomial(k: Indices, n: int, p: float) -> Floats:
    """P(Binomial(n, p) = k)."""
    ways = gammaln(n + 1) - gammaln(k + 1) - gammaln(n - k + 1)
    return np.asarray(np.exp(ways + xlogy(k, p) + xlog1py(n - k, -p)))


def one_run_bound(
    correct: int, guesses: int, canaries: int, *, delta: float = 0.0, alpha: float = ALPHA
) -> float:
    """The largest epsilon that the guesses of one run rule out at level 1 - alpha; 0 if none.

    Arguments and errors as in `one_run_p_value`.

    Example:
        >>> round(one_run_bound(10, 10, 10), 6) == round(-math.log(0.05**-0.1 - 1), 6)
        True
    """
    from scipy.optimize import brentq  # takes longer to import than all else here

    def excess(epsilon: float) -> float:
        return one_run_p_value(epsilon, delta, correct, guesses, canaries) - alpha

    if excess(0.0) >= 0:
        return 0.0
    high = 1.0
    while excess(high) < 0:
        high *= 2
    return float(brentq(excess, 0.0, high, xtol=1e-9))


def one_run_epsilon(
    scores: ArrayLike,
    membership: ArrayLike,
    *,
    delta: float = 0.0,
    fractions: Sequence[float] = (0.1, 0.3, 1.0),
    alpha: float = ALPHA,
) -> OneRun:
    """Epsilon lower bound from the canaries of one run.

    The canaries with the highest scores are guessed members, those with the lowest non-members,
    the middle is abstained from. Each fraction of guesses is tried at level alpha / len(fractions).

    Args:
        scores: (m,) of the canaries, higher means member, computed without their membership.
        membership: (m,) bool, each true independently with probability one half.
        delta: of the guarantee.
        fractions: shares of the canaries guessed at, fixed before looking.
        alpha: one minus the level.

    Returns:
        The best bound and the guesses that it comes from.

    Raises:
        KRError: lengths differ or scores are NaN.
    """
    values, member = as_scores(scores, "scores"), np.asarray(membership, dtype=bool)
    if values.shape != member.shape:
        raise KRError(f"membership: expected {values.size} values, got shape {member.shape}")
    order = member[np.argsort(values, kind="stable")]
    results = []
    for fraction in fractions:
        half = max(1, round(fraction * order.size / 2)) if order.size > 1 else 0
        half = min(half, order.size // 2)
        correct = int((~order[:half]).sum() + order[order.size - half :].sum())
        bound = one_run_bound(
            correct, 2 * half, order.size, delta=delta, alpha=alpha / len(fractions)
        )
        results.append((bound, correct, 2 * half))
    epsilon, correct, guesses = max(results)
    return OneRun(epsilon, correct, guesses, order.size, delta)


def epsilon_estimate(
    scores: ArrayLike,
    membership: Membership,
    *,
    delta: float = 0.0,
    splits: int = SPLITS,
    seed: int = 0,
) -> Epsilon:
    """Empirical lower bound of epsilon, the median of the bounds of many random splits.

    In each split, the threshold with the best bound is chosen on a random half of the records
    (patients); on the other half TPR and FPR are read off, each with a Clopper-Pearson interval
    at the effective number of trials (Korn and Graubard 1998). One split alone would leave the
    figure to its draw. The median of an odd number S of bounds that each exceed epsilon with
    probability at most alpha / 2 exceeds it with probability at most alpha, however they depend
    on each other: then at least half of them do, and by Markov's inequality

        P(#{s: bound_s > epsilon} >= S / 2) <= E[#] / (S / 2) <= alpha.

    In terms of p-values it is twice their median (Vovk and Wang, arXiv:1212.4966, section 1). So
    each split's bound has level 1 - alpha / 2, again split over TPR and FPR.

    Args:
        scores: (K, N) or, for one target, (1, N); higher means member.
        membership: which records trained which pipeline, and whose they are.
        delta: of the guarantee.
        splits: S, odd.
        seed: of the splits.

    Returns:
        The bound and the rates of the split that it comes from; 0 where there is no evidence.

    Raises:
        KRError: shapes or values that do not fit.
    """
    trials = Trials.of(scores, membership)
    roc = Roc.of(trials.scores, trials.member)
    return epsilon_of(trials, roc, delta=delta, splits=splits, seed=seed)


def epsilon_of(
    trials: Trials, roc: Roc, *, delta: float = 0.0, splits: int = SPLITS, seed: int = 0
) -> Epsilon:
    """`epsilon_estimate` of trials that are sorted already; a split only takes some of them."""
    rng = np.random.default_rng([seed, _STREAM])
    ranked = _Ranked(
        trials.scores.ravel()[roc.order],
        trials.member.ravel()[roc.order],
        trials.cluster[roc.order % trials.cluster.size],
    )
    bounds = [_split_bound(trials, ranked, half, delta) for half in _halves(trials, splits, rng)]
    return sorted(bounds, key=lambda bound: bound.value)[len(bounds) // 2]


@dataclass(frozen=True, eq=False)
class _Ranked:
    """The trials in the order of their scores."""

    scores: Floats
    member: Bools
    cluster: Indices

    def best_threshold(self, half: Bools, delta: float) -> float | None:
        """The threshold with the best bound among those at up to 100 false-positive counts.

        None where a side has no trial in this half.
        """
        kept = half[self.cluster]
        members, nonmembers = (np.flatnonzero(kept & side) for side in (self.member, ~self.member))
        if not members.size or not nonmembers.size:
            return None
        ranks = np.unique(np.geomspace(1, nonmembers.size, 100).astype(int))
        limits = self.scores[nonmembers[-ranks]]
        # Over a non-member's score: it and its ties are left out.
        places = np.searchsorted(self.scores, limits, side="right")
        hits = members.size - np.searchsorted(members, places)
        false = nonmembers.size - np.searchsorted(nonmembers, places)
        low = betaincinv(np.maximum(hits, 1e-9), members.size - hits + 1, ALPHA / 4)
        high = betainccinv(false + 1, nonmembers.size - false, ALPHA / 4)
        return float(np.nextafter(limits[np.argmax((low - delta) / high)], np.inf))


def _halves(trials: Trials, splits: int, rng: np.random.Generator) -> Bools:
    """Random halves of the clusters (records or whole patients), (splits, U).

    Those that are members of all pipelines or of none are halved apart, so that a half of a
    single target's never lacks members, even if membership was drawn by the same generator.
    """
    share = np.bincount(trials.cluster, trials.member.mean(axis=0)) / np.bincount(trials.cluster)
    stratum = np.digitize(share, [1e-9, 1 - 1e-9])
    inside = np.zeros((splits, share.size), dtype=bool)
    for side in np.unique(stratum):
        units = np.flatnonzero(stratum == side)
        for row in inside:
            row[rng.permutation(units)[: (units.size + rng.integers(2)) // 2]] = True
    return inside


def _split_bound(trials: Trials, ranked: _Ranked, half: Bools, delta: float) -> Epsilon:
    """The bound of one split at level 1 - alpha / 2; 0 if a half lacks members or non-members."""
    threshold = ranked.best_threshold(half, delta)
    if threshold is None or not all((side & ~half).any() for side in trials.present):
        return Epsilon(0.0, 0.0, None, delta, None, 0.0, 1.0)
    tpr, fpr = (
        rate_above(trials, threshold, side, among=~half, alpha=ALPHA / 2) for side in (True, False)
    )
    bound = epsilon_bound(tpr.low, fpr.high, delta)
    return Epsilon(bound, bound, None, delta, threshold, tpr.low, fpr.high)
