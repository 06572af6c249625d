"""Simulates how often each 95% interval holds the truth, and how long large audits take.

    python -m benchmarks.coverage

Writes benchmarks/results/coverage.json; a test holds that every coverage lies in 93 to 97%, that
of a TPR, whose parts are exact intervals, in 93 to 98%. The truth of an attack on simulated shadows
has no formula: it is the mean over the repeats.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from scipy import stats

from benchmarks import common
from knowledge_recycling.auditing.auditor import ATTACKS, signal_scores
from knowledge_recycling.auditing.verdict import PRIMARY
from knowledge_recycling.membership.halves import complementary_halves
from knowledge_recycling.membership.members import Membership
from knowledge_recycling.statistics.estimate import Estimate
from knowledge_recycling.statistics.rates import (
    auc_estimate,
    mean_interval,
    paired_difference,
    tpr_at_fpr_estimate,
)
from knowledge_recycling.statistics.two_way import pooled_estimates
from knowledge_recycling.storage.files import write_json

RESULT = common.RESULTS / "coverage.json"
DRAWS = 400
PIPELINES, RECORDS = 16, 200
Simulation = Callable[[np.random.Generator], Estimate]


def auc(rng: np.random.Generator) -> Estimate:
    """One target, 150 members and 150 non-members."""
    return auc_estimate(rng.normal(0.5, 1, 150), rng.normal(0, 1, 150))


def auc_of_patients(rng: np.random.Generator) -> Estimate:
    """The same with four dependent images of each of 60 patients a side."""
    groups = np.repeat(np.arange(60), 4)
    inside, outside = 0.8 * rng.normal(size=(2, 60))[:, groups] + 0.6 * rng.normal(size=(2, 240))
    return auc_estimate(inside + 0.5, outside, member_groups=groups, nonmember_groups=groups)


def tpr(rng: np.random.Generator) -> Estimate:
    """TPR at 5% FPR of one target, 400 records a side."""
    return tpr_at_fpr_estimate(rng.normal(1, 1, 400), rng.normal(0, 1, 400), 0.05)


def gap(rng: np.random.Generator) -> Estimate:
    """Paired difference of two classifiers on 200 images."""
    shared = rng.normal(size=200)
    return paired_difference(shared + rng.normal(1, 1, 200), shared, draws=DRAWS)


def mean_over_seeds(rng: np.random.Generator) -> Estimate:
    """Mean of three seeds."""
    return mean_interval(rng.normal(1, 1, 3))


def shadows(leak: float, statistic: str) -> Simulation:
    """The primary attack on simulated shadows, each pipeline once the target."""

    def simulate(rng: np.random.Generator) -> Estimate:
        labels = np.zeros(RECORDS, dtype=np.int64)
        halves = complementary_halves(labels, None, PIPELINES, int(rng.integers(2**31)))
        membership = Membership.of(halves)
        spread = np.exp(rng.normal(0, 0.4, RECORDS))
        shift = leak * rng.gamma(1.0, 1.0, RECORDS)
        noise = spread * rng.normal(size=halves.shape)
        phi = rng.normal(0, 3, RECORDS) + shift * halves + noise
        scores = signal_scores(phi, membership, attacks=(PRIMARY,))[PRIMARY]
        area, rates = pooled_estimates(scores, membership, fprs=(0.05,))
        return area if statistic == "auc" else rates[0.05]

    return simulate


INTERVALS: dict[str, tuple[Simulation, float | None]] = {
    "auc": (auc, float(stats.norm.cdf(0.5 / 2**0.5))),
    "auc_of_patients": (auc_of_patients, float(stats.norm.cdf(0.5 / 2**0.5))),
    "tpr_at_5%_fpr": (tpr, float(stats.norm.sf(stats.norm.isf(0.05) - 1))),
    "paired_gap": (gap, 1.0),
    "mean_over_seeds": (mean_over_seeds, 1.0),
    "shadows_auc_without_leak": (shadows(0.0, "auc"), 0.5),
    "shadows_auc_with_leak": (shadows(1.0, "auc"), None),
    "shadows_tpr_with_leak": (shadows(1.0, "tpr"), None),
}
"""Name -> simulation and truth; None: the mean over the repeats."""


def main() -> None:
    """Simulates all and writes the file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=1000)
    repeats = parser.parse_args().repeats
    code = common.commit()  # of the modules that are loaded now
    write_json(
        RESULT,
        {
            "intervals": {
                name: covered(simulate, truth, repeats)
                for name, (simulate, truth) in INTERVALS.items()
            },
            "large_audit": large_audit(),
            "draws": DRAWS,
            "command": "python -m benchmarks.coverage",
            "commit": code,
            "machine": common.processor(),
        },
    )


def covered(simulate: Simulation, truth: float | None, repeats: int) -> dict[str, float]:
    """Share of intervals that hold the truth, with its standard error."""
    found = [simulate(np.random.default_rng(seed)) for seed in range(repeats)]
    centre = float(np.mean([e.value for e in found])) if truth is None else truth
    share = float(np.mean([e.low <= centre <= e.high for e in found]))
    return {
        "coverage": share,
        "standard_error": round(float(np.sqrt(share * (1 - share) / repeats)), 4),
        "repeats": repeats,
        "truth": centre,
    }


def large_audit(records: int = 50_000, models: int = 64) -> dict[str, Any]:
    """Seconds of the processor that each attack takes to score 50,000 records under 64 models."""
    rng = np.random.default_rng(0)
    halves = complementary_halves(np.zeros(records, dtype=np.int64), None, models, 0)
    membership, phi = Membership.of(halves), rng.normal(size=halves.shape) + halves
    seconds = {}
    for name in ATTACKS:
        begin = time.process_time()
        signal_scores(phi, membership, attacks=(name,))
        seconds[name] = round(time.process_time() - begin, 2)
    return {"records": records, "models": models, "seconds": seconds}


if __name__ == "__main__":
    main()
