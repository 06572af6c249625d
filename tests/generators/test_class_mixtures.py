from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.covariance import ledoit_wolf

from knowledge_recycling.generators.class_mixtures import Mixtures, fit_mixtures, merged


def test_one_component_a_class_equals_the_formula() -> None:
    rng = np.random.default_rng(0)
    labels = np.repeat([0, 1, 2], [40, 15, 2])
    m, v = rng.normal(size=(57, 5)) + labels[:, None], rng.uniform(0.1, 0.3, (57, 5))
    made = fit_mixtures(m, v, labels, 3, component_images=100)
    centred = np.concatenate([m[labels == y] - m[labels == y].mean(0) for y in range(3)])
    shared = ledoit_wolf(centred, assume_centered=True)[0]
    for y, n in enumerate((40, 15, 2)):
        np.testing.assert_allclose(made.means[y], [m[labels == y].mean(0)])
        np.testing.assert_array_equal(made.weights[y], [1])
        own = np.cov(m[labels == y].T, bias=True)
        expected = (n * own + 5 * shared) / (n + 5) + np.diag(v.mean(0))
        np.testing.assert_allclose(made.factors[y] @ made.factors[y].T, expected, atol=1e-12)


def test_a_mixture_finds_clusters() -> None:
    rng = np.random.default_rng(0)
    cluster = np.repeat([0, 1], [80, 40])
    m = 0.1 * rng.normal(size=(120, 4)) + 10 * cluster[:, None]
    made = fit_mixtures(
        m, np.zeros((120, 4)), np.zeros(120, dtype=np.int64), 1, component_images=60
    )
    order = np.argsort(made.means[0][:, 0])
    np.testing.assert_allclose(made.means[0][order], [m[:80].mean(0), m[80:].mean(0)])
    np.testing.assert_allclose(made.weights[0][order], [2 / 3, 1 / 3])
    # About the components' means, not about the class's, where it would be near 22.
    assert np.diag(made.factors[0] @ made.factors[0].T).max() < 0.02


def test_identical_images_make_one_component() -> None:
    with pytest.warns(Warning, match="distinct clusters"):
        made = fit_mixtures(
            np.ones((9, 3)),
            np.full((9, 3), 0.1),
            np.zeros(9, dtype=np.int64),
            1,
            component_images=3,
        )
    assert [len(w) for w in made.weights] == [1]
    np.testing.assert_allclose(made.factors[0], np.sqrt(0.1) * np.eye(3))


Latents = tuple[np.ndarray, np.ndarray, np.ndarray]
SIZES = (90, 40, 5)


def latents(seed: int) -> Latents:
    """Means, variances and labels of three classes, the last smaller than most minima."""
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.repeat(np.arange(3), SIZES))
    means = rng.normal(size=(sum(SIZES), 4)) + rng.integers(0, 5, (sum(SIZES), 1))
    return means, rng.uniform(0.1, 0.3, means.shape), labels


def fitted(of: Latents, minimum: int, shared_covariance: bool = False) -> Mixtures:
    return fit_mixtures(
        *of, 3, component_images=10, minimum=minimum, shared_covariance=shared_covariance
    )


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 1000), st.integers(1, 60), st.booleans())
def test_no_component_is_under_the_minimum_unless_its_class_is(
    seed: int, minimum: int, shared_covariance: bool
) -> None:
    of = latents(seed)
    made = fitted(of, minimum, shared_covariance)
    for y, size in enumerate(SIZES):
        images = made.weights[y] * size
        np.testing.assert_allclose(made.weights[y].sum(), 1)
        np.testing.assert_allclose(images, images.round())
        assert images.round().min() >= min(minimum, size)
        if size < 2 * minimum:
            assert len(images) == 1
        centre = made.weights[y] @ made.means[y]
        np.testing.assert_allclose(centre, of[0][of[2] == y].mean(0))


@pytest.mark.parametrize("seed", range(5))
def test_a_minimum_that_all_components_reach_changes_no_bit(seed: int) -> None:
    plain = fitted(latents(seed), 1)
    smallest = min(int((w * n).round().min()) for w, n in zip(plain.weights, SIZES, strict=True))
    same, other = fitted(latents(seed), smallest), fitted(latents(seed), 20)
    for name in ("means", "weights", "factors"):
        for ours, theirs in zip(getattr(same, name), getattr(plain, name), strict=True):
            np.testing.assert_array_equal(ours, theirs)
    assert len(other.weights[0]) < len(plain.weights[0])


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 1000), st.integers(1, 15))
def test_the_smallest_goes_to_the_nearest_one_after_the_other(seed: int, minimum: int) -> None:
    rng = np.random.default_rng(seed)
    points, component = rng.normal(size=(30, 2)), rng.integers(0, 8, 30)
    sets = [np.flatnonzero(component == k).tolist() for k in range(8)]
    sets = [of for of in sets if of]
    while len(sets) > 1 and min(map(len, sets)) < minimum:
        small = min(sets, key=len)
        others = [of for of in sets if of is not small]
        mean = points[small].mean(0)
        nearest = min(others, key=lambda of: float(np.linalg.norm(points[of].mean(0) - mean)))
        nearest += small
        sets = others
    found = merged(points, component, minimum)
    assert {tuple(np.flatnonzero(found == k)) for k in range(found.max() + 1)} == {
        tuple(sorted(of)) for of in sets
    }


def test_a_shared_covariance_is_that_of_all_latents_and_of_all_classes() -> None:
    of = latents(0)
    shared, own = fitted(of, 1, True), fitted(of, 1)
    for y in range(3):
        np.testing.assert_array_equal(shared.factors[y], shared.factors[0])
        np.testing.assert_array_equal(shared.means[y], own.means[y])
        np.testing.assert_array_equal(shared.weights[y], own.weights[y])
        assert not np.allclose(own.factors[y], shared.factors[y])
    means, variances, labels = of
    centred = np.concatenate([means[labels == y] - means[labels == y].mean(0) for y in range(3)])
    single = fit_mixtures(*of, 3, component_images=1000, shared_covariance=True).factors[1]
    expected = ledoit_wolf(centred, assume_centered=True)[0] + np.diag(variances.mean(0))
    np.testing.assert_allclose(single @ single.T, expected, atol=1e-12)
