"""Audits all that a private run releases: many runs with and without a worst-case canary.

    python -m benchmarks.empirical [--runs 1000]

The attack is the best there is. It knows every record but the canary and sees every released value,
so it takes the likelihood ratio of the whole transcript: with values v, and totals m0 and m1
without and with the canary,

    log ratio = sum (v - m0).(m1 - m0) / scale^2 - |m1 - m0|^2 / (2 scale^2).

Where the canary moves each total by its whole sensitivity, the ratio is N(+-mu^2 / 2, mu^2). With a
threshold of 0, mu >= Phi^-1(TPR) - Phi^-1(FPR), each bounded by Clopper and Pearson; mu gives
epsilon at the run's delta. The set is small, for the promise is the same for every size of set.

Writes benchmarks/results/empirical.json and docs/results/empirical.md.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from benchmarks import common
from knowledge_recycling.arrays import Floats
from knowledge_recycling.artefacts.guarantee import SHARES
from knowledge_recycling.classifiers import private
from knowledge_recycling.generators import moments
from knowledge_recycling.privacy import accountant, mechanisms
from knowledge_recycling.privacy.clipping import Units
from knowledge_recycling.privacy.mechanisms import Budget, gaussian_mechanism, noise_scale
from knowledge_recycling.privacy.noise import NoiseSource, gaussian
from knowledge_recycling.storage.files import read_json, write_bytes, write_json

RESULT = common.RESULTS / "empirical.json"
TABLE = common.DOCS / "empirical.md"
EPSILONS = (1.0, 3.0, 8.0)
DELTA = 1e-5
ALPHA = 0.05
OTHERS = 6
CANARY_IMAGES = {"image": 1, "patient": 20}
SIDE = 4

World = Callable[[], None]
"""One run, without or with the canary."""


@dataclass(frozen=True)
class Records:
    """A small set: the canary, where it is there, comes last."""

    z: NDArray[np.float32]
    images: np.ndarray
    labels: np.ndarray
    units: Units

    @classmethod
    def made(cls, canary: int, by_patient: bool) -> Records:
        """All others say class 1 of the canary's features, so that its gradient stays large."""
        n = OTHERS + canary
        images = np.full((n, SIDE, SIDE, 1), 128, np.uint8)
        images[OTHERS:] = 255
        patients = np.array([*range(OTHERS), *[OTHERS] * canary])
        return cls(
            z=np.tile(np.array([[1, 0, 0]], np.float32), (n, 1)),
            images=images,
            labels=np.array([1] * OTHERS + [0] * canary),
            units=Units("patient", patients) if by_patient else Units(),
        )


def released(of: Records, mu: float, noise: NoiseSource = gaussian) -> None:
    """All that a private run releases: counts, centre and head, and the Generator's moments."""
    found = private.release(
        lambda block: of.z,
        of.labels,
        2,
        units=of.units,
        budget=Budget(mu, SHARES["teacher"]),
        noise=noise,
    )
    spent = Budget(mu, SHARES["generator"]).spend("moments")
    moments.fit(of.images, of.labels, found.counts, units=of.units, mu=spent, noise=noise)


class Transcript:
    """Stands for `gaussian_mechanism`: keeps totals and scales, and draws or repeats values."""

    def __init__(self, values: list[Floats] | None = None) -> None:
        self.values: list[Floats] = []
        self.totals: list[Floats] = []
        self.scales: list[float] = []
        self._repeated = None if values is None else iter(values)

    def __call__(
        self, total: ArrayLike, sensitivity: float, mu: float, noise: NoiseSource
    ) -> Floats:
        """Releases a total, or repeats the next value."""
        repeated = self._repeated
        value = next(repeated) if repeated else gaussian_mechanism(total, sensitivity, mu, noise)
        self.values.append(value)
        self.totals.append(np.asarray(total, np.float64))
        self.scales.append(noise_scale(sensitivity, mu, np.size(total)))
        return value

    @contextmanager
    def listening(self) -> Iterator[None]:
        """While every release of the package goes through this object."""
        mechanisms.gaussian_mechanism = self
        try:
            yield
        finally:
            mechanisms.gaussian_mechanism = gaussian_mechanism


