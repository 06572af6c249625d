from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest
from scipy import special, stats
from sklearn import metrics

from knowledge_recycling.errors import KRError
from knowledge_recycling.statistics.bootstrap import draw_weights
from knowledge_recycling.statistics.estimate import Estimate
from knowledge_recycling.statistics.rates import (
    auc,
    auc_estimate,
    mean_interval,
    paired_difference,
    paired_gap,
    roc_curve,
    tpr_at_fpr,
    tpr_at_fpr_estimate,
)

REPEATS = 300
# The count of intervals that cover is Binomial(300, 0.95): three standard deviations of 1.26
# points about 95%, and one point more for the bootstrap's own bias at these small sizes.
BAND = (0.95 - 3 * 0.0126 - 0.01, 0.95 + 3 * 0.0126 + 0.01)


def coverage(estimate: Callable[[np.random.Generator], Estimate], truth: float) -> float:
    made = [estimate(np.random.default_rng(seed)) for seed in range(REPEATS)]
    return float(np.mean([e.low <= truth <= e.high for e in made]))


def naive_tpr(members: np.ndarray, nonmembers: np.ndarray, fpr: float) -> float:
    thresholds = np.concatenate([members, nonmembers, [np.inf]])
    allowed = [t for t in thresholds if (nonmembers >= t).sum() <= fpr * nonmembers.size + 1e-9]
    return max(float((members >= t).mean()) for t in allowed)


@pytest.mark.parametrize("decimals", [0, 1, 9])
def test_auc_equals_scikit_learn_with_and_without_ties(decimals: int) -> None:
    rng = np.random.default_rng(decimals)
    members, nonmembers = (
        rng.normal(0.3, 1, 301).round(decimals),
        rng.normal(size=97).round(decimals),
    )
    labels = np.repeat([1, 0], [301, 97])
    expected = metrics.roc_auc_score(labels, np.concatenate([members, nonmembers]))
    assert auc(members, nonmembers) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("decimals", [0, 1, 9])
@pytest.mark.parametrize("fpr", [0.0, 0.01, 0.05, 0.29, 0.5, 1.0])
def test_tpr_at_fpr_equals_a_search_over_all_thresholds(decimals: int, fpr: float) -> None:
    rng = np.random.default_rng(decimals)
    members, nonmembers = (
        rng.normal(0.5, 1, 60).round(decimals),
        rng.normal(size=100).round(decimals),
    )
    assert tpr_at_fpr(members, nonmembers, fpr) == naive_tpr(members, nonmembers, fpr)


def test_tied_scores_give_no_true_positives() -> None:
    assert tpr_at_fpr(np.ones(50), np.ones(50), 0.01) == 0.0
    assert auc(np.ones(50), np.ones(50)) == 0.5


def test_infinite_scores_are_ordered() -> None:
    assert auc([np.inf, 0.0], [-np.inf, -1.0]) == 1.0


def test_the_auc_interval_is_delongs_variance_on_the_logit() -> None:
    rng = np.random.default_rng(0)
    members, nonmembers = rng.normal(0.5, 1, 30).round(1), rng.normal(size=40).round(1)
    pairs = members[:, None] - nonmembers
    wins = (pairs > 0) + (pairs == 0) / 2
    # DeLong's variance, with the records of the smaller side in the correction of both.
    variance = (wins.mean(axis=1).var() / 30 + wins.mean(axis=0).var() / 40) * 30 / 29
    a = wins.mean()
    half = stats.t.isf(0.025, 29) * variance**0.5 / (a * (1 - a))
    ends = special.expit(special.logit(a) + np.array([-half, half]))
    found = auc_estimate(members, nonmembers)
    assert (found.value, found.low, found.high) == pytest.approx((a, *ends))


@pytest.mark.parametrize("fpr", [None, 0.1])
def test_intervals_are_near_those_of_resampled_records(fpr: float | None) -> None:
    rng = np.random.default_rng(0)
    sides = rng.normal(1, 1, 150), rng.normal(size=150)
    statistic = auc if fpr is None else partial(tpr_at_fpr, fpr=fpr)
    values = [statistic(*(rng.choice(side, side.size) for side in sides)) for _ in range(1000)]
    low, high = np.quantile(values, [0.025, 0.975])
    found = auc_estimate(*sides) if fpr is None else tpr_at_fpr_estimate(*sides, fpr)
    # A tenth of the width, for other ends and for the resampling's own error.
    assert found.low == pytest.approx(low, abs=0.1 * (high - low))
    assert found.high == pytest.approx(high, abs=0.1 * (high - low))


