from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from knowledge_recycling.errors import KRError
from knowledge_recycling.privacy import accountant, mechanisms
from knowledge_recycling.privacy.clipping import Units, clipped_sum
from knowledge_recycling.privacy.mechanisms import (
    Budget,
    gaussian_mechanism,
    noise_scale,
    noisy_counts,
    noisy_mean,
    noisy_outer_sum,
    noisy_sum,
)
from knowledge_recycling.privacy.noise import gaussian, grid
from tests.privacy.adversarial import CLIPS, Floats, Images, images, one_patient

MUS = st.sampled_from([0.01, 0.3, 1.0, 8.0])


def silent(shape: tuple[int, ...], scale: float) -> Floats:
    """A noise source that draws zeros."""
    return np.zeros(shape)


class Stub:
    """A noise source that draws zeros and remembers what it was asked for."""

    def __init__(self) -> None:
        self.calls: list[tuple[tuple[int, ...], float]] = []

    def __call__(self, shape: tuple[int, ...], scale: float) -> Floats:
        self.calls.append((shape, scale))
        return np.zeros(shape)


Mechanism = Callable[[Images, float, Units, float, Any], Floats]
MECHANISMS: dict[str, Mechanism] = {
    "sum": lambda d, clip, units, mu, noise: noisy_sum(d.rows, clip, units, mu, noise),
    "outer_sum": lambda d, clip, units, mu, noise: noisy_outer_sum(
        d.rows, d.others, clip, units, mu, noise
    ),
    "counts": lambda d, clip, units, mu, noise: noisy_counts(
        d.labels, 3, units, mu, noise, max(clip, 1.0)
    ),
    "mean": lambda d, clip, units, mu, noise: noisy_mean(d.rows, clip, units, mu, noise),
}


def release(
    mechanism: Mechanism, data: Images, clip: float, unit: str, mu: float
) -> tuple[Floats, float]:
    """What a mechanism adds its noise to, rounding included, and the scale of the noise."""
    released: list[Floats] = []

    def spy(*arguments: Any) -> Floats:
        released.append(gaussian_mechanism(*arguments))
        return released[-1]

    stub = Stub()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(mechanisms, "gaussian_mechanism", spy)
        mechanism(data, clip, data.units(unit), mu, stub)
    ((shape, scale),) = stub.calls
    assert released[0].shape == shape
    return released[0], scale


def spent(mechanism: Mechanism, data: Images, less: Images, clip: float, unit: str) -> float:
    """The mu that two neighbours really differ by, as a share of the mu that was asked for."""
    mu = 0.7
    with_unit, scale = release(mechanism, data, clip, unit, mu)
    without, same_scale = release(mechanism, less, clip, unit, mu)
    assert scale == same_scale
    return float(np.linalg.norm(with_unit - without)) / scale / mu


@pytest.mark.parametrize("name", MECHANISMS)
@given(data=images(), clip=CLIPS)
def test_one_image_spends_at_most_mu(name: str, data: Images, clip: float) -> None:
    assert spent(MECHANISMS[name], data, data.without_first_image(), clip, "image") <= 1


@pytest.mark.parametrize("name", MECHANISMS)
@given(data=images(), clip=CLIPS)
def test_one_patient_spends_at_most_mu(name: str, data: Images, clip: float) -> None:
    assert spent(MECHANISMS[name], data, data.without_first_patient(), clip, "patient") <= 1


@pytest.mark.parametrize("name", MECHANISMS)
@given(data=images(), clip=CLIPS)
def test_one_image_of_a_patient_spends_at_most_mu(name: str, data: Images, clip: float) -> None:
    assert spent(MECHANISMS[name], data, data.without_first_image(), clip, "patient") <= 1


@pytest.mark.parametrize("name", MECHANISMS)
@pytest.mark.parametrize("size", [1e99, 1.0])
def test_a_thousand_images_of_one_patient_spend_mu_and_no_more(name: str, size: float) -> None:
    data = one_patient(1000, [size, 0.0, 0.0])
    share = spent(MECHANISMS[name], data, data.without_first_patient(), 2.0, "patient")
    assert 1 - 1e-5 < share <= 1, "the worst case meets the bound: it is not loose"
    wrong = spent(MECHANISMS[name], data, data.without_first_patient(), 2.0, "image")
    assert wrong > 400, "by the wrong unit, the same check fails"