def log_ratio(worlds: tuple[World, World], inside: bool) -> float:
    """Runs the world without (or with) the canary, repeats its values in the other, compares."""
    seen = Transcript()
    with seen.listening():
        worlds[inside]()
    other = Transcript(seen.values)
    with other.listening():
        worlds[not inside]()
    without, with_canary = (other, seen) if inside else (seen, other)
    ratio = 0.0
    for value, m0, m1, scale in zip(
        seen.values, without.totals, with_canary.totals, seen.scales, strict=True
    ):
        apart = m1 - m0
        ratio += float(((value - m0) * apart).sum() - (apart**2).sum() / 2) / scale**2
    return ratio


def least_mu(worlds: tuple[World, World], runs: int, alpha: float = ALPHA) -> float:
    """Lower bound of mu from `runs` runs of each world, wrong with probability alpha at most."""
    false_alarms, hits = (
        sum(log_ratio(worlds, inside) > 0 for _ in range(runs)) for inside in (False, True)
    )
    return bound(false_alarms, hits, runs, alpha)


def bound(false_alarms: int, hits: int, runs: int, alpha: float) -> float:
    """Least mu: Phi^-1(TPR) - Phi^-1(FPR), with the ends of their intervals that are against it."""
    fpr, tpr = (stats.binomtest(k, runs).proportion_ci(1 - alpha) for k in (false_alarms, hits))
    return float(stats.norm.isf(fpr.high) - stats.norm.isf(tpr.low))


def worlds_of(unit: str, mu: float, noise: NoiseSource = gaussian) -> tuple[World, World]:
    """A run without the canary image or patient, and one with it."""
    without, with_canary = (
        Records.made(count, unit == "patient") for count in (0, CANARY_IMAGES[unit])
    )
    return (lambda: released(without, mu, noise)), (lambda: released(with_canary, mu, noise))


def cell(epsilon: float, unit: str, runs: int) -> dict[str, Any]:
    """What the attack proves at one epsilon."""
    begin = time.monotonic()
    found = least_mu(worlds_of(unit, accountant.mu(epsilon, DELTA)), runs)
    return {
        "epsilon": epsilon,
        "unit": unit,
        "at_least": round(accountant.epsilon(DELTA, max(found, 1e-6)), 3),
        "mu": round(accountant.mu(epsilon, DELTA), 4),
        "mu_at_least": round(found, 4),
        "seconds": round(time.monotonic() - begin, 1),
    }


def table(found: dict[str, Any]) -> str:
    """Markdown of the result file."""
    rows = ["| formal epsilon | canary | the attack proves at least |", "|---|---|---|"]
    for of in found["cells"]:
        who = of["unit"] if of["unit"] == "image" else f"patient, {CANARY_IMAGES['patient']} images"
        rows.append(f"| {of['epsilon']:g} | {who} | {of['at_least']:.2f} |")
    return "\n".join(rows) + "\n"


def main() -> None:
    """Runs all cells and writes the result file and the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=1000, help="of each side of each cell")
    parser.add_argument("--table", action="store_true", help="only write the page")
    arguments = parser.parse_args()
    if not arguments.table:
        about = {"delta": DELTA, "alpha": ALPHA, "runs": arguments.runs, "others": OTHERS}
        about |= {"machine": common.processor(), "commit": common.commit()}
        cells = [cell(e, unit, arguments.runs) for e in EPSILONS for unit in CANARY_IMAGES]
        write_json(RESULT, {"command": "python -m benchmarks.empirical", **about, "cells": cells})
    found = read_json(RESULT)
    page = (
        "# What a worst-case attack proves\n\n"
        f"{found['runs']:,} private runs with and as many without a canary, on small sets made for "
        f"it, at delta {found['delta']:g}. The attack sees every released value (benchmarks/"
        "empirical.py); each bound is too high with a probability of at most "
        f"{found['alpha']:g}.\n\n{table(found)}"
    )
    write_bytes(TABLE, page.encode())
    sys.stdout.write(page)


if __name__ == "__main__":
    main()
