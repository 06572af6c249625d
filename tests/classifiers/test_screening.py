"""The vote alone, against loops that follow the words."""

from __future__ import annotations

import csv
import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from knowledge_recycling.classifiers.screening import (
    COLUMNS,
    FOLDS,
    judge,
    listing,
    mean_vote,
    warning,
)


def made(seed: int, n: int = 60, classes: int = 3) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Probabilities (F, n, C) that agree with most labels, folds and labels."""
    rng = np.random.default_rng(seed)
    labels, fold = rng.integers(classes, size=n), rng.permutation(np.arange(n) % FOLDS)
    odds = np.eye(classes)[labels] * rng.uniform(0, 2, (n, 1))
    p = rng.dirichlet(np.ones(classes), (FOLDS, n)) + odds
    return p / p.sum(axis=2, keepdims=True), fold, labels


@given(st.integers(0, 2**32 - 1))
def test_nobody_votes_on_the_records_that_trained_it(seed: int) -> None:
    p, fold, _ = made(seed)
    found = mean_vote([p[k, fold != k] for k in range(FOLDS)], fold)
    for i in range(len(fold)):
        others = [p[k, i] for k in range(FOLDS) if k != fold[i]]
        np.testing.assert_allclose(found[i], np.mean(others, axis=0))
    np.testing.assert_allclose(found.sum(axis=1), 1)


@given(st.integers(0, 2**32 - 1), st.integers(2, 5))
def test_a_label_loses_to_a_likelier_class_and_no_class_loses_more_than_half(
    seed: int, classes: int
) -> None:
    rng = np.random.default_rng(seed)
    vote, labels = rng.dirichlet(np.ones(classes), 40), rng.integers(classes, size=40)
    found = judge(vote, labels)
    for i, y in enumerate(labels):
        assert found.outvoted[i] == any(vote[i, c] > vote[i, y] for c in range(classes))
        assert found.own[i] == vote[i, y]
        assert vote[i, found.voted[i]] == vote[i].max()
    for y in range(classes):
        lost, size = found.outvoted[labels == y].sum(), (labels == y).sum()
        dropped = (~found.kept[labels == y]).sum()
        assert dropped == (lost if 2 * lost <= size else 0)


def test_equal_votes_keep_a_label() -> None:
    found = judge(np.array([[0.4, 0.4, 0.2]] * 2), np.array([0, 1]))
    assert found.kept.all()
    assert not found.outvoted.any()


def test_the_list_begins_with_the_least_likely() -> None:
    vote = np.array([[0.9, 0.1], [0.2, 0.8], [0.9, 0.1], [0.6, 0.4], [0.1, 0.9], [0.1, 0.9]])
    labels = np.array([0, 0, 0, 1, 1, 1])
    found = judge(vote, labels)
    files = [f"sick, old/{i}.png" for i in range(6)]
    text = listing(found, labels, np.arange(6) + 100, files, ("well", "sick, old"))
    assert list(csv.reader(io.StringIO(text))) == [
        list(COLUMNS),
        ["1", "101", "sick, old/1.png", "well", "sick, old", "0.200000"],
        ["3", "103", "sick, old/3.png", "sick, old", "well", "0.400000"],
    ]
    nameless = listing(found, labels, np.arange(6), None, ("a", "b"))
    assert nameless.splitlines()[1] == "1,1,,a,b,0.200000"


def test_only_a_class_that_was_spared_is_warned_of() -> None:
    assert warning([3, 0], [3, 0], ["a", "b"]) is None
    said = warning([3, 9, 8], [3, 0, 0], ["a", "b", "c"])
    assert said is not None
    assert said.startswith("Screening of labels dropped nothing of b, c: more than half of ")


@pytest.mark.parametrize("seed", range(3))
def test_of_labels_planted_at_random_most_are_found(seed: int) -> None:
    """Voters that know the true class of two records in three."""
    p, fold, labels = made(seed, n=3000)
    wrong = np.random.default_rng(seed).random(3000) < 0.1
    planted = np.where(wrong, (labels + 1) % 3, labels)
    found = judge(mean_vote([p[k, fold != k] for k in range(FOLDS)], fold), planted)
    assert (~found.kept)[wrong].mean() > 0.8
    assert (~found.kept)[~wrong].mean() < 0.2
