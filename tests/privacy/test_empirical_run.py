"""An audit of all that a private run releases, small; benchmarks/empirical.py has the attack.

The bound exceeds a kept promise with a probability under 1e-5; see `test_the_power_is_as_stated`.
"""

from __future__ import annotations

import pytest
from scipy import stats

from benchmarks.empirical import Records, bound, least_mu, released, worlds_of
from knowledge_recycling.privacy.noise import gaussian
from tests.privacy.adversarial import Floats
from tests.privacy.test_empirical import ALPHA, MU

RUNS, FEW = 400, 200
"""On each side; few serve where the fault is gross."""


@pytest.mark.parametrize("unit", ["image", "patient"])
def test_a_private_run_stays_under_its_promise_and_comes_near(unit: str) -> None:
    assert 0.3 * MU < least_mu(worlds_of(unit, MU), RUNS, ALPHA) <= MU


def a_quarter_of_the_noise(shape: tuple[int, ...], scale: float) -> Floats:
    return gaussian(shape, scale / 4)


def test_the_audit_finds_less_noise_than_is_stated() -> None:
    assert least_mu(worlds_of("image", MU, a_quarter_of_the_noise), FEW, ALPHA) > MU


def test_the_audit_finds_a_patient_who_was_clipped_by_the_image() -> None:
    without, with_patient = (Records.made(count, by_patient=False) for count in (0, 6))
    worlds = (lambda: released(without, MU)), (lambda: released(with_patient, MU))
    assert least_mu(worlds, FEW, ALPHA) > MU


@pytest.mark.parametrize(("runs", "apart", "least"), [(RUNS, 1.0, 0.3), (FEW, 4.0, 1.0)])
def test_the_power_is_as_stated(runs: int, apart: float, least: float) -> None:
    """The least that comes out where log ratios lie so far apart, but for a chance of 1e-3."""
    few = int(stats.binom.ppf(5e-4, runs, stats.norm.cdf(apart * MU / 2)))
    many = int(stats.binom.isf(5e-4, runs, stats.norm.sf(apart * MU / 2)))
    assert bound(many, few, runs, ALPHA) > least * MU
