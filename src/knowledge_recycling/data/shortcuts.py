"""How well a class can be told from a file's outside: its size, aspect ratio, format, kind."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import NamedTuple

import numpy as np

FOLDS = 5
LEAST = 0.05
"""Margin above chance below which nothing is said."""


class Shortcut(NamedTuple):
    """Share of images, averaged over classes, whose class a fact about the file gives away."""

    fact: str
    accuracy: float
    chance: float

    def note(self) -> str:
        """The sentence for a report."""
        return (
            f"the {self.fact} of the files alone tells the class in {self.accuracy:.0%} of images "
            f"(averaged over classes; chance is {self.chance:.0%}): a classifier may have learned "
            "where images come from instead of what they show"
        )


def majority_accuracy(cells: Sequence[Hashable], labels: np.ndarray) -> tuple[float, float]:
    """Balanced accuracy of predicting the class from one fact, by a cross-validated table.

    The class predicted for a cell is argmax_c n(cell, c) / n(c) over the other folds; a cell that
    they do not hold gets a guess, which is right in 1 / C of cases.

    Args:
        cells: (n,) the fact of each image.
        labels: (n,) int64 in 0..C-1, each class there.

    Returns:
        The balanced accuracy, and its standard error.

    Example:
        >>> majority_accuracy(["jpg", "png"] * 50, np.arange(100) % 2)
        (1.0, 0.0)
    """
    codes = {cell: code for code, cell in enumerate(dict.fromkeys(cells))}
    cell = np.array([codes[c] for c in cells])
    classes = int(labels.max()) + 1
    fold = np.random.default_rng(0).permutation(len(labels)) % FOLDS
    right = np.empty(len(labels))
    for k in range(FOLDS):
        table = np.zeros((len(codes), classes))
        np.add.at(table, (cell[fold != k], labels[fold != k]), 1)
        table /= np.maximum(table.sum(axis=0), 1)
        held = fold == k
        best = table[cell[held]].max(axis=1, keepdims=True)
        ties = table[cell[held]] == best
        right[held] = ties[np.arange(held.sum()), labels[held]] / ties.sum(axis=1)
    total = np.bincount(labels, minlength=classes)
    share = np.bincount(labels, weights=right, minlength=classes) / total
    error = float(np.sqrt((share * (1 - share) / total).sum()) / classes)
    return float(share.mean()), error


def find(
    shapes: Sequence[tuple[int, int]], facts: dict[str, list[str]], labels: np.ndarray
) -> list[Shortcut]:
    """Tries each fact about the files.

    Args:
        shapes: (height, width) of each image in its file.
        facts: further facts by name, a value for each image.
        labels: (n,) int64 in 0..C-1.

    Returns:
        Those that tell the classes apart by more than chance: by 5 points and by three standard
        errors, with 20 images at least.
    """
    if len(labels) < 20:
        return []
    area = [round(4 * np.log2(h * w)) for h, w in shapes]
    distinct = len(set(shapes)) <= 50
    tried: dict[str, Sequence[Hashable]] = {
        "size in pixels": list(shapes) if distinct else area,
        "aspect ratio": [round(8 * np.log2(w / h)) for h, w in shapes],
        **facts,
    }
    chance = 1 / (int(labels.max()) + 1)
    found = []
    for fact, cells in tried.items():
        accuracy, error = majority_accuracy(cells, labels)
        if accuracy - chance > max(LEAST, 3 * error):
            found.append(Shortcut(fact, accuracy, chance))
    return found