def test_draws_are_whole_samples() -> None:
    assert (draw_weights(np.random.default_rng(1), 20, 30).sum(axis=1) == 30).all()


def test_groups_of_one_change_nothing_and_whole_groups_widen() -> None:
    rng = np.random.default_rng(0)
    members, nonmembers = np.repeat(rng.normal(size=40), 5), np.repeat(rng.normal(size=40), 5)
    single = auc_estimate(members, nonmembers)
    own = np.arange(200)
    assert single == auc_estimate(members, nonmembers, member_groups=own, nonmember_groups=own)
    groups = np.repeat([f"p{i:03}" for i in range(40)], 5)
    options: dict[str, Any] = {"member_groups": groups, "nonmember_groups": groups}
    whole = auc_estimate(members, nonmembers, **options)
    # Five copies of each record hold one record's information: sqrt(5) times as wide.
    ratio = (whole.high - whole.low) / (single.high - single.low)
    assert ratio == pytest.approx(5**0.5, rel=0.2)
    assert tpr_at_fpr_estimate(members, nonmembers, 0.1, **options).high > 0


def test_perfect_and_empty_rates_keep_an_honest_end() -> None:
    members, nonmembers = np.arange(100, 120.0), np.arange(50.0)
    perfect = auc_estimate(members, nonmembers)
    assert (perfect.value, perfect.high) == (1.0, 1.0)
    assert perfect.low == pytest.approx(0.025 ** (1 / 20))
    none = tpr_at_fpr_estimate(-members, nonmembers, 0.01)
    exact = stats.binomtest(0, 20).proportion_ci(0.95, "exact")
    assert (none.value, none.low, none.high) == (0.0, 0.0, pytest.approx(exact.high))


def test_exchangeable_scores_contain_chance_and_a_leak_is_found() -> None:
    rng = np.random.default_rng(5)
    scores = rng.normal(size=(2, 500))
    chance = auc_estimate(*scores)
    assert chance.low < 0.5 < chance.high
    assert auc_estimate(scores[0] + 10, scores[1]).low > 0.99


def test_auc_interval_covers() -> None:
    truth = float(stats.norm.cdf(0.5 / 2**0.5))
    found = coverage(lambda rng: auc_estimate(rng.normal(0.5, 1, 90), rng.normal(0, 1, 90)), truth)
    assert BAND[0] <= found <= BAND[1]


def test_grouped_auc_interval_covers() -> None:
    groups = np.repeat(np.arange(50), 4)

    def estimate(rng: np.random.Generator) -> Estimate:
        sides = 0.8 * rng.normal(size=(2, 50))[:, groups] + 0.6 * rng.normal(size=(2, 200))
        options: dict[str, Any] = {"member_groups": groups, "nonmember_groups": groups}
        return auc_estimate(sides[0] + 0.5, sides[1], **options)

    found = coverage(estimate, float(stats.norm.cdf(0.5 / 2**0.5)))
    assert BAND[0] <= found <= BAND[1]


def test_tpr_interval_covers() -> None:
    truth = float(stats.norm.sf(stats.norm.isf(0.1) - 1))

    def estimate(rng: np.random.Generator) -> Estimate:
        return tpr_at_fpr_estimate(rng.normal(1, 1, 150), rng.normal(0, 1, 150), 0.1)

    assert BAND[0] <= coverage(estimate, truth) <= BAND[1]


def test_paired_difference_covers_and_equals_the_plain_mean() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.random((2, 80))
    assert paired_difference(a, b).value == pytest.approx(a.mean() - b.mean(), abs=1e-12)

    def estimate(rng: np.random.Generator) -> Estimate:
        shared = rng.normal(size=150)
        return paired_difference(shared + rng.normal(1, 1, 150), shared, draws=400)

    assert BAND[0] <= coverage(estimate, 1.0) <= BAND[1]


def test_paired_difference_is_narrower_than_the_unpaired_and_takes_groups() -> None:
    rng = np.random.default_rng(0)
    right = rng.random(400) < 0.8
    student = np.where(rng.random(400) < 0.02, ~right, right)
    paired = paired_difference(student, right)
    assert paired.high - paired.low < 0.5 * 2 * 1.96 * (2 * 0.16 / 400) ** 0.5
    groups = np.repeat(np.arange(100), 4)
    copies = paired_difference(student[groups], right[groups], groups=groups)
    once = paired_difference(student[:100], right[:100])
    assert copies == once


