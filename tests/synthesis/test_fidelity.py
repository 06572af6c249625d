"""Figures against the authors' package, naive versions, closed forms and planted failures."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from prdc import compute_prdc
from scipy.linalg import sqrtm

from knowledge_recycling.synthesis import fidelity
from knowledge_recycling.synthesis.fidelity import (
    FIGURES,
    NEIGHBOURS,
    expected_coverage,
    frechet_distance,
    kernel_distance,
    neighbourhoods,
)


def compare(x: np.ndarray, y: np.ndarray) -> dict[str, Any]:
    return fidelity.compare(x, y).tree()


def diagnose(**arguments: Any) -> dict[str, Any]:
    return fidelity.diagnose(**arguments).tree()


def yardstick(
    x: np.ndarray, y: np.ndarray, groups: np.ndarray | None, *, seed: int
) -> dict[str, Any]:
    return fidelity.yardstick(x, y, groups, seed).tree()


def normal(n: int, d: int = 6, *, mean: float = 0.0, std: float = 1.0, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(mean, std, (n, d))


@pytest.mark.parametrize(("n", "m", "d"), [(300, 400, 6), (90, 60, 20), (7, 7, 64)])
@pytest.mark.parametrize(("mean", "std"), [(0.0, 1.0), (0.5, 1.5), (0.2, 0.6)])
def test_neighbourhoods_equal_the_authors_package(
    n: int, m: int, d: int, mean: float, std: float
) -> None:
    x, y = normal(n, d), normal(m, d, mean=mean, std=std, seed=1)
    theirs = compute_prdc(x, y, nearest_k=NEIGHBOURS)
    ours = neighbourhoods(x, y)
    assert ours.keys() == theirs.keys()
    for name in ours:
        assert ours[name] == pytest.approx(float(theirs[name]), abs=1e-9), name


def test_neighbourhoods_equal_a_naive_loop() -> None:
    x, y, k = normal(25, 3), normal(30, 3, mean=0.7, seed=1), 3

    def distance(a: np.ndarray, b: np.ndarray) -> float:
        return float(np.sqrt(((a - b) ** 2).sum()))

    def radius(a: np.ndarray, own: np.ndarray) -> float:
        return sorted(distance(a, other) for other in own)[k]

    inside = [[distance(a, b) <= radius(a, x) for a in x] for b in y]
    recalled = [any(distance(a, b) <= radius(b, y) for b in y) for a in x]
    assert neighbourhoods(x, y, k) == pytest.approx(
        {
            "precision": np.mean([any(row) for row in inside]),
            "recall": np.mean(recalled),
            "density": np.sum(inside) / (k * len(y)),
            "coverage": np.mean([any(row[i] for row in inside) for i in range(len(x))]),
        },
        abs=1e-12,
    )


def test_chunks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    x, y = normal(700), normal(900, mean=0.3, seed=1)
    whole = compare(x, y)
    monkeypatch.setattr(fidelity, "CHUNK_ROWS", 37)
    monkeypatch.setattr(fidelity, "CHUNK_MIB", 1)
    assert compare(x, y) == pytest.approx(whole, abs=1e-12)


def test_fid_equals_scipy() -> None:
    x, y = normal(200), normal(300, mean=0.4, seed=1) @ normal(6, 6, seed=2)
    a, b = np.cov(x.T), np.cov(y.T)
    traces = np.trace(a + b - 2 * sqrtm(a @ b).real)
    naive = ((x.mean(0) - y.mean(0)) ** 2).sum() + traces
    assert frechet_distance(x, y) == pytest.approx(naive, abs=1e-9)


def test_fid_of_gaussians_of_known_moments() -> None:
    """For diagonal covariances: sum of (mu_x - mu_y)^2 + (s_x - s_y)^2."""
    raw = normal(500, 4)
    # Whitened, so that the sample's own moments are 0 and 1 exactly.
    white = (raw - raw.mean(0)) @ np.linalg.inv(np.linalg.cholesky(np.cov(raw.T))).T
    mean, std = np.array([1.0, -2.0, 0.0, 0.5]), np.array([1.0, 3.0, 0.1, 0.0])
    expected = (mean**2).sum() + ((1 - std) ** 2).sum()
    assert frechet_distance(white, white * std + mean) == pytest.approx(expected, abs=1e-9)


def test_fid_of_fewer_images_than_features() -> None:
    """Covariances of rank 1 along u and v: tr (S_x S_y)^(1/2) = |u.v| |u| |v| s_x s_y."""
    u, v = normal(2, 50)
    t = np.array([-1.0, 0.0, 1.0])[:, None]  # variance 1
    expected = u @ u + v @ v - 2 * abs(u @ v)
    assert frechet_distance(t * u, t * v) == pytest.approx(expected, abs=1e-9)


def test_kid_equals_a_double_loop() -> None:
    x, y = normal(20, 5), normal(15, 5, mean=0.5, seed=1)

    def k(a: np.ndarray, b: np.ndarray) -> float:
        return float((a @ b / 5 + 1) ** 3)

    def within(z: np.ndarray) -> float:
        return float(np.mean([k(a, b) for i, a in enumerate(z) for j, b in enumerate(z) if i != j]))

    naive = within(x) + within(y) - 2 * np.mean([k(a, b) for a in x for b in y])
    assert kernel_distance(x, y) == pytest.approx(naive, abs=1e-9)


def test_kid_is_unbiased() -> None:
    rng = np.random.default_rng(0)
    values = [kernel_distance(*rng.normal(size=(2, 20, 3))) for _ in range(1000)]
    assert abs(np.mean(values)) < 4 * np.std(values) / np.sqrt(len(values))
    assert min(values) < 0


def test_the_same_set_is_perfect() -> None:
    x = normal(150)
    figures = compare(x, x)
    assert figures["fid"] == pytest.approx(0, abs=1e-9)
    assert (figures["precision"], figures["recall"], figures["coverage"]) == (1, 1, 1)


def test_sets_far_apart_share_nothing() -> None:
    figures = compare(normal(100), normal(100, mean=50.0, seed=1))
    assert [figures[k] for k in ("precision", "recall", "density", "coverage")] == [0, 0, 0, 0]
    assert figures["fid"] == pytest.approx(6 * 50**2, rel=0.02)
    assert figures["kid"] is not None
    assert figures["kid"] > 1e6


def test_one_image_over_and_over_is_precise_and_covers_nothing() -> None:
    x = normal(100)
    figures = compare(x, np.repeat(x.mean(0, keepdims=True), 100, axis=0))
    assert figures["precision"] == 1
    assert figures["recall"] == 0
    assert figures["coverage"] is not None
    assert figures["coverage"] < 0.5


@pytest.mark.parametrize(("n", "m"), [(40, 40), (20, 7), (7, 60)])
def test_equal_distributions_cover_what_is_expected(n: int, m: int) -> None:
    rng = np.random.default_rng(0)
    runs = [neighbourhoods(rng.normal(size=(n, 3)), rng.normal(size=(m, 3))) for _ in range(400)]
    for name, expected in (("coverage", expected_coverage(n, m)), ("density", 1.0)):
        values = [run[name] for run in runs]
        error = np.std(values) / np.sqrt(len(values))
        assert abs(np.mean(values) - expected) < 4 * error + 1e-6, name


def sides(dropped: bool) -> dict[str, Any]:
    """Three classes of two far modes each; the synthetic ones of class 1 can lack a mode."""
    rng = np.random.default_rng(0)

    def side(count: int, lacks: bool) -> tuple[np.ndarray, np.ndarray]:
        classes = rng.permutation(np.arange(count) % 3)
        mode = rng.random(count) < 0.5
        if lacks:
            mode &= classes != 1
        centre = np.stack([10.0 * classes, 20.0 * mode, 0 * classes], axis=1)
        return centre + rng.normal(size=(count, 3)), classes

    reference, labels = side(300, False)
    made, classes = side(360, dropped)
    return {"reference": reference, "labels": labels, "made": made, "classes": classes}


def test_a_forgotten_mode_shows_in_its_class_alone() -> None:
    options: Any = {"class_count": 3, "groups": None, "seed": 0}
    whole, lacking = (diagnose(**sides(dropped), **options) for dropped in (False, True))
    for c in (0, 1, 2):
        assert whole["per_class"][c]["coverage"] > 0.9
        assert (lacking["per_class"][c]["coverage"] < 0.6) == (c == 1)
        assert (lacking["per_class"][c]["recall"] < 0.6) == (c == 1)
    assert lacking["per_class"][1]["precision"] > 0.8
    assert lacking["per_class"][1]["fid"] > 10 * whole["per_class"][1]["fid"]
    assert whole["overall"]["coverage"] - lacking["overall"]["coverage"] > 0.1
    assert lacking["images"] == {"reference": 300, "synthetic": 360}
    assert [row["images"] for row in lacking["per_class"]] == [
        {"reference": 100, "synthetic": 120}
    ] * 3


def test_a_class_of_few_images_has_its_count_and_no_figures() -> None:
    given = sides(False)
    few = np.flatnonzero(given["classes"] == 2)[NEIGHBOURS + 1 :]
    given["made"], given["classes"] = (np.delete(given[key], few, 0) for key in ("made", "classes"))
    rows = diagnose(**given, class_count=4, groups=None, seed=0)["per_class"]
    assert rows[2]["images"] == {"reference": 100, "synthetic": NEIGHBOURS + 1}
    assert rows[3]["images"] == {"reference": 0, "synthetic": 0}
    for row in rows[2:]:
        assert all(row[key] is None for key in FIGURES)
    assert None not in rows[0].values()


def test_the_yardstick_is_of_one_size_and_knows_real_from_false() -> None:
    real, made = normal(201), normal(500, mean=0.8, seed=1)
    found = yardstick(real, made, None, seed=0)
    assert found["images"] == {"reference": 100, "compared": 101}
    assert abs(found["real"]["kid"]) < 0.1 < found["synthetic"]["kid"]
    assert found["real"]["coverage"] == pytest.approx(found["real"]["expected_coverage"], abs=0.03)
    assert found["synthetic"]["coverage"] < found["real"]["coverage"] - 0.05
    assert found["real"]["expected_coverage"] == found["synthetic"]["expected_coverage"]
    assert found == yardstick(real, made, None, seed=0)
    assert found != yardstick(real, made, None, seed=1)


def test_the_yardstick_does_not_divide_patients() -> None:
    patients = np.arange(200) % 10 + 5
    alike = normal(10, 3)[patients - 5] + normal(200, 3, std=1e-6, seed=1)
    together = yardstick(alike, alike, patients, seed=0)
    assert together["images"] == {"reference": 100, "compared": 100}
    assert together["real"]["coverage"] == 0
    assert yardstick(alike, alike, None, seed=0)["real"]["coverage"] > 0.9


def test_too_few_images_for_halves_leave_the_overall_figures() -> None:
    few = {"reference": normal(10), "labels": np.zeros(10), "classes": np.zeros(20)}
    found = diagnose(**few, made=normal(20, seed=1), class_count=1, groups=None, seed=0)
    assert None not in found["overall"].values()
    assert set(found["yardstick"]["real"].values()) == {None}


def test_single_precision_features_are_computed_in_double() -> None:
    given = sides(False)
    single = given | {key: given[key].astype(np.float32) for key in ("reference", "made")}
    double = single | {key: single[key].astype(np.float64) for key in ("reference", "made")}
    options: Any = {"class_count": 3, "groups": None, "seed": 0}
    assert diagnose(**single, **options) == diagnose(**double, **options)
