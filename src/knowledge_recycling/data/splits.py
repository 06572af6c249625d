"""Draws the splits that a source does not come with."""

from __future__ import annotations

import numpy as np
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from knowledge_recycling.config import Data
from knowledge_recycling.data.types import OPEN, SPLITS, Source
from knowledge_recycling.data.words import count
from knowledge_recycling.errors import KRError

ATTEMPTS = 20


def drawn_splits(source: Source) -> list[str]:
    """Names of the splits whose members are drawn, not given.

    Where only test is given, train and val are both drawn from the given train images.
    """
    return [name for code, name in enumerate(SPLITS) if code not in source.assigned]


def draw(source: Source, config: Data, seed: int) -> np.ndarray:
    """Completes the assignment, stratified by class; groups and exact copies stay together.

    Val takes `val_fraction` and test `test_fraction` of the images that no given split has taken;
    train takes the rest.

    Args:
        source: what was read.
        config: the fractions.
        seed: of the draw.

    Returns:
        (n,) int8: 0 train, 1 val, 2 test. Without groups and copies, each class is in each drawn
        split with its exact share, rounded.

    Raises:
        KRError: where whole groups cannot bring each class into each split.
    """
    result = np.array(source.assigned)
    places = np.flatnonzero(result == OPEN)
    if not len(places):
        return result
    wanted = {"val": config.val_fraction, "test": config.test_fraction}
    drawn = drawn_splits(source)
    shares = {SPLITS.index(name): share for name, share in wanted.items() if name in drawn}
    rng = np.random.default_rng([seed, *b"split"])
    labels = source.labels[places]
    together = units(source)[places]
    if source.groups is None:
        drawn_units = _draw_copies(labels, together, shares, rng)
        if drawn_units is not None:
            result[places] = drawn_units
            return result
    result[places] = _draw_groups(labels, together, shares, rng, source)
    return result


def units(source: Source) -> np.ndarray:
    """Codes (n,) of what must stay together: a patient's images, exact copies, and both chained."""
    if source.groups is None:
        return source.copies
    n = len(source)
    if len(np.unique(source.copies)) == n:
        return source.groups
    # An image links its group with its set of copies; a unit is what hangs together.
    group = np.unique(source.groups, return_inverse=True)[1].reshape(n)
    ones = np.ones(n, np.int8)
    size = (int(group.max()) + 1, int(source.copies.max()) + 1)
    links = coo_matrix((ones, (group, source.copies + size[0])), shape=(sum(size), sum(size)))
    return connected_components(links, directed=False)[1][group].astype(np.int64)


def _draw_copies(
    labels: np.ndarray, together: np.ndarray, shares: dict[int, float], rng: np.random.Generator
) -> np.ndarray | None:
    """Draws one image of each set of copies, the others go with it; None where that is too few."""
    _, first, unit = np.unique(together, return_index=True, return_inverse=True)
    first, rank = np.unique(first, return_inverse=True)
    counts = np.bincount(labels[first], minlength=int(labels.max()) + 1)
    if (counts < 2 + len(shares)).any():
        return None
    return _draw_images(labels[first], shares, rng)[rank[unit.reshape(len(labels))]]


def _draw_images(
    labels: np.ndarray, shares: dict[int, float], rng: np.random.Generator
) -> np.ndarray:
    result = np.zeros(len(labels), np.int8)
    for label in np.unique(labels):
        members = rng.permutation(np.flatnonzero(labels == label))
        spare = len(members) - 2 - len(shares)
        start = 0
        for code, share in shares.items():
            extra = min(max(round(share * len(members)) - 1, 0), spare)
            spare -= extra
            result[members[start : start + 1 + extra]] = code
            start += 1 + extra
    return result


def _draw_groups(
    labels: np.ndarray,
    groups: np.ndarray,
    shares: dict[int, float],
    rng: np.random.Generator,
    source: Source,
) -> np.ndarray:
    _, codes = np.unique(groups, return_inverse=True)
    counts = np.zeros((codes.max() + 1, len(source.class_names)))
    np.add.at(counts, (codes, labels), 1)
    splits = np.array([0, *shares], np.int8)
    fractions = np.array([1 - sum(shares.values()), *shares.values()])
    least = np.array([2] + [1] * len(shares))[:, np.newaxis]
    for attempt in range(ATTEMPTS):
        choice = assign_groups(counts, fractions, rng, cover=attempt > 0)
        filled = np.stack([counts[choice == s].sum(axis=0) for s in range(len(splits))])
        if (filled >= least).all():
            return splits[choice][codes]
    what = "groups (patients) and exact copies" if source.groups is not None else "exact copies"
    pairs = np.unique(np.stack([codes, labels]), axis=1)[1]
    rarest = int(np.bincount(pairs, minlength=len(source.class_names)).argmin())
    raise KRError(
        f"{source.name}: no way was found to bring each class into each of "
        f"{', '.join(drawn_splits(source))} with {what} kept together: class "
        f"{source.class_names[rarest]!r} has {np.sum(labels == rarest)} images in "
        f"{count(int(np.sum(pairs == rarest)), 'set')} that cannot be divided; add other images to "
        "it, or give the splits"
    )


def assign_groups(
    counts: np.ndarray, fractions: np.ndarray, rng: np.random.Generator, *, cover: bool
) -> np.ndarray:
    """Greedy stratification by whole groups, larger groups first.

    Each group goes where it least raises sum over splits s and classes c of
    (filled[s, c] - target[s, c])^2 / (target[s, c] total[c]): a chi-square in which each class
    weighs the same.

    Args:
        counts: (G, C) images of each class in each group, no class empty.
        fractions: (S,) share of each split, sum 1.
        rng: varies the order, so that seeds give different splits.
        cover: first bring each class into each split but the first, by its smallest groups; for
            classes that the greedy pass alone would leave out.

    Returns:
        (G,) int64 split of each group.
    """
    total = counts.sum(axis=0)
    target = fractions[:, np.newaxis] * total
    filled = np.zeros_like(target)
    size = counts.sum(axis=1) * rng.uniform(0.5, 1.0, len(counts))
    choice = np.full(len(counts), -1)
    if cover:
        _cover(counts, size, choice, filled)
    for group in np.argsort(-size):
        if choice[group] < 0:
            count = counts[group]
            rise = (2 * (filled - target) * count + count**2) / (target * total)
            choice[group] = rise.sum(axis=1).argmin()
            filled[choice[group]] += count
    return choice


def _cover(counts: np.ndarray, size: np.ndarray, choice: np.ndarray, filled: np.ndarray) -> None:
    """Fills `choice` and `filled` in place, the class of the fewest groups first."""
    for label in np.argsort((counts > 0).sum(axis=0)):
        for split in range(1, len(filled)):
            free = np.flatnonzero((choice < 0) & (counts[:, label] > 0))
            if filled[split, label] == 0 and len(free):
                group = free[size[free].argmin()]
                choice[group] = split
                filled[split] += counts[group]
