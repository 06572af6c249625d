"""Scores in, estimates with 95% intervals out.

Membership scores follow one convention everywhere: higher means member.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import stdtrit

from knowledge_recycling.arrays import Floats
from knowledge_recycling.errors import KRError
from knowledge_recycling.statistics.binomial import clopper_pearson
from knowledge_recycling.statistics.bootstrap import chunks, draw_weights, ends
from knowledge_recycling.statistics.estimate import ALPHA, as_scores, group_codes
from knowledge_recycling.statistics.estimate import Estimate as Estimate
from knowledge_recycling.statistics.roc import Roc
from knowledge_recycling.statistics.two_way import Trials, auc_of, tpr_of

LEAST_NONMEMBERS = {0.01: 500, 0.001: 10_000}
"""Non-members from which the TPR at an FPR is given. Without a leak, the interval of
the TPR at 1% FPR holds 0.01 in 37% of audits with 20 non-members, 78% with 100, 97% with 300 and
98% with 500 (benchmarks/audit_limits.py)."""


def auc(member_scores: ArrayLike, nonmember_scores: ArrayLike) -> float:
    """Area under the ROC curve: P(member > non-member) + P(equal) / 2.

    Args:
        member_scores: (n,), higher means member; infinite values are allowed.
        nonmember_scores: (m,).

    Returns:
        A value in [0, 1].

    Raises:
        KRError: a side is empty, not one-dimensional, or holds NaN.

    Example:
        >>> auc([3, 2], [1, 2])
        0.875
    """
    return _roc(member_scores, nonmember_scores).auc


def tpr_at_fpr(member_scores: ArrayLike, nonmember_scores: ArrayLike, fpr: float) -> float:
    """The largest true-positive rate whose empirical false-positive rate is at most `fpr`.

    The threshold is set on the non-members. Scores tied with a threshold are all above or all
    below it, so ties can only lower the result.

    Args:
        member_scores: (n,), higher means member.
        nonmember_scores: (m,).
        fpr: false-positive rate in [0, 1].

    Returns:
        A value in [0, 1].

    Raises:
        KRError: a side is empty, not one-dimensional, or holds NaN; `fpr` outside [0, 1].

    Example:
        >>> tpr_at_fpr([5, 4, 3, 1], [4, 2, 2, 0], 0.25)
        0.75
    """
    return _roc(member_scores, nonmember_scores).tpr(_checked_fpr(fpr))


def auc_estimate(
    member_scores: ArrayLike,
    nonmember_scores: ArrayLike,
    *,
    member_groups: ArrayLike | None = None,
    nonmember_groups: ArrayLike | None = None,
) -> Estimate:
    """`auc` with its interval on the logit, from the influence of each record (or group).

    Args:
        member_scores: (n,), higher means member.
        nonmember_scores: (m,).
        member_groups: (n,), the group (patient) of each member; None: each is its own.
        nonmember_groups: (m,), likewise; a group is of one side.

    Returns:
        The estimate. A perfect AUC of k independent pairs keeps a lower end of 0.025^(1/k).

    Raises:
        KRError: as `auc`; groups of another length than the scores.
    """
    trials = _trials(member_scores, nonmember_scores, member_groups, nonmember_groups)
    return auc_of(trials, Roc.of(trials.scores, trials.member))


def tpr_at_fpr_estimate(
    member_scores: ArrayLike,
    nonmember_scores: ArrayLike,
    fpr: float,
    *,
    member_groups: ArrayLike | None = None,
    nonmember_groups: ArrayLike | None = None,
) -> Estimate:
    """`tpr_at_fpr` with its interval, that of the threshold included.

    Args:
        member_scores: (n,), higher means member.
        nonmember_scores: (m,); the interval is meant for fpr * m of about 5 or more.
        fpr: false-positive rate in [0, 1].
        member_groups: (n,), the group (patient) of each member; None: each is its own.
        nonmember_groups: (m,), likewise; a group is of one side.

    Returns:
        The estimate. None found among k keeps an upper end of 1 - 0.025^(1/k) or more.

    Raises:
        KRError: as `tpr_at_fpr`; groups of another length than the scores.
    """
    level = _checked_fpr(fpr)
    trials = _trials(member_scores, nonmember_scores, member_groups, nonmember_groups)
    return tpr_of(trials, Roc.of(trials.scores, trials.member), level)


def roc_curve(
    member_scores: ArrayLike, nonmember_scores: ArrayLike, *, points: int = 500
) -> tuple[Floats, Floats]:
    """The ROC curve, thinned for a plot.

    Points are kept evenly along the logarithm of the false-positive count and evenly along the
    false-positive rate, so that the low end is whole.

    Args:
        member_scores: (n,), higher means member.
        nonmember_scores: (m,).
        points: at most this many are returned.

    Returns:
        (fpr, tpr), both rising from 0 to 1, of equal length.

    Raises:
        KRError: as `auc`.
    """
    roc = _roc(member_scores, nonmember_scores)
    fp, tp = roc.false[::-1], roc.hits[::-1]
    if fp.size > points:
        targets = np.concatenate([np.geomspace(1, fp[-1], points // 2), [0]])
        spread = np.linspace(0, fp.size - 1, points - targets.size).astype(int)
        # The last point of each false-positive count holds its largest true-positive count.
        keep = np.union1d(np.searchsorted(fp, targets, side="right") - 1, spread)
        fp, tp = fp[keep], tp[keep]
    return fp / fp[-1], tp / tp[-1]


def paired_difference(
    a: ArrayLike,
    b: ArrayLike,
    *,
    groups: ArrayLike | None = None,
    draws: int = 2000,
    seed: int = 0,
) -> Estimate:
    """Mean of a - b over the same records, with a paired percentile bootstrap interval.

    Args:
        a: (n,), a value of each record, such as whether the Student is right.
        b: (n,), the same of the Teacher, in the same order.
        groups: (n,), the group of each record, resampled whole; None: each is its own.
        draws: bootstrap draws.
        seed: of the draws.

    Returns:
        The estimate, in the units of `a` and `b`.

    Raises:
        KRError: lengths differ, nothing to compare, or NaN.

    Example:
        >>> paired_difference([1, 1, 0, 1], [1, 0, 0, 1]).value
        0.25
    """
    first, second = as_scores(a, "a"), as_scores(b, "b")
    if first.size != second.size:
        raise KRError(f"a has {first.size} records and b {second.size}; pairs need equal lengths")
    unit = group_codes(groups, first.size, "groups")
    sums, sizes = np.bincount(unit, first - second), np.bincount(unit)
    rng = np.random.default_rng(seed)
    means = [
        (weights @ sums) / (weights @ sizes)
        for weights in (draw_weights(rng, n, sums.size) for n in chunks(draws, sums.size))
    ]
    low, high = ends(np.concatenate(means))
    return Estimate(float(np.mean(first - second)), low, high)


def paired_gap(
    a: ArrayLike,
    b: ArrayLike,
    *,
    groups: ArrayLike | None = None,
    draws: int = 2000,
    seed: int = 0,
) -> Estimate:
    """`paired_difference` of two classifiers' hits, never of zero width.

    Where no record is a gain (a right, b wrong), or none a loss, all draws agree on that, which is
    not certainty: the interval is widened to what the exact ones of both shares allow,
    low(gains) - high(losses) to high(gains) - low(losses).

    Args:
        a: (n,), 0 or 1, whether the first classifier is right.
        b: (n,), the same of the second.
        groups: as in `paired_difference`.
        draws: bootstrap draws.
        seed: of the draws.

    Returns:
        The gap in shares, in [-1, 1].

    Raises:
        KRError: as `paired_difference`.

    Example:
        >>> gap = paired_gap([1, 1], [1, 1])
        >>> round(gap.low, 3), gap.value, round(gap.high, 3)
        (-0.842, 0.0, 0.842)
    """
    found = paired_difference(a, b, groups=groups, draws=draws, seed=seed)
    change = as_scores(a, "a") - as_scores(b, "b")
    gains, losses = float(np.mean(change > 0)), float(np.mean(change < 0))
    if gains > 0 and losses > 0:
        return found
    units = np.unique(group_codes(groups, change.size, "groups")).size
    more, less = (clopper_pearson(share * units, units) for share in (gains, losses))
    return Estimate(
        found.value, min(found.low, more.low - less.high), max(found.high, more.high - less.low)
    )


def mean_interval(values: ArrayLike) -> Estimate:
    """Mean over seeds with Student's t interval.

    Args:
        values: (n,), one value a seed. A single one gives an interval without width in numbers:
            -inf to inf.

    Raises:
        KRError: no value, or NaN.

    Example:
        >>> mean_interval([1.0, 2.0, 3.0]).value
        2.0
    """
    data = as_scores(values, "values")
    mean = float(data.mean())
    if data.size == 1:
        return Estimate(mean, -np.inf, np.inf)
    half = stdtrit(data.size - 1, 1 - ALPHA / 2) * data.std(ddof=1) / np.sqrt(data.size)
    return Estimate(mean, mean - float(half), mean + float(half))


def _checked_fpr(fpr: float) -> float:
    if not 0.0 <= fpr <= 1.0:
        raise KRError(f"fpr: {fpr} is not a rate between 0 and 1")
    return fpr


def _trials(
    member_scores: ArrayLike,
    nonmember_scores: ArrayLike,
    member_groups: ArrayLike | None = None,
    nonmember_groups: ArrayLike | None = None,
) -> Trials:
    """Both sides as the trials of one pipeline; their groups are numbered apart."""
    members = as_scores(member_scores, "member_scores")
    nonmembers = as_scores(nonmember_scores, "nonmember_scores")
    own = group_codes(member_groups, members.size, "member_groups")
    others = group_codes(nonmember_groups, nonmembers.size, "nonmember_groups")
    member = np.repeat([True, False], [members.size, nonmembers.size])
    cluster = np.concatenate([own, others + own.max() + 1])
    return Trials(np.concatenate([members, nonmembers])[None], member[None], cluster)


def _roc(member_scores: ArrayLike, nonmember_scores: ArrayLike) -> Roc:
    trials = _trials(member_scores, nonmember_scores)
    return Roc.of(trials.scores, trials.member)