@pytest.mark.parametrize("name", MECHANISMS)
def test_the_worst_image_spends_mu_and_no_more(name: str) -> None:
    data = one_patient(1, [1e6, 0.0, 0.0])
    share = spent(MECHANISMS[name], data, data.without_first_image(), 2.0, "image")
    assert 1 - 1e-5 < share <= 1


@pytest.mark.parametrize("name", ["sum", "outer_sum", "mean"])
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_damaged_rows_are_refused_before_noise_is_drawn(name: str, bad: float) -> None:
    data, stub = one_patient(3, [1.0, bad]), Stub()
    for unit in ("image", "patient"):
        with pytest.raises(KRError, match="8 of 8 rows hold NaN, infinity or values beyond"):
            MECHANISMS[name](data, 1.0, data.units(unit), 1.0, stub)
    assert not stub.calls


@given(st.floats(1e-3, 1e3), MUS, st.integers(1, 10**6))
def test_scale_pays_for_rounding_and_for_little_else(clip: float, mu: float, size: int) -> None:
    scale = noise_scale(clip, mu, size)
    needed = clip * (1 + mechanisms.SLACK) + grid(scale) * math.sqrt(size)
    assert needed <= scale * mu * (1 + 1e-12)
    if mu >= 0.3 and size <= 10_000:
        assert scale < clip / mu * (1 + 2e-6)


@given(
    st.lists(st.floats(-1e9, 1e9), min_size=1, max_size=5),
    st.lists(st.floats(-1e9, 1e9), min_size=5, max_size=5),
)
def test_totals_of_every_kind_are_released_on_one_grid(a: list[float], b: list[float]) -> None:
    total = np.array(a)
    other = np.array(b[: len(a)])
    step = grid(noise_scale(1.0, 0.5, total.size))
    for values in (total, other, total + other / 3):
        found = gaussian_mechanism(values, 1.0, 0.5, gaussian) / step
        assert (found == np.rint(found)).all()
    rounded = gaussian_mechanism(total, 1.0, 0.5, silent)
    limited = np.clip(total, -(2**52) * step, 2**52 * step)
    assert (np.abs(rounded - limited) <= step / 2).all()


def test_naive_addition_leaves_the_grid_and_shows_the_value() -> None:
    step = grid(2.0)
    naive = (0.1 + gaussian((1000,), 2.0)) / step
    assert (naive != np.rint(naive)).all(), "the low bits of 0.1 are in every release"
    careful = gaussian_mechanism(np.full(1000, 0.1), 1.0, 0.5, gaussian)
    assert (careful / step == np.rint(careful / step)).all()


def test_each_returns_the_exact_value_without_noise() -> None:
    rng = np.random.default_rng(0)
    rows, labels = rng.normal(size=(60, 4)), rng.integers(0, 3, 60)
    near: dict[str, Any] = {"atol": 1e-6}
    np.testing.assert_allclose(
        noisy_sum(rows, 0.7, Units(), 1.0, silent), clipped_sum(rows, 0.7, Units()), **near
    )
    np.testing.assert_allclose(
        noisy_counts(labels, 5, Units(), 1.0, silent), np.bincount(labels, minlength=5), **near
    )
    np.testing.assert_allclose(noisy_mean(rows, 9, Units(), 1.0, silent), rows.mean(axis=0), **near)
    sums = noisy_outer_sum(rows, labels[:, None] == np.arange(3), 9, Units(), 1.0, silent)
    np.testing.assert_allclose(sums[:, 1], rows[labels == 1].sum(axis=0), **near)


def test_counts_of_patients_weigh_each_by_at_most_the_clip() -> None:
    labels = np.array([0] * 100 + [1] + [2, 2])
    units = Units("patient", np.array([5] * 100 + [6] + [7, 7]))
    once = noisy_counts(labels, 4, units, 1.0, silent)
    np.testing.assert_allclose(once, [1, 1, 1, 0], atol=1e-6)
    more = noisy_counts(labels, 4, units, 1.0, silent, clip=10)
    np.testing.assert_allclose(more, [10, 1, 2, 0], atol=1e-6)


