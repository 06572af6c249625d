from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
from scipy import stats

from knowledge_recycling.errors import KRError
from knowledge_recycling.statistics.binomial import clopper_pearson, power_statement, proportion
from knowledge_recycling.statistics.epsilon import (
    epsilon_bound,
    one_run_bound,
    one_run_epsilon,
    one_run_p_value,
)


@pytest.mark.parametrize(("successes", "trials"), [(0, 7), (7, 7), (1, 400), (37, 120)])
def test_clopper_pearson_equals_scipy(successes: int, trials: int) -> None:
    exact = stats.binomtest(successes, trials).proportion_ci(0.95, "exact")
    found = clopper_pearson(successes, trials)
    assert found.value == successes / trials
    assert found.low == pytest.approx(exact.low, abs=1e-9)
    assert found.high == pytest.approx(exact.high, abs=1e-9)


def test_a_proportion_has_the_exact_interval_and_takes_groups() -> None:
    assert proportion([1, 1]) == clopper_pearson(2, 2)
    assert proportion([0, 0]) == clopper_pearson(0, 2)
    assert proportion([1, 0, 1]) == clopper_pearson(2, 3)
    # Ten copies of each of 40 hold the information of 40.
    hits = np.repeat(np.arange(40) % 4 > 0, 10)
    copies = proportion(hits, np.repeat(np.arange(40), 10))
    assert copies.low == pytest.approx(clopper_pearson(30, 40).low, abs=0.01)
    assert proportion(np.ones(100), np.repeat([0, 1], 50)) == clopper_pearson(2, 2)


def test_a_grouped_proportion_covers() -> None:
    covered = []
    for seed in range(300):
        rng = np.random.default_rng(seed)
        own = rng.beta(4, 1, 30)  # a patient's own rate, 0.8 on average
        groups = np.repeat(np.arange(30), 6)
        found = proportion(rng.random(180) < own[groups], groups)
        covered.append(found.low <= 0.8 <= found.high)
    # Binomial(300, 0.95): three standard deviations of 1.26 points; exact ones are wider.
    assert np.mean(covered) >= 0.95 - 0.038


@pytest.mark.parametrize("p", [0.01, 0.1, 0.5])
def test_clopper_pearson_covers_by_enumeration(p: float) -> None:
    counts = np.arange(61)
    inside = [e.low <= p <= e.high for e in (clopper_pearson(int(k), 60) for k in counts)]
    # Exact, not simulated: the guarantee is at least 95%.
    assert stats.binom.pmf(counts, 60, p)[inside].sum() >= 0.95


def test_epsilon_bound_is_the_formula_and_never_negative() -> None:
    assert epsilon_bound(0.3, 0.02, 0.01) == pytest.approx(math.log(0.29 / 0.02))
    assert epsilon_bound(0.01, 0.02) == 0.0
    assert epsilon_bound(0.01, 0.02, delta=0.05) == 0.0


def naive_p_value(epsilon: float, delta: float, v: int, r: int, m: int) -> float:
    q = math.exp(epsilon) / (1 + math.exp(epsilon))
    pmf = [math.comb(r, k) * q**k * (1 - q) ** (r - k) for k in range(r + 1)]
    alpha = max((sum(pmf[v - i : v]) / i for i in range(1, v + 1)), default=0.0)
    return min(1.0, sum(pmf[v:]) + 2 * m * delta * alpha)


@pytest.mark.parametrize("delta", [0.0, 1e-5, 1e-2])
@pytest.mark.parametrize(("v", "r", "m"), [(0, 5, 5), (5, 5, 9), (18, 25, 60), (40, 50, 50)])
def test_one_run_p_value_equals_the_theorem_term_by_term(
    delta: float, v: int, r: int, m: int
) -> None:
    for epsilon in (0.0, 0.3, 2.0):
        expected = naive_p_value(epsilon, delta, v, r, m)
        assert one_run_p_value(epsilon, delta, v, r, m) == pytest.approx(expected, abs=1e-9)


