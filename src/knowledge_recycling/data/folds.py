"""Folds of a split: what belongs together stays together, and each class is in each fold."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from knowledge_recycling.config import Data
from knowledge_recycling.data.source import open_source
from knowledge_recycling.data.splits import ATTEMPTS, assign_groups, units
from knowledge_recycling.data.words import count, shown
from knowledge_recycling.errors import KRError
from knowledge_recycling.results import SplitRecord


def draw_folds(config: Data, record: SplitRecord, name: str, number: int, seed: int) -> np.ndarray:
    """Draws folds of a split, stratified by class; patients and exact copies stay together.

    Args:
        config: where the data are.
        record: what `describe` returned.
        name: `train`, `val` or `test`.
        number: of folds.
        seed: of the draw.

    Returns:
        (n,) int64 in 0..number-1, in the order of the split.

    Raises:
        KRError: a class cannot be brought into each fold.
    """
    source = open_source(config)
    places = np.array(record.indices[name], np.int64)
    return draw(source.labels[places], units(source)[places], record.class_names, number, seed)


def draw(
    labels: np.ndarray, together: np.ndarray, names: Sequence[str], number: int, seed: int
) -> np.ndarray:
    """Draws folds of about equal size.

    Args:
        labels: (n,) in 0..C-1, no class empty.
        together: (n,) codes; images of one code go into the same fold.
        names: C names, by label.
        number: of folds.
        seed: of the draw.

    Returns:
        (n,) int64 in 0..number-1. Where no two images belong together, the folds' counts of a
        class differ by at most one.

    Raises:
        KRError: a class cannot be brought into each fold; says which.

    Example:
        >>> fold = draw(np.repeat([0, 1], 8), np.arange(16), ["a", "b"], 4, seed=0)
        >>> np.bincount(fold[:8]), np.bincount(fold[8:])
        (array([2, 2, 2, 2]), array([2, 2, 2, 2]))
    """
    _, codes = np.unique(together, return_inverse=True)
    counts = np.zeros((codes.max() + 1, len(names)))
    np.add.at(counts, (codes, labels), 1)
    sets = (counts > 0).sum(axis=0)
    rng = np.random.default_rng(seed)
    if (sets >= number).all():
        for attempt in range(ATTEMPTS):
            choice = assign_groups(counts, np.full(number, 1 / number), rng, cover=attempt > 0)
            filled = np.stack([counts[choice == k].sum(axis=0) for k in range(number)])
            if (filled > 0).all():
                return choice[codes]
    rarest = int(sets.argmin())
    images = count(int(counts[:, rarest].sum()), "image")
    raise KRError(
        f"the class {shown(names[rarest])} cannot be brought into each of {number} folds: it has "
        f"{images} in {count(int(sets[rarest]), 'set')} that cannot be divided (a patient's "
        "images, or copies of one image)"
    )
