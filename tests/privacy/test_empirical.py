"""An audit of the mechanisms: many runs with and without a worst-case canary.

The attack is a threshold on the released number, fixed beforehand; TPR and FPR are bounded by
Clopper and Pearson. Two lower bounds follow. One holds for any mechanism:
eps >= ln((TPR - delta) / FPR), but at a delta of 1e-5 it needs millions of runs, so it is taken at
delta 0.05. The other holds for mu-GDP mechanisms, mu >= Phi^-1(TPR) - Phi^-1(FPR), and gives
epsilon at any delta. One mu is audited: it promises epsilon 3 at delta 0.05 and 7.2 at 1e-5.

Power (`test_the_power_is_as_stated`): each bound comes out above half of the promise with a
probability over 0.999. It exceeds the promise of a right mechanism with a probability under 1e-5.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
from scipy import stats

from knowledge_recycling.privacy import accountant
from knowledge_recycling.privacy.clipping import Units
from knowledge_recycling.privacy.mechanisms import noisy_counts, noisy_mean, noisy_sum
from knowledge_recycling.privacy.noise import NoiseSource, gaussian
from tests.privacy.adversarial import Floats

RUNS = 4_000
"""On each side."""
ALPHA = 1e-5
DELTA = 0.05
MU = accountant.mu(3.0, DELTA)
THRESHOLDS = {"gaussian": MU / 2, "plain": 2.0}
"""In standard deviations of the noise, for each bound: about where it is best."""
IMAGES = 20
"""Of the canary patient."""

# The released number of one run, with the canary or without.
Release = Callable[[bool, float, NoiseSource], float]


def sum_image(canary: bool, mu: float, noise: NoiseSource) -> float:
    """The canary alone has a value in this direction: 1,000, to be clipped to 2."""
    rows = np.array([[0.0], [1000.0]] if canary else [[0.0]])
    return float(noisy_sum(rows, 2.0, Units(), mu, noise)[0] / 2)


def sum_patient(canary: bool, mu: float, noise: NoiseSource) -> float:
    rows = np.array([[0.0]] + [[1000.0]] * IMAGES * canary)
    units = Units("patient", np.array([0] + [1] * IMAGES * canary))
    return float(noisy_sum(rows, 2.0, units, mu, noise)[0] / 2)


def counts_image(canary: bool, mu: float, noise: NoiseSource) -> float:
    labels = np.array([0, 1] if canary else [0])
    return float(noisy_counts(labels, 2, Units(), mu, noise)[1])


def counts_patient(canary: bool, mu: float, noise: NoiseSource) -> float:
    labels = np.array([0] + [1] * IMAGES * canary)
    units = Units("patient", labels)
    return float(noisy_counts(labels, 2, units, mu, noise, clip=4.0)[1] / 4)


def mean_image(canary: bool, mu: float, noise: NoiseSource) -> float:
    """The number of images in a mean is noisy too, so that this canary is not the worst case."""
    rows = np.array([[0.0], [1000.0]] if canary else [[0.0]])
    return float(noisy_mean(rows, 2.0, Units(), mu, noise)[0])


def half_the_noise(shape: tuple[int, ...], scale: float) -> Floats:
    return gaussian(shape, scale / 2)


def wrong_unit(canary: bool, mu: float, noise: NoiseSource) -> float:
    """A patient with three images whose sum is not clipped."""
    rows = np.array([[0.0]] + [[1000.0]] * 3 * canary)
    return float(noisy_sum(rows, 2.0, Units(), mu, noise)[0] / 2)


def released(release: Release, noise: NoiseSource = gaussian) -> list[Floats]:
    """RUNS numbers with the canary and RUNS without, in standard deviations of the noise."""
    return [
        np.array([MU * release(canary, MU, noise) for _ in range(RUNS)]) for canary in (True, False)
    ]


def ends(hits: int, false_alarms: int) -> tuple[float, float]:
    """Lower end of the TPR and upper end of the FPR, wrong with probability ALPHA at most."""
    tpr, fpr = (stats.binomtest(k, RUNS).proportion_ci(1 - ALPHA) for k in (hits, false_alarms))
    return float(tpr.low), float(fpr.high)


def gaussian_bound(tpr: float, fpr: float) -> float:
    """Lower bound of mu."""
    return float(stats.norm.isf(fpr) - stats.norm.isf(tpr))


def plain_bound(tpr: float, fpr: float) -> float:
    """Lower bound of epsilon at DELTA."""
    return math.log(max(tpr - DELTA, 1e-300) / fpr)


def bounds(runs: list[Floats], thresholds: dict[str, float]) -> tuple[float, float]:
    """Lower bounds of mu, and of epsilon at DELTA."""
    hits = {name: [int((side > t).sum()) for side in runs] for name, t in thresholds.items()}
    return gaussian_bound(*ends(*hits["gaussian"])), plain_bound(*ends(*hits["plain"]))


@pytest.mark.parametrize("release", [sum_image, sum_patient, counts_image, counts_patient])
def test_the_bounds_stay_under_the_promise_and_come_near(release: Release) -> None:
    mu, epsilon = bounds(released(release), THRESHOLDS)
    assert 0.75 * MU < mu <= MU
    assert 0.5 * 7.2 < accountant.epsilon(1e-5, mu) < 7.3
    assert 1.5 < epsilon <= 3.0


def test_the_mean_stays_under_the_promise() -> None:
    mu, epsilon = bounds(released(mean_image), {"gaussian": 0.0, "plain": 1.0})
    assert 0.1 < mu <= MU, "under 0.1 the attack would be blind"
    assert epsilon <= 3.0


@pytest.mark.parametrize(
    ("release", "noise", "threshold"),
    [(sum_image, half_the_noise, 1.2), (wrong_unit, gaussian, 2.5)],
)
def test_the_audit_finds_a_broken_mechanism(
    release: Release, noise: NoiseSource, threshold: float
) -> None:
    mu, epsilon = bounds(released(release, noise), {"gaussian": threshold, "plain": threshold})
    assert mu > 1.3 * MU
    assert epsilon > 3.0


def test_the_power_is_as_stated() -> None:
    """The least that comes out, but for a chance of 1e-3, by the binomial distribution."""
    for name, bound, least in (
        ("gaussian", gaussian_bound, 0.75 * MU),
        ("plain", plain_bound, 1.5),
    ):
        chances = [float(stats.norm.sf(THRESHOLDS[name] - mean)) for mean in (MU, 0.0)]
        few = int(stats.binom.ppf(5e-4, RUNS, chances[0]))
        many = int(stats.binom.isf(5e-4, RUNS, chances[1]))
        assert bound(*ends(few, many)) > least
    assert accountant.epsilon(1e-5, MU) == pytest.approx(7.2, abs=0.05)
    assert accountant.epsilon(1e-5, 0.75 * MU) > 7.2 / 2
