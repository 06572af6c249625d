from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from numpy.typing import NDArray

from knowledge_recycling.errors import KRError
from knowledge_recycling.privacy.clipping import (
    Units,
    clip_weights,
    clipped_outer_sum,
    clipped_rows,
    clipped_sum,
    row_norms,
)
from tests.privacy.adversarial import CLIPS, Floats, Images, images, one_patient

ROUNDING = 1 + 1e-12


def naive_clip(vector: Floats, clip: float) -> Floats:
    # Squares of the largest test values overflow.
    norm = math.hypot(*vector.ravel())
    return vector * (clip / norm) if norm > clip else vector


def naive_sum(contributions: list[Floats], clip: float, patients: list[int] | None) -> Floats:
    """Adds one contribution at a time, in the words of the definition."""
    clipped = [naive_clip(x, clip) for x in contributions]
    if patients is None:
        return np.sum(clipped, axis=0)
    of_patient = [
        np.sum([x for x, p in zip(clipped, patients, strict=True) if p == patient], axis=0)
        for patient in set(patients)
    ]
    return np.sum([naive_clip(x, clip) for x in of_patient], axis=0)


@pytest.mark.parametrize("unit", ["image", "patient"])
@given(data=images(), clip=CLIPS)
def test_clipped_sum_equals_the_definition(data: Images, clip: float, unit: str) -> None:
    patients = data.patients.tolist() if unit == "patient" else None
    expected = naive_sum(list(data.rows), clip, patients)
    found = clipped_sum(data.rows, clip, data.units(unit))
    np.testing.assert_allclose(found, expected, atol=1e-11 * clip)


@pytest.mark.parametrize("unit", ["image", "patient"])
@given(data=images(), clip=CLIPS)
def test_clipped_outer_sum_equals_the_definition(data: Images, clip: float, unit: str) -> None:
    patients = data.patients.tolist() if unit == "patient" else None
    products = [np.outer(a, b) for a, b in zip(data.rows, data.others, strict=True)]
    expected = naive_sum(products, clip, patients)
    found = clipped_outer_sum(data.rows, data.others, clip, data.units(unit))
    np.testing.assert_allclose(found, expected, atol=1e-11 * clip)


def both_sums(data: Images, clip: float, unit: str) -> list[Floats]:
    units = data.units(unit)
    return [
        clipped_sum(data.rows, clip, units),
        clipped_outer_sum(data.rows, data.others, clip, units),
    ]


def change(data: Images, less: Images, clip: float, unit: str) -> float:
    """The larger change of the two sums."""
    pairs = zip(both_sums(data, clip, unit), both_sums(less, clip, unit), strict=True)
    return max(float(np.linalg.norm(a - b)) for a, b in pairs)


@given(data=images(), clip=CLIPS)
def test_one_image_moves_a_sum_per_image_by_at_most_the_clip(data: Images, clip: float) -> None:
    assert change(data, data.without_first_image(), clip, "image") <= clip * ROUNDING


@given(data=images(), clip=CLIPS)
def test_one_patient_moves_a_sum_per_patient_by_at_most_the_clip(data: Images, clip: float) -> None:
    assert change(data, data.without_first_patient(), clip, "patient") <= clip * ROUNDING


@given(data=images(), clip=CLIPS)
def test_one_image_moves_a_sum_per_patient_by_at_most_the_clip(data: Images, clip: float) -> None:
    assert change(data, data.without_first_image(), clip, "patient") <= clip * ROUNDING


@pytest.mark.parametrize("row", [[1e99, 0, 0], [3.0, -4.0, 0], [1e-3, 0, 0]])
def test_a_patient_with_a_thousand_images(row: list[float]) -> None:
    data = one_patient(1000, row)
    less = data.without_first_patient()
    assert change(data, less, 1.0, "patient") <= ROUNDING
    # The bound is met, not only kept: 1,000 images of norm 1e-3 add up to the clip.
    sums = [clipped_sum(d.rows, 1.0, d.units("patient")) for d in (data, less)]
    assert np.linalg.norm(sums[0] - sums[1]) == pytest.approx(1.0)
    # Per image, one patient is not hidden: the same images move the sum 1,000 times as far.
    if row[0] > 1:
        assert change(data, less, 1.0, "image") == pytest.approx(1000)


