"""Simulates how often the intervals of AUC and TPR hold the truth, beside a bootstrap's.

    python -m benchmarks.intervals [--workers 2]

Writes benchmarks/results/intervals.json and docs/results/intervals.md. The same simulated audits
go through both. The bootstrap is the percentile one that the audit had before: units of each side
drawn apart for one target; records and pipelines drawn with replacement for shadows, the draws
pulled towards the estimate by sqrt(V / V_boot). The truth of an attack on simulated shadows has no
formula: it is the mean over the repeats.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri

from benchmarks import common
from knowledge_recycling.arrays import Floats
from knowledge_recycling.auditing.auditor import signal_scores
from knowledge_recycling.membership.members import Membership
from knowledge_recycling.statistics.bootstrap import draw_weights
from knowledge_recycling.statistics.estimate import ALPHA, LEAST_UNITS, Estimate
from knowledge_recycling.statistics.roc import Roc
from knowledge_recycling.statistics.two_way import Trials, auc_of, tpr_of
from knowledge_recycling.storage.files import write_bytes, write_json

RESULT = common.RESULTS / "intervals.json"
TABLE = common.DOCS / "intervals.md"
Singles = NDArray[np.float32]
DRAWS = 400
PER_PATIENT = 4
SHIFTS = {0.5: 0.0, 0.6: 0.3583, 0.75: 0.9539, 0.95: 2.3262, 0.99: 3.2899}
"""AUC of one target -> distance of the two normal distributions."""
LEAKS = (0.0, 1.0, 6.0)
"""Mean shift of a record's signal when it is in, in standard deviations of its noise."""