def test_mean_of_few_or_no_images_stays_finite() -> None:
    assert (noisy_mean(np.empty((0, 2)), 1.0, Units(), 1.0, silent) == 0).all()
    for _ in range(50):
        assert np.isfinite(noisy_mean(np.ones((1, 2)), 1.0, Units(), 0.1, gaussian)).all()


def test_mean_of_patients_is_a_weighted_mean_of_their_images() -> None:
    data = np.array([[0.5, 0.0]] * 900 + [[0.0, 0.5]] * 100)
    many = Units("patient", np.repeat([0, 1], [900, 100]))
    np.testing.assert_allclose(noisy_mean(data, 1.0, many, 1.0, silent), [0.25, 0.25], atol=1e-6)


def test_released_noise_has_the_scale_that_is_accounted_for() -> None:
    mu = 0.25
    released = noisy_sum(np.zeros((3, 2000)), 2.0, Units(), mu, gaussian)
    expected = noise_scale(2.0, mu, 2000)
    assert expected == pytest.approx(8.0, rel=1e-5)
    # Six standard errors of the standard deviation.
    assert released.std() == pytest.approx(expected, rel=6 / math.sqrt(2 * 2000))


def test_budget_adds_up_to_its_mu() -> None:
    budget = Budget(0.8, {"mean": 0.03, "head": 0.82, "generator": 0.15})
    head = [budget.spend("head", releases=100)] * 100
    parts = [*head, budget.spend("generator"), budget.spend("mean")]
    assert accountant.compose(parts) == pytest.approx(0.8)


def test_budget_keeps_its_shares_when_the_caller_changes_the_dictionary() -> None:
    shares = {"a": 0.5}
    budget = Budget(1.0, shares)
    shares["a"] = 100.0
    assert budget.spend("a") == pytest.approx(math.sqrt(0.5))


def test_budget_refuses_what_it_has_not() -> None:
    budget = Budget(1.0, {"head": 0.5, "mean": 0.5})
    budget.spend("head")
    for name, message in (
        ("head", "budget: the share 'head' is spent already"),
        ("tail", "budget: no share named 'tail'; there are head, mean"),
    ):
        with pytest.raises(KRError, match=message):
            budget.spend(name)
    with pytest.raises(KRError, match="releases: 0 is under 1"):
        budget.spend("mean", releases=0)


ROWS = np.ones((2, 2))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: Budget(0.0, {"a": 1.0}), "mu: 0.0 is not a number above 0"),
        (lambda: Budget(math.nan, {"a": 1.0}), "mu: nan is not a number above 0"),
        (lambda: Budget(1.0, {"a": 0.6, "b": 0.5}), "shares: they add up to 1.1, which is over 1"),
        (lambda: Budget(1.0, {"a": -0.1}), "shares: expected numbers above 0"),
        (lambda: Budget(1.0, {"a": math.nan}), "shares: expected numbers above 0"),
        (lambda: gaussian_mechanism([math.nan], 1, 1, silent), "total: expected finite numbers"),
        (
            lambda: noise_scale(0.0, 1.0, 1),
            "expected a sensitivity and a mu above 0, got 0.0 and 1",
        ),
        (lambda: noise_scale(1.0, math.inf, 1), "expected a sensitivity and a mu above 0"),
        (lambda: noise_scale(1.0, 1e-7, 10**6), "mu: 1e-07 is too small for a release of 1000000"),
        (
            lambda: noisy_counts(np.array([0, 3]), 3, Units(), 1.0, silent),
            "labels: expected integers from 0 to 2",
        ),
        (
            lambda: noisy_counts(np.array([0, -1]), 3, Units(), 1.0, silent),
            "labels: expected integers from 0 to 2",
        ),
        (
            lambda: noisy_counts(np.array([0.5]), 3, Units(), 1.0, silent),
            "labels: expected integers of shape",
        ),
        (
            lambda: noisy_counts(np.array([0]), 3, Units(), 1.0, silent, clip=0.5),
            "clip: 0.5 is under 1, the weight of a single image",
        ),
    ],
)
def test_errors_say_what_is_wrong(call: Callable[[], object], message: str) -> None:
    with pytest.raises(KRError, match=message):
        call()