def test_two_classifiers_right_on_the_same_images_keep_an_interval() -> None:
    for size in (1, 2, 156):
        right = np.ones(size)
        edge = 1 - 0.025 ** (1 / size)
        found = paired_gap(right, right)
        assert (found.low, found.value, found.high) == (
            pytest.approx(-edge),
            0.0,
            pytest.approx(edge),
        )
    worse = paired_gap(np.zeros(5), np.ones(5))
    assert worse.low == worse.value == -1.0
    assert -1.0 < worse.high < 0.1
    # A patient's images are no independent images.
    assert paired_gap(right, right, groups=np.arange(156) // 78).high == pytest.approx(0.8419, 1e-4)


def test_paired_gap_is_the_paired_difference_where_both_win_some() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.random((2, 300)) < 0.8
    assert paired_gap(a, b, draws=200) == paired_difference(a, b, draws=200)


def test_paired_gap_covers_where_losses_are_rare() -> None:
    covered = []
    for seed in range(REPEATS):
        rng = np.random.default_rng(seed)
        change = rng.choice([1, -1, 0], 60, p=[0.05, 0.01, 0.94])
        found = paired_gap(change > 0, change < 0, draws=200)
        covered.append(found.low <= 0.04 <= found.high)
    assert np.mean(covered) >= BAND[0]


def test_mean_interval_equals_scipy_and_is_unbounded_for_one_seed() -> None:
    values = np.array([0.81, 0.84, 0.8, 0.86])
    low, high = stats.t.interval(0.95, 3, values.mean(), stats.sem(values))
    found = mean_interval(values)
    assert (found.value, found.low, found.high) == pytest.approx((values.mean(), low, high))
    assert mean_interval([0.5]) == Estimate(0.5, -np.inf, np.inf)


def test_mean_interval_covers() -> None:
    found = coverage(lambda rng: mean_interval(rng.normal(size=4)), 0.0)
    assert BAND[0] <= found <= BAND[1]


@pytest.mark.parametrize("size", [30, 20_000])
def test_roc_curve_lies_on_scikit_learns_and_is_thin(size: int) -> None:
    rng = np.random.default_rng(0)
    members, nonmembers = rng.normal(1, 1, size), rng.normal(size=size).round(2)
    fpr, tpr = roc_curve(members, nonmembers)
    assert fpr.size == tpr.size <= 500
    assert (fpr[0], tpr[0], fpr[-1], tpr[-1]) == (0, 0, 1, 1)
    assert (np.diff(fpr) >= 0).all()
    assert (np.diff(tpr) >= 0).all()
    full = metrics.roc_curve(
        np.repeat([1, 0], size), np.concatenate([members, nonmembers]), drop_intermediate=False
    )
    known = set(zip(full[0].round(12), full[1].round(12), strict=True))
    assert known.issuperset(zip(fpr.round(12), tpr.round(12), strict=True))
    # The low end is whole: every false-positive count up to 20 that the scores can give.
    low = np.unique(full[0][full[0] * size <= 20])
    assert np.isin(low.round(12), fpr.round(12)).all()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: auc([], [1.0]),
            r"member_scores: expected a list of numbers, got an array of shape",
        ),
        (lambda: auc([1.0], [[1.0]]), r"nonmember_scores: expected a list of numbers"),
        (lambda: auc([1.0, np.nan], [1.0]), "member_scores: 1 of 2 values are NaN"),
        (lambda: tpr_at_fpr([1.0], [1.0], 1.5), "fpr: 1.5 is not a rate between 0 and 1"),
        (
            lambda: auc_estimate([1.0, 2.0], [1.0], member_groups=[1]),
            "member_groups: expected 2 groups, one a score, got shape",
        ),
        (lambda: paired_difference([1.0], [1.0, 2.0]), "a has 1 records and b 2"),
        (lambda: mean_interval([np.nan]), "values: 1 of 1 values are NaN"),
    ],
)
def test_errors_say_what_is_wrong(call: Callable[[], object], message: str) -> None:
    with pytest.raises(KRError, match=message):
        call()
