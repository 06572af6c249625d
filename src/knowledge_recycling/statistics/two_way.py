"""Estimates from scores of many records under many pipelines, which depend on each other.

Scores of one record share the record, scores of one pipeline share its training. The two-way
cluster bootstrap draws records (or patients) and pipelines with replacement and weights a trial
by the product of both counts. That counts the trials' own noise three times (Owen 2007,
arXiv:0712.1111), so the draws are pulled towards the estimate by sqrt(V / V_boot) with

    V      = V_records + V_pipelines - V_trials / 2,
    V_boot = V_records + V_pipelines + V_trials,

each from the influence of the trials on the estimate, and V / V_boot never under its value for
pure noise, 1/2. Two-way clustering (Cameron, Gelbach and Miller 2011) takes all of V_trials off,
which is right for trials that share no more than a record or a pipeline. Leave-pair-out scores
share more: each pipeline is also a shadow of the others. Without a leak the whole of V_trials off
left the true variance 15 to 30% short (coverage 91%); with half of it, coverage of the AUC is
near 95% with a leak and without (benchmarks/coverage.py).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import sparse

from knowledge_recycling.errors import KRError
from knowledge_recycling.membership.members import Membership
from knowledge_recycling.statistics.binomial import clopper_pearson
from knowledge_recycling.statistics.bootstrap import (
    auc_of_counts,
    chunks,
    draw_weights,
    tail,
    to_estimate,
    tpr_of_counts,
)
from knowledge_recycling.statistics.estimate import ALPHA, Estimate, Floats

Bools = NDArray[np.bool_]
Statistic = Callable[[Floats, Floats], Floats]
_EXACT_RANKS = 1000
_THINNED_RANKS = 1500


@dataclass(frozen=True)
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

    def select(self, records: Bools) -> Trials:
        """The trials of some records (N,) bool."""
        return Trials(self.scores[:, records], self.member[:, records], self.cluster[records])


def pooled_estimates(
    scores: ArrayLike,
    membership: Membership,
    *,
    fprs: Sequence[float] = (0.01,),
    draws: int = 1000,
    seed: int = 0,
) -> tuple[Estimate, dict[float, Estimate]]:
    """AUC and TPR at each FPR over all trials, with two-way cluster bootstrap intervals.

    Args:
        scores: (K, N), of record n with pipeline k as the target, higher means member.
        membership: which records trained which pipeline; patients are drawn whole.
        fprs: false-positive rates, each with one threshold for all pipelines.
        draws: bootstrap draws.
        seed: of the draws.

    Returns:
        (AUC, {fpr: TPR}).

    Raises:
        KRError: shapes or values that do not fit.
    """
    trials = Trials.of(scores, membership)
    bins, size = _bins(trials)
    sides = [_side(trials.member == wanted, trials.cluster, bins, size) for wanted in (True, False)]
    statistics: list[Statistic] = [auc_of_counts, *(_tpr_statistic(fpr) for fpr in fprs)]
    drawn = _draw(sides, statistics, len(bins), draws, np.random.default_rng(seed))
    observed = [side.sum(axis=0)[None] for side in sides]
    influences = [_auc_influence(observed, trials.member, bins)]
    influences += [_tpr_influence(observed, trials.member, bins, fpr) for fpr in fprs]
    units = int(trials.cluster.max()) + 1
    estimates = []
    for statistic, values, influence in zip(statistics, drawn, influences, strict=True):
        value = float(statistic(*observed)[0])
        pulled = value + (values - value) * np.sqrt(_excess(influence, trials.cluster))
        estimates.append(to_estimate(value, np.clip(pulled, 0.0, 1.0), units))
    return estimates[0], dict(zip(fprs, estimates[1:], strict=True))


def rate_above(trials: Trials, threshold: float, members: bool, alpha: float = ALPHA) -> Estimate:
    """Share of the members' (or non-members') scores at or above a threshold fixed beforehand.

    The interval is Clopper-Pearson's at the effective number of trials: the number of
    independent ones that would leave the two-way clustered variance.
    """
    side = trials.member == members
    above = trials.scores >= threshold
    n = int(side.sum())
    rate = float(above[side].mean())
    variance = _two_way(np.where(side, above - rate, 0.0) / n, trials.cluster)[0]
    if 0 < rate < 1 and variance > 0:
        effective = min(float(n), rate * (1 - rate) / variance)
    else:
        effective = float(np.unique(trials.cluster[side.any(axis=0)]).size)
    interval = clopper_pearson(rate * effective, effective, alpha)
    return Estimate(rate, interval.low, interval.high)


def _bins(trials: Trials) -> tuple[NDArray[np.intp], int]:
    """The bin of each score (K, N), rising, and the number of bins.

    Bins are cut at non-members' scores: at each of the top 1000, where low FPRs are read, and
    then at ranks in geometric steps. Thresholds fall on cuts, so coarser bins only lower a TPR.
    """
    nonmembers = np.sort(trials.scores[~trials.member])[::-1]
    ranks = np.arange(min(_EXACT_RANKS, nonmembers.size))
    if nonmembers.size > _EXACT_RANKS:
        more = np.geomspace(_EXACT_RANKS, nonmembers.size - 1, _THINNED_RANKS)
        ranks = np.union1d(ranks, more.astype(int))
    cuts = np.unique(nonmembers[ranks])
    # Bin 2i + 1 holds the scores equal to cut i, bin 2i those between cuts i - 1 and i.
    bins = np.searchsorted(cuts, trials.scores) + np.searchsorted(cuts, trials.scores, "right")
    return bins, 2 * cuts.size + 1


def _side(
    chosen: Bools, cluster: NDArray[np.intp], bins: NDArray[np.intp], size: int
) -> sparse.csr_array:
    """How many chosen trials of each (pipeline, cluster) fall in each bin; (K * units, bins)."""
    units = int(cluster.max()) + 1
    pipeline, record = np.nonzero(chosen)
    rows = pipeline * units + cluster[record]
    shape = (chosen.shape[0] * units, size)
    return sparse.csr_array((np.ones(rows.size), (rows, bins[chosen])), shape=shape)


def _draw(
    sides: Sequence[sparse.csr_array],
    statistics: Sequence[Statistic],
    pipelines: int,
    draws: int,
    rng: np.random.Generator,
) -> list[Floats]:
    """The statistics of each bootstrap draw, each (draws,)."""
    rows = sides[0].shape[0]
    parts = []
    for n in chunks(draws, rows):
        by_pipeline = draw_weights(rng, n, pipelines)[:, :, None]
        by_cluster = draw_weights(rng, n, rows // pipelines)[:, None, :]
        weights = (by_pipeline * by_cluster).reshape(n, rows)
        counts = [weights @ side for side in sides]
        # With few pipelines a draw can lack a side: it says nothing, and is left out.
        usable = np.logical_and(*(side.sum(axis=1) > 0 for side in counts))
        kept = [side[usable] for side in counts]
        parts.append([statistic(*kept) for statistic in statistics])
    return [np.concatenate(part) for part in zip(*parts, strict=True)]


def _tpr_statistic(fpr: float) -> Statistic:
    return lambda members, nonmembers: tpr_of_counts(members, nonmembers, fpr)


def _auc_influence(observed: Sequence[Floats], member: Bools, bins: NDArray[np.intp]) -> Floats:
    """First-order effect of each trial on the AUC, (K, N)."""
    members, nonmembers = (side[0] / side.sum() for side in observed)
    auc = float(auc_of_counts(*observed)[0])
    beaten = np.cumsum(nonmembers) - nonmembers / 2
    beating = 1 - (np.cumsum(members) - members / 2)
    of_member = (beaten[bins] - auc) / member.sum()
    of_nonmember = (beating[bins] - auc) / (~member).sum()
    return np.where(member, of_member, of_nonmember)


def _tpr_influence(
    observed: Sequence[Floats], member: Bools, bins: NDArray[np.intp], fpr: float
) -> Floats:
    """First-order effect of each trial on the TPR: its own, and through the threshold."""
    tpr, above, below = (
        float(tpr_of_counts(observed[0], observed[1], rate)[0])
        for rate in (fpr, min(1.5 * fpr, 1.0), 0.5 * fpr)
    )
    slope = (above - below) / (min(1.5 * fpr, 1.0) - 0.5 * fpr)
    false = tail(observed[1])[0]
    over = bins >= int((false > fpr * false[0] * (1 + 1e-12)).sum())
    of_member = (over - tpr) / member.sum()
    of_nonmember = slope * (fpr - over) / (~member).sum()
    return np.where(member, of_member, of_nonmember)


def _two_way(influence: Floats, cluster: NDArray[np.intp]) -> tuple[float, float]:
    """The two-way clustered variance V of a sum of influences (K, N), and the bootstrap's."""
    cells = np.stack([np.bincount(cluster, row) for row in influence])
    pipelines, units = cells.shape
    trial = float((cells**2).sum())
    record = float((cells.sum(axis=0) ** 2).sum()) * units / max(units - 1, 1)
    if pipelines == 1:
        return record, record
    pipeline = float((cells.sum(axis=1) ** 2).sum()) * pipelines / (pipelines - 1)
    variance = max(record + pipeline - trial / 2, record, pipeline)
    return variance, record + pipeline + trial


def _excess(influence: Floats, cluster: NDArray[np.intp]) -> float:
    """V / V_boot, at least 1/2."""
    variance, bootstrap = _two_way(influence, cluster)
    return max(variance / bootstrap, 1 / 2) if bootstrap > 0 else 1.0
