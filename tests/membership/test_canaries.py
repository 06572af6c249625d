from __future__ import annotations

import numpy as np
import pytest

from knowledge_recycling.data import Split
from knowledge_recycling.errors import KRError
from knowledge_recycling.membership import canaries
from knowledge_recycling.membership.canaries import KINDS
from knowledge_recycling.membership.halves import complementary_coins

CLASSES = 3


def pool(n: int = 300) -> Split:
    rng = np.random.default_rng(0)
    shape = (n, 9, 9, 1)
    images = rng.integers(0, 256, shape).astype(np.uint8)
    return Split(images, np.arange(n) % CLASSES, None, np.arange(n) + 1000)


def test_a_third_of_each_kind_and_companions_share_a_unit() -> None:
    made = canaries.make(pool(), CLASSES, 30, seed=0)
    assert np.bincount(made.kind, minlength=5).tolist() == [0, 10, 10, 10, 20]
    assert len(set(made.bases.tolist())) == 30
    assert sorted(np.bincount(made.unit)) == [1] * 20 + [3] * 10
    for unit in range(30):
        kinds = made.kind[made.unit == unit].tolist()
        assert kinds in ([1], [2], [3, 4, 4])


def test_each_kind_is_what_it_says() -> None:
    records = pool()
    made = canaries.make(records, CLASSES, 30, seed=0)
    first = {unit: int(np.flatnonzero(made.unit == unit)[0]) for unit in range(30)}
    for unit, base in enumerate(made.bases):
        at = first[unit]
        image, label = records.images[base], records.labels[base]
        kind = KINDS[made.kind[at]]
        if kind == "mislabelled":
            np.testing.assert_array_equal(made.images[at], image)
            assert made.labels[at] != label
        elif kind == "outlier":
            assert not np.array_equal(made.images[at], image)
        else:
            np.testing.assert_array_equal(made.images[at], image)
            np.testing.assert_array_equal(made.images[at + 1], np.roll(image, 1, 0))
            assert set(made.labels[at : at + 3].tolist()) == {label}
    assert made.labels.min() >= 0
    assert made.labels.max() < CLASSES


def test_rare_classes_make_no_way_and_too_many_are_refused() -> None:
    records = pool(100)
    labels = np.where(np.arange(100) < 9, 2, np.arange(100) % 2)
    records = Split(records.images, labels, None, records.indices)
    made = canaries.make(records, CLASSES, 8, seed=0)
    assert (labels[made.bases] != 2).all()
    with pytest.raises(KRError, match="canaries=50: the pool has 100 images, and at most 8"):
        canaries.make(records, CLASSES, 50, seed=0)


def test_none_is_a_possible_number() -> None:
    made = canaries.make(pool(), CLASSES, 0, seed=0)
    assert made.images.shape == (0, 9, 9, 1)
    assert complementary_coins(made.unit, 8, seed=0).shape == (8, 0)


def test_coins_are_fair_independent_and_complementary() -> None:
    coins = complementary_coins(np.repeat(np.arange(500), 2), 16, seed=0)
    np.testing.assert_array_equal(coins[::2], ~coins[1::2])
    np.testing.assert_array_equal(coins[:, ::2], coins[:, 1::2])
    assert (coins.sum(0) == 8).all()
    sizes = coins[::2, ::2].sum(1)
    assert len(set(sizes.tolist())) > 1, "coins, not halves"
    assert abs(sizes.mean() - 250) < 4 * np.sqrt(500 / 4 / 8)
