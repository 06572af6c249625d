"""Exact binomial intervals and the lower bounds on epsilon that rest on them."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats
from scipy.optimize import brentq

from knowledge_recycling.errors import KRError
from knowledge_recycling.resampling import ALPHA, Estimate, as_scores


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
    low = stats.beta.ppf(alpha / 2, successes, failures + 1) if successes > 0 else 0.0
    high = stats.beta.isf(alpha / 2, successes + 1, failures) if failures > 0 else 1.0
    return Estimate(successes / trials, float(low), float(high))


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
    p_value = float(stats.binom.sf(correct - 1, guesses, accuracy))
    if delta > 0 and correct > 0:
        steps = np.arange(1, correct + 1)
        worst = np.cumsum(stats.binom.pmf(correct - steps, guesses, accuracy)) / steps
        p_value += 2 * canaries * delta * float(worst.max())
    return min(p_value, 1.0)


def one_run_bound(
    correct: int, guesses: int, canaries: int, *, delta: float = 0.0, alpha: float = ALPHA
) -> float:
    """The largest epsilon that the guesses of one run rule out at level 1 - alpha; 0 if none.

    Arguments and errors as in `one_run_p_value`.

    Example:
        >>> round(one_run_bound(10, 10, 10), 6) == round(-math.log(0.05**-0.1 - 1), 6)
        True
    """

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
) -> dict[str, float]:
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
        `epsilon`, and the `correct`, `guesses` and `canaries` it comes from.

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
    return {
        "epsilon": epsilon,
        "correct": correct,
        "guesses": guesses,
        "canaries": order.size,
        "delta": delta,
    }


def power_statement(n_members: int, n_nonmembers: int, fpr: float) -> dict[str, float | str | None]:
    """The smallest TPR at `fpr` that an audit of this size finds with 80% power.

    Found means: at a threshold with `fpr` of the non-members above it, the lower end of the TPR's
    Clopper-Pearson interval is above the upper end of the FPR's. The trials count as
    independent, so give numbers of records (or patients), not of records times pipelines.

    Args:
        n_members: member trials.
        n_nonmembers: non-member trials.
        fpr: false-positive rate in (0, 1).

    Returns:
        `tpr` (None where even a TPR of 1 would not be found), `fpr`, `power` and `text`.

    Raises:
        KRError: no trials, or `fpr` outside (0, 1).
    """
    if n_members < 1 or n_nonmembers < 1 or not 0 < fpr < 1:
        raise KRError("power: expected at least one trial a side and an FPR between 0 and 1")
    power = 0.8
    highest = clopper_pearson(math.floor(fpr * n_nonmembers + 1e-9), n_nonmembers).high
    # The lower end for k hits is above `highest` when P(Binomial(n, highest) >= k) < alpha / 2.
    needed = int(stats.binom.isf(ALPHA / 2, n_members, highest)) + 1
    size = f"{n_members} members and {n_nonmembers} non-members"
    if needed > n_members:
        text = f"With {size}, no attack could have been found at {fpr:.1%} FPR."
        return {"tpr": None, "fpr": fpr, "power": power, "text": text}
    tpr = float(stats.beta.ppf(power, needed, n_members - needed + 1))
    text = (
        f"With {size}, an attack with a TPR of {tpr:.1%} at {fpr:.1%} FPR would have been found "
        f"with {power:.0%} power; a weaker one may have been missed."
    )
    return {"tpr": tpr, "fpr": fpr, "power": power, "text": text}
