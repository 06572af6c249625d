"""Estimates from scores of many records under many pipelines, which depend on each other.

Scores of one record share the record, scores of one pipeline share its training; a single target
is the case of one pipeline. An estimate is, to first order, the sum of its trials' influences;
clustered both ways, the variance of such a sum is

    V = V_records + V_pipelines - V_trials / 2.

Two-way clustering (Cameron, Gelbach and Miller 2011) takes all of V_trials off, which is right for
trials that share no more than a record or a pipeline. Leave-pair-out scores share more: each
pipeline is also a shadow of the others. Without a leak the whole of V_trials off left the true
variance 15 to 30% short (coverage 91%); with half of it, coverage of the AUC is near 95% with a
leak and without. From the variance comes the interval (`intervals.py`), which holds the truth no
less often than a bootstrap's (benchmarks/intervals.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from knowledge_recycling.arrays import Bools, Floats
from knowledge_recycling.errors import KRError
from knowledge_recycling.membership.members import Membership
from knowledge_recycling.statistics.binomial import clopper_pearson
from knowledge_recycling.statistics.estimate import ALPHA, LEAST_UNITS, Estimate
from knowledge_recycling.statistics.intervals import combined, logit_interval
from knowledge_recycling.statistics.roc import Roc


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
        return min(int(present.sum()) for present in self.present)

    @cached_property
    def present(self) -> tuple[Bools, Bools]:
        """Which clusters have member trials, and which have non-member trials; (U,) each."""
        inside, outside = (np.any(self.counts(side), axis=0) for side in (True, False))
        return inside, outside

    @cached_property
    def _alone(self) -> bool:
        return bool(np.array_equal(self.cluster, np.arange(self.cluster.size)))

    @cached_property
    def _counts(self) -> dict[bool, NDArray[Any]]:
        return {side: self.cells(self.member == side) for side in (True, False)}

    def counts(self, members: bool) -> NDArray[Any]:
        """Trials of one side by pipeline and cluster, (K, U)."""
        return self._counts[members]

    def cells(self, values: NDArray[Any]) -> NDArray[Any]:
        """Sums (K, U) of values (K, N) by pipeline and cluster."""
        if self._alone:
            return values
        return np.stack([np.bincount(self.cluster, row) for row in values])

    def variance(self, influence: Floats) -> float:
        """Of the sum of influences (K, N), clustered by record (or patient) and by pipeline."""
        cells = self.cells(influence)
        trial = float(np.vdot(cells, cells))
        return _two_way(cells.sum(axis=0), cells.sum(axis=1), trial, self.units)


def _two_way(by_unit: Floats, by_pipeline: Floats, trial: float, units: int) -> float:
    """V from the sums of the influences (U,) and (K,), and from V_trials."""
    pipelines = by_pipeline.size
    record = float(by_unit @ by_unit) * units / max(units - 1, 1)
    if pipelines == 1:
        return record
    pipeline = float(by_pipeline @ by_pipeline) * pipelines / (pipelines - 1)
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


def rate_above(
    trials: Trials,
    threshold: float,
    members: bool,
    *,
    among: Bools | None = None,
    alpha: float = ALPHA,
) -> Estimate:
    """Share of the members' (or non-members') scores at or above a threshold fixed beforehand.

    The interval is Clopper-Pearson's at the effective number of trials: the number of
    independent ones that would leave the two-way clustered variance.

    Args:
        trials: scores and who trained what.
        threshold: fixed on other trials.
        members: which side.
        among: (U,), the clusters that are looked at; None: all.
        alpha: one minus the level.
    """
    counts = trials.counts(members)
    above = trials.cells((trials.scores >= threshold) & (trials.member == members))
    if among is not None:
        counts, above = counts * among, above * among
    per_unit, per_pipeline = counts.sum(axis=0), counts.sum(axis=1)
    n = per_pipeline.sum()
    rate = float(above.sum() / n)
    variance = _two_way(
        (above.sum(axis=0) - rate * per_unit) / n,
        (above.sum(axis=1) - rate * per_pipeline) / n,
        _squares(above, counts, rate) / n**2,
        units := int(np.count_nonzero(per_unit)),
    )
    return _exact(rate, variance, int(n), units, alpha)


def _squares(above: NDArray[Any], counts: NDArray[Any], rate: float) -> float:
    """Sum of (above - rate * counts)^2; where a cell is one trial, it is only to be counted."""
    if above.dtype != bool:
        return float(((above - rate * counts) ** 2).sum())
    hits, n = float(np.count_nonzero(above)), float(np.count_nonzero(counts))
    return hits * (1 - rate) ** 2 + (n - hits) * rate**2


def _exact(rate: float, variance: float, n: int, units: int, alpha: float = ALPHA) -> Estimate:
    """Clopper-Pearson's interval at the effective number of trials, at most n."""
    trials = float(units)
    if 0 < rate < 1 and variance > 0:
        trials = min(float(n), rate * (1 - rate) / variance)
    found = clopper_pearson(rate * trials, trials, alpha)
    return Estimate(rate, found.low, found.high)
