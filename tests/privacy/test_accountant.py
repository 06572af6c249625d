from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import mpmath
import numpy as np
import pytest
from dp_accounting import GaussianDpEvent, NeighboringRelation, SelfComposedDpEvent
from dp_accounting.pld import PLDAccountant
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from knowledge_recycling.errors import KRError
from knowledge_recycling.privacy import accountant
from knowledge_recycling.privacy.accountant import compose, delta, epsilon, mu, sigma

EPSILONS = [0.01, 0.1, 1.0, 3.0, 8.0, 30.0, 100.0]
DELTAS = [1e-300, 1e-30, 1e-10, 1e-5, 1e-2, 0.5]


def exact_delta(eps: float, m: float) -> mpmath.mpf:
    """The formula in 60 digits."""
    with mpmath.workdps(60):
        e, g = mpmath.mpf(eps), mpmath.mpf(m)
        return mpmath.ncdf(-e / g + g / 2) - mpmath.exp(e) * mpmath.ncdf(-e / g - g / 2)


@pytest.mark.parametrize("releases", [1, 150])
@pytest.mark.parametrize("total", [0.1, 0.7, 2.5])
def test_equals_the_privacy_loss_distributions_of_dp_accounting(
    total: float, releases: int
) -> None:
    noise = sigma(1.0, total, releases=releases)
    oracle = PLDAccountant(NeighboringRelation.ADD_OR_REMOVE_ONE)
    oracle.compose(SelfComposedDpEvent(GaussianDpEvent(noise), releases))
    ours = compose([1 / noise] * releases)
    assert ours == pytest.approx(total, rel=1e-12)
    for d in (1e-7, 1e-5, 1e-3):
        # The oracle rounds each loss up to its grid of 1e-4 (150 times at most).
        assert epsilon(d, ours) == pytest.approx(oracle.get_epsilon(d), abs=1e-3)
        assert delta(oracle.get_epsilon(d), ours) == pytest.approx(d, rel=1e-2)


def test_unequal_releases_equal_dp_accounting() -> None:
    mus = [0.1, 0.4, 0.7]
    oracle = PLDAccountant(NeighboringRelation.ADD_OR_REMOVE_ONE)
    for m in mus:
        oracle.compose(GaussianDpEvent(1 / m))
    assert epsilon(1e-5, compose(mus)) == pytest.approx(oracle.get_epsilon(1e-5), abs=1e-3)


@pytest.mark.parametrize("d", DELTAS)
@pytest.mark.parametrize("eps", EPSILONS)
def test_mu_is_the_largest_that_keeps_the_promise(eps: float, d: float) -> None:
    m = mu(eps, d)
    assert exact_delta(eps, m) <= d
    assert exact_delta(eps, m * (1 + 1e-9)) > d
    assert epsilon(d, m) == pytest.approx(eps, rel=1e-8)


@pytest.mark.parametrize("d", DELTAS)
@pytest.mark.parametrize("m", [1e-3, 0.03, 0.3, 1.0, 5.0, 40.0])
def test_epsilon_is_the_smallest_that_can_be_promised(m: float, d: float) -> None:
    eps = epsilon(d, m)
    assert exact_delta(eps, m) <= d
    assert eps == 0 or exact_delta(eps * (1 - 1e-6) - 1e-12, m) > d
    if eps > accountant.LEAST_EPSILON:
        assert mu(eps, d) == pytest.approx(m, rel=1e-6)


@given(st.floats(0.0, 50.0), st.floats(1e-3, 20.0))
def test_delta_equals_the_formula(eps: float, m: float) -> None:
    expected = float(exact_delta(eps, m))
    assert delta(eps, m) == pytest.approx(expected, rel=1e-9, abs=1e-300)


@given(st.floats(0.01, 30.0), st.floats(0.01, 10.0))
def test_more_noise_or_more_epsilon_promises_more(eps: float, m: float) -> None:
    assert delta(eps, m) <= delta(eps, 1.1 * m)
    assert delta(1.1 * eps, m) <= delta(eps, m)
    assert epsilon(1e-5, m) <= epsilon(1e-5, 1.1 * m)
    assert epsilon(1e-4, m) <= epsilon(1e-5, m)


def test_ends() -> None:
    # At epsilon 0, delta is the total variation between N(0, 1) and N(mu, 1).
    assert delta(0.0, 1.0) == pytest.approx(2 * stats.norm.cdf(0.5) - 1)
    assert delta(1.0, 0.0) == 0.0
    assert epsilon(1e-5, 0.0) == 0.0
    assert epsilon(0.5, 0.1) == 0.0, "delta alone allows it"
    assert epsilon(1e-5, math.inf) == math.inf


@given(st.lists(st.floats(0, 100), max_size=20))
def test_compose_adds_up_squares(mus: list[float]) -> None:
    assert compose(mus) == pytest.approx(np.linalg.norm(mus))
    assert compose([compose(mus[:3]), *mus[3:]]) == pytest.approx(compose(mus))
    assert compose([*mus, math.inf]) == math.inf


@given(st.floats(1e-3, 1e3), st.floats(1e-2, 10), st.floats(1e-3, 1), st.integers(1, 500))
def test_sigma_spends_its_share(sensitivity: float, m: float, share: float, releases: int) -> None:
    each = sensitivity / sigma(sensitivity, m, share, releases)
    assert compose([each] * releases) ** 2 == pytest.approx(share * m**2)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: delta(-1.0, 1.0), "epsilon: -1.0 is not a number of at least 0"),
        (lambda: delta(1.0, math.nan), "mu: nan is not a number of at least 0"),
        (lambda: epsilon(0.0, 1.0), "delta: 0.0 is not between 0 and 1"),
        (lambda: epsilon(1e-5, -1.0), "mu: -1.0 is not a number of at least 0"),
        (lambda: mu(0.0, 1e-5), "epsilon: 0.0 is not a number of at least 0.001"),
        (lambda: mu(math.inf, 1e-5), "epsilon: inf is not a number of at least 0.001"),
        (lambda: mu(1.0, 1.0), "delta: 1.0 is not between 0 and 1"),
        (lambda: compose([1.0, -1.0]), "mu: expected numbers of at least 0"),
        (lambda: compose([math.nan]), "mu: expected numbers of at least 0"),
        (lambda: sigma(1.0, 1.0, 1.5), "sigma: expected a sensitivity and a mu above 0"),
        (lambda: sigma(1.0, 0.0), "sigma: expected a sensitivity and a mu above 0"),
        (lambda: sigma(1.0, 1.0, 1.0, 0), "at least one release"),
    ],
)
def test_errors_say_what_is_wrong(call: Callable[[], object], message: str) -> None:
    with pytest.raises(KRError, match=message):
        call()


def test_the_table_of_the_docs_is_right() -> None:
    page = (Path(__file__).parents[2] / "docs" / "private.md").read_text()
    table = page[page.index("| epsilon |") :].splitlines()
    rows = [line.strip("| ").split(" | ") for line in table if line.startswith("| ")]
    assert [row[0] for row in rows] == ["epsilon", "0.5", "1", "3", "8"]
    for eps, *found in rows[1:]:
        m = mu(float(eps), 1e-5)
        tpr = stats.norm.cdf(stats.norm.ppf(0.01) + m)
        auc = stats.norm.cdf(m / math.sqrt(2))
        assert found == [
            f"{math.exp(float(eps)):,.1f}",
            f"{m:.3f}",
            f"{tpr:.1%}",
            f"{auc:.3f}",
        ]
