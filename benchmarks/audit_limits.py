"""Simulates what the auditor's limits rest on: audits without a leak that are too small or uneven.

    python -m benchmarks.audit_limits

Writes benchmarks/results/audit_limits.json. Intervals are at 95%.
"""

from __future__ import annotations

import numpy as np

from benchmarks import common
from knowledge_recycling.attacks import lira
from knowledge_recycling.membership.members import Membership
from knowledge_recycling.statistics import intervals, two_way
from knowledge_recycling.statistics.epsilon import epsilon_estimate
from knowledge_recycling.statistics.rates import auc, auc_estimate, tpr_at_fpr_estimate
from knowledge_recycling.storage.files import write_json

RESULT = common.RESULTS / "audit_limits.json"
REPEATS = 400
PIPELINES, RECORDS = 8, 300


def tpr_coverage(nonmembers: int) -> float:
    """Share of intervals of the TPR at 1% FPR that hold 0.01; 500 members, no leak."""
    found = []
    for seed in range(REPEATS):
        rng = np.random.default_rng(seed)
        sides = rng.normal(size=500), rng.normal(size=nonmembers)
        found.append(tpr_at_fpr_estimate(*sides, 0.01))
    return float(np.mean([e.low <= 0.01 <= e.high for e in found]))


def auc_coverage(patients: int) -> float:
    """Share of intervals of the AUC that hold 0.5; ten records of each patient, no leak."""
    found = []
    groups = np.repeat(np.arange(patients), 10)
    for seed in range(REPEATS):
        rng = np.random.default_rng(seed)
        own, noise = rng.normal(size=(2, patients)), rng.normal(size=(2, groups.size))
        inside, outside = 0.8 * own[:, groups] + 0.6 * noise
        found.append(auc_estimate(inside, outside, member_groups=groups, nonmember_groups=groups))
    return float(np.mean([e.low <= 0.5 <= e.high for e in found]))


def null_auc(even: bool) -> dict[str, float]:
    """Mean AUC of LiRA without a leak; each record is in half of the pipelines, no pairs."""
    found = []
    for seed in range(REPEATS):
        rng = np.random.default_rng(seed)
        mask = rng.random((PIPELINES, RECORDS)).argsort(axis=0) < PIPELINES // 2
        membership = Membership(mask, np.full(PIPELINES, -1))
        if not even:  # as if all others were shadows: what the attack's own paper does
            vars(membership)["lone"] = np.array([], dtype=np.intp)
        scores = lira.online(rng.normal(size=mask.shape), membership)
        found.append(auc(scores[mask], scores[~mask]))
    error = np.std(found, ddof=1) / REPEATS**0.5
    return {"mean": float(np.mean(found)), "standard_error": float(error)}


def epsilons(splits: int) -> dict[str, float]:
    """Epsilon of the same scores under 20 seeds: 500 members one deviation above 500 others."""
    rng = np.random.default_rng(0)
    membership = Membership.of(np.repeat([True, False], 500))
    scores = np.concatenate([rng.normal(1, 1, 500), rng.normal(size=500)])[None]
    found = [epsilon_estimate(scores, membership, splits=splits, seed=s).value for s in range(20)]
    return {"least": min(found), "most": max(found)}


def main() -> None:
    """Simulates all and writes the file."""
    code = common.commit()
    for module in (intervals, two_way):
        vars(module)["LEAST_UNITS"] = 2  # the interval as it would be below the limit
    write_json(
        RESULT,
        {
            "tpr_at_1%_fpr_coverage_by_nonmembers": {
                str(n): tpr_coverage(n) for n in (20, 100, 300, 500, 1000)
            },
            "auc_coverage_by_patients": {str(n): auc_coverage(n) for n in (2, 3, 5, 8, 15)},
            "lira_null_auc": {"all_shadows": null_auc(False), "even_shadows": null_auc(True)},
            "epsilon_of_20_seeds": {"one_split": epsilons(1), "51_splits": epsilons(51)},
            "repeats": REPEATS,
            "command": "python -m benchmarks.audit_limits",
            "commit": code,
            "machine": common.processor(),
        },
    )


if __name__ == "__main__":
    main()
