from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from knowledge_recycling.errors import KRError
from knowledge_recycling.membership.members import Membership


def halves(pipelines: int, records: int) -> np.ndarray:
    rng = np.random.default_rng(0)
    half = rng.random((pipelines // 2, records)).argsort(axis=1) < records // 2
    return np.concatenate([half, ~half])


def test_complements_are_found_or_taken() -> None:
    member = halves(6, 9)
    assert Membership.of(member).pairs.tolist() == [3, 4, 5, 0, 1, 2]
    assert Membership.of(member[:5]).pairs.tolist() == [3, 4, -1, 0, 1]
    given = [3, -1, -1, 0, -1, -1]
    assert Membership.of(member, pairs=given).pairs.tolist() == given


def test_pairs_are_complements_but_for_a_few_records() -> None:
    member = halves(8, 200)
    member[:, :3] = True
    assert Membership.of(member).pairs.tolist() == [4, 5, 6, 7, 0, 1, 2, 3]


def test_independent_halves_are_no_pairs() -> None:
    rng = np.random.default_rng(0)
    for _ in range(200):
        mask = np.stack([rng.permutation(40) < 20 for _ in range(8)])
        assert (Membership.of(mask).pairs == -1).all()


def test_one_of_each_pair_and_their_means() -> None:
    membership = Membership.of(halves(6, 9)[[0, 3, 1, 2, 5]])
    assert membership.pairs.tolist() == [1, 0, -1, 4, 3]
    assert membership.one_of_each_pair.tolist() == [0, 2, 3]
    assert membership.mean_of_pairs(np.array([1.0, 3, 5, 7, 9])).tolist() == [2, 5, 8]


def test_some_records_keep_the_pairs_and_patients_are_numbered() -> None:
    mask = np.repeat(halves(6, 10), 2, axis=1)
    membership = Membership.of(mask)
    assert (membership.units, membership.groups) == (20, None)
    # Two records would show two pipelines with the same members.
    few = membership.select(np.arange(20) < 4, ["b", "b", "a", "a"])
    assert few.pairs.tolist() == membership.pairs.tolist()
    assert few.cluster.tolist() == [1, 1, 0, 0]
    assert (few.records, few.units) == (4, 2)
    np.testing.assert_array_equal(few.of_patients().mask, mask[:, [2, 0]])


TWO = [[1, 0], [0, 1]]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: Membership.of(np.zeros((2, 2, 2))), r"expected \(pipelines, records\), got"),
        (lambda: Membership.of([[2, 0]]), "membership: expected true and false"),
        (lambda: Membership.of([[1, 0], [1, 0]]), "pipelines 0 and 1 have the same members"),
        (
            lambda: Membership.of([[1], [0], [1]]),
            r"Found 3 pipelines \(rows\) of 1 records \(columns\): are they swapped\?",
        ),
        (lambda: Membership.of(np.eye(3), pairs=[1, 2, 0]), "pairs: expected 3 indices"),
        (lambda: Membership.of(np.eye(3), pairs=[0, -1, -1]), "pairs: expected 3 indices"),
        (lambda: Membership.of(np.eye(3), pairs=[1, 0]), "pairs: expected 3 indices"),
        (
            lambda: Membership.of(np.eye(4), pairs=[1, 0, 3, 2]),
            "pairs: pipelines 0 and 1 are no complements; both or neither trained on 50% of",
        ),
        (
            lambda: Membership.of(TWO, groups=["a", "a"]),
            "a pipeline trained on some records of a group and not on others",
        ),
        (lambda: Membership.of(TWO, groups=["a"]), "groups: expected 2 groups"),
    ],
)
def test_errors_say_what_is_wrong(call: Callable[[], object], message: str) -> None:
    with pytest.raises(KRError, match=message):
        call()