@dataclass(frozen=True)
class Cell:
    """One kind of audit: K pipelines (1: a single target), units of a side or of the pool."""

    pipelines: int
    units: int
    grouped: bool
    leak: float
    fpr: float | None = None
    """None: the AUC, else the TPR there."""
    repeats: int = 400

    def trials(self, rng: Generator) -> Trials:
        """Scores of one simulated audit."""
        return self._target(rng) if self.pipelines == 1 else self._shadows(rng)

    def truth(self) -> float | None:
        """Where a formula says it."""
        if self.pipelines == 1:
            shift = SHIFTS[self.leak]
            return self.leak if self.fpr is None else float(ndtr(ndtri(self.fpr) + shift))
        return None if self.leak else self.fpr or 0.5

    def _target(self, rng: Generator) -> Trials:
        patient = np.repeat(np.arange(2 * self.units), PER_PATIENT if self.grouped else 1)
        scores = rng.normal(size=patient.size)
        if self.grouped:
            scores = 0.8 * rng.normal(size=2 * self.units)[patient] + 0.6 * scores
        member = patient < self.units
        return Trials((scores + SHIFTS[self.leak] * member)[None], member[None], patient)

    def _shadows(self, rng: Generator) -> Trials:
        patient = np.repeat(np.arange(self.units), PER_PATIENT if self.grouped else 1)
        half = rng.random((self.pipelines // 2, self.units)).argsort(axis=1) < self.units // 2
        mask = np.concatenate([half, ~half])[:, patient]
        membership = Membership(
            mask, np.roll(np.arange(self.pipelines), self.pipelines // 2), patient
        )
        noise = rng.normal(size=mask.shape)
        if self.grouped:
            noise = 0.8 * rng.normal(size=(self.pipelines, self.units))[:, patient] + 0.6 * noise
        spread = np.exp(rng.normal(0, 0.4, self.units))[patient]
        shift = self.leak * rng.gamma(1.0, 1.0, self.units)[patient]
        # Four pipelines leave two shadows: too few for a variance, so signals are taken as scores.
        few = self.pipelines == 4
        centre = rng.normal(0, 1 if few else 3, self.units)[patient]
        attack = "threshold" if few else "shrunken_t"
        phi = centre + shift * mask + spread * noise
        return Trials.of(signal_scores(phi, membership, attacks=(attack,))[attack], membership)


def cells() -> Iterator[Cell]:
    """All that are simulated."""
    for auc in SHIFTS:
        for units in (5, 10, 30, 150, 1000):
            yield Cell(1, units, False, auc)
        for units in (5, 10, 20, 60):
            yield Cell(1, units, True, auc)
        yield Cell(1, 500, False, auc, 0.01)
        yield Cell(1, 1500, False, auc, 0.01)
        yield Cell(1, 200, True, auc, 0.01)
        if auc < 0.9:
            yield Cell(1, 10_000, False, auc, 0.001, 100)
    for pipelines in (4, 8, 16):
        for leak in LEAKS:
            for units, grouped in ((16, True), (60, True), (200, False)):
                yield Cell(pipelines, units, grouped, leak)
            yield Cell(pipelines, 60, True, leak, 0.05)
            yield Cell(pipelines, 200, False, leak, 0.05)


def simulate(cell: Cell) -> dict[str, Any]:
    """Coverage and mean width of both intervals."""
    values, ends = [], []
    for seed in range(cell.repeats):
        trials = cell.trials(np.random.default_rng(seed))
        roc = Roc.of(trials.scores, trials.member)
        ours = auc_of(trials, roc) if cell.fpr is None else tpr_of(trials, roc, cell.fpr)
        other = bootstrap(trials, roc, cell.fpr, np.random.default_rng([seed, 1]))
        values.append(ours.value)
        ends.append([(e.low, e.high) for e in (ours, other)])
    known = cell.truth()
    truth = float(np.mean(values)) if known is None else known
    low, high = np.moveaxis(np.array(ends), -1, 0)
    held = (low <= truth) & (truth <= high)
    differ = float(np.sqrt((held[:, 0] != held[:, 1]).sum()) / cell.repeats)
    return {
        **vars(cell),
        "truth": round(truth, 5),
        "influence": {"coverage": held[:, 0].mean(), "width": (high - low)[:, 0].mean().round(5)},
        "bootstrap": {"coverage": held[:, 1].mean(), "width": (high - low)[:, 1].mean().round(5)},
        "standard_error_of_difference": round(differ, 4),
    }


def bootstrap(trials: Trials, roc: Roc, fpr: float | None, rng: Generator) -> Estimate:
    """The percentile bootstrap, for scores without ties."""
    value = roc.auc if fpr is None else roc.tpr(fpr)
    if trials.units < LEAST_UNITS:
        return Estimate(value, 0.0, 1.0)
    order = np.argsort(trials.scores, axis=None)
    member = trials.member.ravel()[order].astype(np.float32)
    drawn = [_statistic(weights, member, fpr) for weights in _weights(trials, order, rng)]
    pulled = value + (np.concatenate(drawn) - value) * _pull(trials, roc, fpr)
    low, high = np.nanquantile(np.clip(pulled, 0, 1), [ALPHA / 2, 1 - ALPHA / 2])
    edge = (ALPHA / 2) ** (1 / trials.units)
    low = min(low, edge) if value >= 1 else low
    high = max(high, 1 - edge) if value <= 0 else high
    return Estimate(value, min(low, value), max(high, value))


def _weights(trials: Trials, order: NDArray[np.intp], rng: Generator) -> Iterator[Singles]:
    """How often each draw holds each trial, in the order of score, some draws at a time."""
    pipelines, units = len(trials.scores), int(trials.cluster.max()) + 1
    row, record = np.divmod(order, trials.cluster.size)
    unit = trials.cluster[record]
    step = max(1, 500_000 // order.size)
    for begin in range(0, DRAWS, step):
        n = min(step, DRAWS - begin)
        if pipelines == 1:  # half of the units are members, and are drawn apart
            yield _drawn(rng, 2 * n, units // 2).reshape(n, units)[:, unit]
        else:
            yield _drawn(rng, n, units)[:, unit] * _drawn(rng, n, pipelines)[:, row]


def _drawn(rng: Generator, draws: int, units: int) -> Singles:
    """How often each unit is drawn with replacement, (draws, units)."""
    return draw_weights(rng, draws, units).astype(np.float32)


def _statistic(weights: Singles, member: Singles, fpr: float | None) -> Floats:
    """AUC or TPR of each row of weights, scores rising; NaN where a draw lacks a side."""
    positive = weights * member
    negative = weights - positive
    members, nonmembers = positive.sum(axis=1), negative.sum(axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        below = np.cumsum(negative, axis=1)
        if fpr is None:
            pairs = np.einsum("dt,dt->d", positive, below, dtype=np.float64)
            return np.asarray(pairs / members / nonmembers)
        allowed = fpr * nonmembers.astype(np.float64) * (1 + 1e-12)
        over = nonmembers[:, None] - below <= allowed[:, None]
        # The non-member trial at the threshold itself is out; members below it are not over it.
        first = over.argmax(axis=1) + 1
        hits = members - np.cumsum(positive, axis=1)[np.arange(len(first)), first - 1]
        return np.where(nonmembers > 0, hits / members, np.nan)


def _pull(trials: Trials, roc: Roc, fpr: float | None) -> float:
    """sqrt(V / V_boot), V / V_boot at least 1/2."""
    if len(trials.scores) == 1:
        return 1.0
    influence = roc.auc_influence()
    if fpr is not None:
        place, more, less = roc.threshold(fpr), 1.5 * fpr, 0.5 * fpr
        slope = (roc.tpr(more) - roc.tpr(less)) / (more - less)
        influence = roc.rate_influence(place, True) - slope * roc.rate_influence(place, False)
    cells_ = np.stack([np.bincount(trials.cluster, row) for row in influence])
    drawn = sum(float((part**2).sum()) for part in (cells_, cells_.sum(axis=0), cells_.sum(axis=1)))
    return float(np.sqrt(max(trials.variance(influence) / drawn, 0.5))) if drawn > 0 else 1.0


def table() -> str:
    """A row per kind of audit: the least and the mean coverage over its leaks, and the widths."""
    found = json.loads(RESULT.read_text())["cells"]
    kinds: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
    for cell in found:
        key = cell["fpr"] or 0, cell["pipelines"], cell["grouped"], cell["units"]
        kinds.setdefault(key, []).append(cell)
    rows = [
        "| figure | pipelines | units | coverage, least | bootstrap's | mean | bootstrap's "
        "| width by the bootstrap's |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for (fpr, pipelines, grouped, units), group in sorted(kinds.items()):
        figure = f"TPR at {fpr:.1%} FPR" if fpr else "attack AUC"
        whose = f"{units:,} {'patients' if grouped else 'records'}"
        shares = [[c[m]["coverage"] for c in group] for m in ("influence", "bootstrap")]
        wide = np.mean([c["influence"]["width"] / c["bootstrap"]["width"] for c in group])
        numbers = [f"{f(s):.1%}" for f in (min, np.mean) for s in shares]
        rows.append(f"| {figure} | {pipelines} | {whose} | {' | '.join(numbers)} | {wide:.2f} |")
    return "\n".join(rows) + "\n"


def main() -> None:
    """Simulates all cells, writes the file and the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--table", action="store_true", help="only write the table")
    arguments = parser.parse_args()
    if not arguments.table:
        code = common.commit()
        with ProcessPoolExecutor(arguments.workers) as pool:
            found = list(pool.map(simulate, cells()))
        about = {
            "cells": found,
            "draws": DRAWS,
            "command": "python -m benchmarks.intervals",
            "commit": code,
            "machine": common.processor(),
        }
        write_json(RESULT, about)
    write_bytes(TABLE, f"# Intervals\n\n{table()}".encode())


if __name__ == "__main__":
    main()
