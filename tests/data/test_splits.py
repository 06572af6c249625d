from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from knowledge_recycling.config import Data
from knowledge_recycling.data import Source, open_source
from knowledge_recycling.data.splits import assign_groups, draw, drawn_splits
from knowledge_recycling.errors import KRError


def source_of(
    labels: np.ndarray, groups: np.ndarray | None = None, assigned: np.ndarray | None = None
) -> Source:
    n = len(labels)
    return Source(
        images=np.zeros((n, 8, 8, 1), np.uint8),
        labels=np.asarray(labels, np.int64),
        groups=groups,
        assigned=np.full(n, -1, np.int8) if assigned is None else assigned,
        class_names=tuple(map(str, range(int(labels.max()) + 1))),
        notes=(),
        name="made",
    )


def test_each_class_gets_its_share() -> None:
    source = open_source(Data(source="digits"))
    config = Data(val_fraction=0.15, test_fraction=0.2)
    result = draw(source, config, seed=0)
    for code, share in ((0, 0.65), (1, 0.15), (2, 0.2)):
        counts = np.bincount(source.labels[result == code], minlength=10)
        expected = share * np.bincount(source.labels)
        assert np.abs(counts - expected).max() <= 1
    np.testing.assert_array_equal(result, draw(source, config, seed=0))
    assert (result != draw(source, config, seed=1)).mean() > 0.2
    assert drawn_splits(source) == ["train", "val", "test"]


@settings(max_examples=50, deadline=None)
@given(
    st.lists(st.integers(4, 12), min_size=2, max_size=4),
    st.floats(0.01, 0.49),
    st.floats(0.01, 0.49),
)
def test_the_smallest_classes_reach_every_split(sizes: list[int], val: float, test: float) -> None:
    labels = np.repeat(np.arange(len(sizes)), sizes)
    result = draw(source_of(labels), Data(val_fraction=val, test_fraction=test), seed=3)
    for label in range(len(sizes)):
        train, *rest = np.bincount(result[labels == label], minlength=3)
        assert train >= 2
        assert min(rest) >= 1


@pytest.mark.parametrize(("given_code", "drawn_code", "share"), [(2, 1, 0.15), (1, 2, 0.2)])
def test_a_missing_split_is_drawn_from_train(
    given_code: int, drawn_code: int, share: float
) -> None:
    labels = np.arange(300) % 2
    assigned = np.repeat(np.array([-1, given_code], np.int8), [200, 100])
    source = source_of(labels, assigned=assigned)
    result = draw(source, Data(val_fraction=0.15, test_fraction=0.2), seed=0)
    assert (result[200:] == given_code).all()
    assert np.bincount(result[:200], minlength=3)[drawn_code] == round(share * 200)
    assert set(result[:200].tolist()) == {0, drawn_code}
    assert drawn_splits(source) == ["train", ("train", "val", "test")[drawn_code]]


def test_given_splits_stay_as_they_are() -> None:
    assigned = np.array([0, 0, 1, 2] * 3, np.int8)
    source = source_of(np.arange(12) % 2, assigned=assigned)
    np.testing.assert_array_equal(draw(source, Data(), 0), assigned)
    assert drawn_splits(source) == []


def patients(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """120 patients of 1 to 30 images, each with its own share of three classes."""
    rng = np.random.default_rng(seed)
    groups = np.repeat(np.arange(120), rng.integers(1, 31, 120))
    odds = rng.dirichlet([4.0, 2.0, 0.3], 120).cumsum(axis=1)[groups]
    return (rng.random((len(groups), 1)) > odds[:, :2]).sum(axis=1), groups


@pytest.mark.parametrize("seed", range(5))
def test_groups_stay_whole_and_classes_are_balanced(seed: int) -> None:
    labels, groups = patients(seed)
    result = draw(source_of(labels, groups), Data(), seed)
    assert all(len(set(result[groups == group])) == 1 for group in range(120))
    for code, share in ((0, 0.65), (1, 0.15), (2, 0.2)):
        found = np.bincount(labels[result == code], minlength=3) / np.bincount(labels)
        assert np.abs(found - share).max() < 0.04
    assert (result != draw(source_of(labels, groups), Data(), seed + 1)).any()


def test_greedy_equals_a_naive_search_step_by_step() -> None:
    rng = np.random.default_rng(1)
    counts = rng.integers(0, 6, (25, 3)).astype(float) + 1
    fractions = np.array([0.6, 0.4])
    choice = assign_groups(counts, fractions, np.random.default_rng(7), cover=False)
    target = fractions[:, None] * counts.sum(axis=0)
    filled = np.zeros((2, 3))
    order = np.argsort(-(counts.sum(axis=1) * np.random.default_rng(7).uniform(0.5, 1.0, 25)))
    for group in order:
        losses = []
        for split in range(2):
            trial = filled.copy()
            trial[split] += counts[group]
            losses.append((((trial - target) ** 2 / target) / counts.sum(axis=0)).sum())
        assert choice[group] == int(np.argmin(losses))
        filled[choice[group]] += counts[group]


def test_a_rare_class_in_few_large_patients_is_covered() -> None:
    """Three patients hold the rare class: one must go to each split."""
    labels = np.concatenate([np.zeros(400, int), np.ones(90, int)])
    groups = np.concatenate([np.arange(400), np.repeat([900, 901, 902], 30)])
    for seed in range(5):
        result = draw(source_of(labels, groups), Data(), seed)
        assert sorted(np.unique(result[groups == g])[0] for g in (900, 901, 902)) == [0, 1, 2]


def test_an_impossible_draw_is_explained() -> None:
    """Two groups cannot fill three splits (`open_source` refuses such a source before)."""
    labels = np.array([0, 0, 1, 0, 1, 1])
    groups = np.array([0, 0, 0, 1, 1, 1])
    source = source_of(labels, groups)
    with pytest.raises(KRError, match=r"made: no way was found .* train, val, test with groups"):
        draw(source, Data(), 0)


def with_copies(labels: np.ndarray, copies: np.ndarray, groups: np.ndarray | None = None) -> Source:
    """Images that are equal where `copies` is."""
    rng = np.random.default_rng(0)
    distinct = rng.integers(0, 256, (int(copies.max()) + 1, 8, 8, 1), dtype=np.uint8)
    return replace(source_of(labels, groups), images=distinct[copies])


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32 - 1), st.booleans())
def test_copies_and_groups_stay_together(seed: int, grouped: bool) -> None:
    rng = np.random.default_rng(seed)
    labels = np.arange(120) % 2
    copies = np.where(rng.random(120) < 0.3, rng.integers(0, 120, 120), np.arange(120))
    groups = rng.integers(0, 60, 120) if grouped else None
    source = with_copies(labels, copies, groups)
    result = draw(source, Data(), seed)
    for keys in (copies, groups):
        if keys is not None:
            assert all(len(set(result[keys == key])) == 1 for key in np.unique(keys))
    assert all(set(labels[result == code]) == {0, 1} for code in range(3))


def test_blank_images_are_no_copies_of_each_other() -> None:
    source = source_of(np.arange(40) % 2)
    assert len(np.unique(source.copies)) == 40
    assert source.constant.all()


def test_a_class_of_copies_alone_is_explained() -> None:
    copies = np.concatenate([np.zeros(10, int), np.arange(1, 11)])
    source = with_copies(np.repeat([0, 1], 10), copies)
    with pytest.raises(KRError, match="class '0' has 10 images in 1 set that cannot be"):
        draw(source, Data(), 0)