def test_one_run_bound_is_where_the_p_value_crosses() -> None:
    # All of r guesses right and delta = 0: q^r = 0.05 in closed form.
    for r in (5, 50, 1000):
        q = 0.05 ** (1 / r)
        assert one_run_bound(r, r, r) == pytest.approx(math.log(q / (1 - q)), abs=1e-6)
    bound = one_run_bound(80, 100, 1000, delta=1e-6)
    assert one_run_p_value(bound, 1e-6, 80, 100, 1000) == pytest.approx(0.05, abs=1e-6)
    assert one_run_bound(80, 100, 1000, delta=1e-3) < bound < one_run_bound(80, 100, 1000)
    assert one_run_bound(50, 100, 100) == 0.0


def test_one_run_bound_holds_for_randomised_response() -> None:
    # Randomised response is exactly epsilon-private, and the bound is tight on it.
    epsilon, rng = 1.0, np.random.default_rng(0)
    q = 1 / (1 + math.exp(-epsilon))
    correct = rng.binomial(100, q, 400)
    bound_of = {v: one_run_bound(int(v), 100, 100) for v in np.unique(correct)}
    bounds = np.array([bound_of[v] for v in correct])
    # 5% by the theorem; three standard deviations of Binomial(400, 0.05) allow 8.3%.
    assert (bounds > epsilon).mean() <= 0.083
    assert np.median(bounds) > 0.5


def test_one_run_epsilon_from_scores() -> None:
    rng = np.random.default_rng(0)
    member = rng.random(500) < 0.5
    found = one_run_epsilon(member + 0.01 * rng.random(500), member)
    assert found.guesses <= found.canaries == 500
    assert found.epsilon == pytest.approx(
        one_run_bound(found.correct, found.guesses, 500, alpha=0.05 / 3)
    )
    assert found.epsilon > 3
    assert one_run_epsilon(rng.random(500), rng.permutation(member)).epsilon < 0.5
    assert one_run_epsilon([1.0], [True]).epsilon == 0.0


def test_power_statement_is_met_by_simulation() -> None:
    statement = power_statement(500, 1000, 0.01)
    assert isinstance(statement.tpr, float)
    assert 0.01 < statement.tpr < 0.1
    fpr_high = clopper_pearson(10, 1000).high
    rng = np.random.default_rng(0)
    hits = rng.binomial(500, statement.tpr, 1000)
    found = np.mean([clopper_pearson(int(k), 500).low > fpr_high for k in hits])
    # Three standard deviations of Binomial(1000, 0.8).
    assert found == pytest.approx(0.8, abs=0.038)
    assert "would have been found with 80% power" in statement.text
    larger = power_statement(50_000, 100_000, 0.01).tpr
    assert isinstance(larger, float)
    assert larger < statement.tpr


def test_power_statement_says_when_nothing_could_be_found() -> None:
    statement = power_statement(2, 3, 0.01)
    assert statement.tpr is None
    assert "no attack could have been found" in statement.text


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: clopper_pearson(3, 2), "3 successes in 2 trials"),
        (lambda: one_run_bound(3, 2, 5), "3 right of 2 guesses at 5 canaries"),
        (lambda: one_run_epsilon([1.0, 2.0], [True]), "membership: expected 2 values"),
        (lambda: power_statement(0, 5, 0.01), "at least one trial a side"),
    ],
)
def test_errors_say_what_is_wrong(call: Callable[[], object], message: str) -> None:
    with pytest.raises(KRError, match=message):
        call()


def test_bounds_equal_jax_privacys() -> None:
    auditing = pytest.importorskip(
        "jax_privacy.auditing",
        reason="jax_privacy brings JAX along: compared only where a developer has it",
    )
    rng = np.random.default_rng(0)
    inside, outside = rng.normal(1.5, 1, 200), rng.normal(0, 1, 200)
    theirs = auditing.CanaryScoreAuditor(inside, outside)
    for threshold in (0.0, 1.0, 2.5):
        at = {"threshold_strategy": auditing.Explicit(threshold)}
        hits, alarms = int((inside >= threshold).sum()), int((outside >= threshold).sum())
        tpr, fpr = clopper_pearson(hits, 200), clopper_pearson(alarms, 200)
        expected = theirs.epsilon_clopper_pearson(0.05, 1e-5, **at)
        assert epsilon_bound(tpr.low, fpr.high, 1e-5) == pytest.approx(expected, abs=1e-6)
        expected = theirs.epsilon_one_run(0.05, 1e-5, **at)
        found = one_run_bound(hits, hits + alarms, 400, delta=1e-5)
        assert found == pytest.approx(expected, abs=1e-4)
