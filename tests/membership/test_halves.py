from __future__ import annotations

import numpy as np
import pytest

from knowledge_recycling.errors import KRError
from knowledge_recycling.membership.halves import complementary_halves

LABELS = np.repeat([0, 1, 2], [40, 21, 8])


def test_rows_are_complements_and_records_balanced() -> None:
    halves = complementary_halves(LABELS, None, 8, seed=1)
    assert np.array_equal(halves[0::2], ~halves[1::2])
    assert (halves.sum(0) == 4).all()
    assert len(np.unique(halves, axis=0)) == 8


def test_every_half_has_half_of_every_class() -> None:
    halves = complementary_halves(LABELS, None, 16, seed=2)
    for y, size in enumerate((40, 21, 8)):
        inside = halves[:, y == LABELS].sum(1)
        assert set(inside) <= {size // 2, (size + 1) // 2}


def test_patients_are_never_torn_apart() -> None:
    groups = np.arange(69) // 2
    halves = complementary_halves(LABELS[::-1].copy(), groups, 8, seed=3)
    for group in np.unique(groups):
        assert all(len(set(row[groups == group])) == 1 for row in halves)


@pytest.mark.parametrize("count", [2, 6, 9])
def test_odd_or_few_shadows_are_refused(count: int) -> None:
    with pytest.raises(KRError, match="fewer than 8 show no variance"):
        complementary_halves(LABELS, None, count, seed=0)


def test_a_class_too_small_to_halve_is_named() -> None:
    with pytest.raises(KRError, match="class 1 has 2 images in the pool; 4 are needed"):
        complementary_halves(np.array([0] * 9 + [1] * 2), None, 8, seed=0)