def test_no_images_have_sum_zero() -> None:
    for units in (Units(), Units("patient", np.array([], dtype=int))):
        assert (clipped_sum(np.empty((0, 3)), 1.0, units) == 0).all()
        assert clipped_outer_sum(np.empty((0, 3)), np.empty((0, 2)), 1.0, units).shape == (3, 2)


def test_order_and_names_of_patients_do_not_matter() -> None:
    rng = np.random.default_rng(0)
    rows, others = rng.normal(size=(50, 3)), rng.normal(size=(50, 2))
    patients = rng.integers(9, size=50)
    order = rng.permutation(50)
    for a, b in (
        (Units("patient", patients), Units("patient", 10**9 - 7 * patients[order])),
        (Units(), Units()),
    ):
        np.testing.assert_allclose(clipped_sum(rows, 1, a), clipped_sum(rows[order], 1, b))
        np.testing.assert_allclose(
            clipped_outer_sum(rows, others, 1, a),
            clipped_outer_sum(rows[order], others[order], 1, b),
        )


def test_float32_and_bool_rows_are_summed_in_float64() -> None:
    rows = np.full((100_000, 1), 0.1, dtype=np.float32)
    assert clipped_sum(rows, 1.0, Units())[0] == pytest.approx(
        1e5 * float(np.float32(0.1)), rel=1e-12
    )
    assert clipped_sum(np.ones((3, 1), dtype=bool), 1.0, Units()).tolist() == [3.0]


@given(data=images(), clip=CLIPS)
def test_clipped_rows_keep_short_rows_and_directions(data: Images, clip: float) -> None:
    found = clipped_rows(data.rows, clip)
    expected = np.stack([naive_clip(row, clip) for row in data.rows])
    np.testing.assert_allclose(found, expected, rtol=1e-12)
    assert (row_norms(found) <= clip * ROUNDING).all()


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 1.1e100])
def test_rows_that_are_not_finite_are_refused_without_their_values(bad: float) -> None:
    rows = np.zeros((3, 2))
    rows[1, 1] = bad
    message = "1 of 3 rows hold NaN, infinity or values beyond 1e[+]100; look for damaged images"
    calls: list[Callable[[], object]] = [
        lambda: clipped_sum(rows, 1.0, Units()),
        lambda: clipped_rows(rows, 1.0),
        lambda: clipped_outer_sum(rows, np.zeros((3, 1)), 1.0, Units()),
        lambda: clipped_outer_sum(np.zeros((3, 1)), rows, 1.0, Units()),
    ]
    for call in calls:
        with pytest.raises(KRError, match=message):
            call()


def units(unit: object, codes: object) -> Callable[[], object]:
    return lambda: Units(unit, codes)  # type: ignore[arg-type]


ROWS: NDArray[np.float64] = np.ones((2, 2))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (units("person", None), "unit: 'person' is neither 'image' nor 'patient'"),
        (units("patient", None), "codes: give the patient of each image where the unit is a"),
        (
            units("image", np.array([1])),
            "codes: give the patient of each image where the unit is a",
        ),
        (units("patient", np.array([1.5])), "codes: expected integers of shape"),
        (units("patient", np.array([[1]])), "codes: expected integers of shape"),
        (units("patient", np.array(["a"])), "codes: expected integers of shape"),
        (
            lambda: clipped_sum(ROWS, 1.0, Units("patient", np.array([1]))),
            "codes: 1 patients' codes for 2 images",
        ),
        (lambda: clipped_sum(ROWS[0], 1.0, Units()), r"rows: expected an array of shape \(n, k\)"),
        (lambda: clipped_outer_sum(ROWS, ROWS[:1], 1.0, Units()), "left has 2 rows and right 1"),
        (lambda: clipped_sum(ROWS, 0.0, Units()), "clip: 0.0 is not between 1e-50 and 1e50"),
        (lambda: clipped_sum(ROWS, np.nan, Units()), "clip: nan is not between 1e-50 and 1e50"),
        (lambda: clip_weights([-1.0], 1.0), "norms: expected finite numbers of at least 0"),
        (lambda: clip_weights([np.nan], 1.0), "norms: expected finite numbers of at least 0"),
    ],
)
def test_errors_say_what_is_wrong(call: Callable[[], object], message: str) -> None:
    with pytest.raises(KRError, match=message):
        call()
