"""Estimates from scores of many records under many pipelines, which depend on each other.

Scores of one record share the record, scores of one pipeline share its training; a single target
is the case of one pipeline. An estimate is, to first order, the sum of its trials' influences;
clustered both ways, the variance of such a sum is

    V = V_records + V_pipelines - V_trials / 2.

Two-way clustering (Cameron, Gelbach and Miller 2011) takes all of V_trials off, which is right for
trials that share no more than a record or a pipeline. Leave-pair-out scores share more: each
pipeline is also a shadow of the others. Without a leak the whole of V_trials off left the true
variance 15 to 30% short (coverage 91%); with half of it, coverage of the AUC is near 95% with a
leak and without. From the variance comes the interval (`intervals.py`), which
benchmarks/intervals.py compares with a bootstrap.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike, NDArray

from knowledge_recycling.errors import KRError
from knowledge_recycling.membership.members import Membership
from knowledge_recycling.statistics.binomial import clopper_pearson
from knowledge_recycling.statistics.estimate import ALPHA, LEAST_UNITS, Estimate, Floats
from knowledge_recycling.statistics.intervals import combined, logit_interval
from knowledge_recycling.statistics.roc import Roc

Bools = NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Trials:
    """Scores (K, N), whether each is of a member (K, N), and the cluster of each record (N,)."""

    scores: Floats
    member: Bools
    cluster: NDArray[np.intp]

    @classmethod
    def of(cls, scores: ArrayLike, membership: Membership) -> Trials:
        """Checks shapes and values.

        Raises:
            KRError: shapes differ, NaN, or no member or non-member trial.
        """
        values, member = np.asarray(scores, dtype=np.float64), membership.mask
        if values.shape != member.shape:
            raise KRError(
                "scores and membership: expected two arrays of one shape (pipelines, records), "
                f"got {values.shape} and {member.shape}"
            )
        if np.isnan(values).any():
            raise KRError(f"scores: {int(np.isnan(values).sum())} of {values.size} are NaN")
        if member.all() or not member.any():
            raise KRError("membership: both members and non-members are needed")
        return cls(values, member, membership.cluster)

    @cached_property
    def units(self) -> int:
        """Records, or patients, of the side that has fewer of them."""
        return min(
            np.unique(self.cluster[side.any(axis=0)]).size for side in (self.member, ~self.member)
        )

    def select(self, records: Bools) -> Trials:
        """The trials of some records (N,) bool."""
        return Trials(self.scores[:, records], self.member[:, records], self.cluster[records])

    def variance(self, influence: Floats) -> float:
        """Of the sum of influences (K, N), clustered by record (or patient) and by pipeline."""
        cells = np.stack([np.bincount(self.cluster, row) for row in influence])
        pipelines = len(cells)
        record = float((cells.sum(axis=0) ** 2).sum()) * self.units / max(self.units - 1, 1)
        if pipelines == 1:
            return record
        trial = float((cells**2).sum())
        pipeline = float((cells.sum(axis=1) ** 2).sum()) * pipelines / (pipelines - 1)
        return max(record + pipeline - trial / 2, record, pipeline)


def pooled_estimates(
    scores: ArrayLike, membership: Membership, *, fprs: Sequence[float] = (0.01,)
) -> tuple[Estimate, dict[float, Estimate]]:
    """AUC and TPR at each FPR over all trials.

    Args:
        scores: (K, N), of record n with pipeline k as the target, higher means member.
        membership: which records trained which pipeline; patients stay whole.
        fprs: false-positive rates, each with one threshold for all pipelines.

    Returns:
        (AUC, {fpr: TPR}).

    Raises:
        KRError: shapes or values that do not fit.
    """
    trials = Trials.of(scores, membership)
    roc = Roc.of(trials.scores, trials.member)
    return auc_of(trials, roc), {fpr: tpr_of(trials, roc, fpr) for fpr in fprs}


def auc_of(trials: Trials, roc: Roc) -> Estimate:
    """AUC of trials that are sorted already."""
    return logit_interval(roc.auc, trials.variance(roc.auc_influence()), trials.units)


def tpr_of(trials: Trials, roc: Roc, fpr: float) -> Estimate:
    """TPR at `fpr` of trials that are sorted already.

    Two rates are uncertain: the members' share above the threshold, and the FPR that the threshold
    has. Each has its exact interval at the effective number of trials; the second one's ends,
    taken as FPRs, say what TPR another threshold would have given.
    """
    place, value = roc.threshold(fpr), roc.tpr(fpr)
    if trials.units < LEAST_UNITS:
        return Estimate(value, 0.0, 1.0)
    sides = [roc.rate_influence(place, members) for members in (True, False)]
    variances = [trials.variance(side) for side in sides]
    own, placed = (
        _exact(rate, variance, int(count), trials.units)
        for rate, variance, count in zip(
            (value, fpr), variances, (roc.hits[0], roc.false[0]), strict=True
        )
    )
    shared = (trials.variance(sides[0] + sides[1]) - sum(variances)) / 2
    scale = float(np.sqrt(variances[0] * variances[1]))
    through = Estimate(value, roc.tpr(placed.low), roc.tpr(placed.high))
    return combined(own, through, float(np.clip(shared / scale, -1, 1)) if scale > 0 else 0.0)


def rate_above(trials: Trials, threshold: float, members: bool, alpha: float = ALPHA) -> Estimate:
    """Share of the members' (or non-members') scores at or above a threshold fixed beforehand.

    The interval is Clopper-Pearson's at the effective number of trials: the number of
    independent ones that would leave the two-way clustered variance.
    """
    side = trials.member == members
    above = trials.scores >= threshold
    n = int(side.sum())
    rate = float(above[side].mean())
    variance = trials.variance(np.where(side, above - rate, 0.0) / n)
    units = np.unique(trials.cluster[side.any(axis=0)]).size
    return _exact(rate, variance, n, units, alpha)


def _exact(rate: float, variance: float, n: int, units: int, alpha: float = ALPHA) -> Estimate:
    """Clopper-Pearson's interval at the effective number of trials, at most n."""
    trials = float(units)
    if 0 < rate < 1 and variance > 0:
        trials = min(float(n), rate * (1 - rate) / variance)
    found = clopper_pearson(rate * trials, trials, alpha)
    return Estimate(rate, found.low, found.high)
