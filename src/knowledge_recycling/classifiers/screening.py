"""Screening of labels: Teachers of single folds vote on the records of all other folds.

With T_k trained on fold k alone, p_k(x) its probabilities of the classes, and f_i the fold of
record i among F,

    q_i = 1 / (F - 1) sum_{k != f_i} p_k(x_i):

the label y_i loses the vote where another class has a larger q_i, and the record is dropped. Of a
class that would lose more than half of its records none is dropped: the Teachers are then too weak
to judge it. After Brodley and Friedl 1999 (arXiv:1106.0219), whose classifiers train on all folds
but the one that they judge. Here they train on one: a wrong label then misleads one of them, and
the others vote on it.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

FOLDS = 4
LARGEST_LOSS = 0.5
"""Share of a class above which none of it is dropped."""
COLUMNS = ("record", "position_in_source", "file", "class", "voted", "probability_of_its_class")


@dataclass(frozen=True, eq=False)
class Screened:
    """What came out of the vote.

    Attributes:
        voted: (n,) int64, the class with the largest mean probability.
        own: (n,) float64, the mean probability of the record's own class.
        outvoted: (n,) bool, whether the record's label lost.
        kept: (n,) bool, whether the record is trained on.
    """

    voted: np.ndarray
    own: np.ndarray
    outvoted: np.ndarray
    kept: np.ndarray


def mean_vote(votes: Sequence[np.ndarray], fold: np.ndarray) -> np.ndarray:
    """q: the mean of all Teachers' probabilities but that of the record's own fold.

    Args:
        votes: for each fold k the probabilities (n_k, C) that its Teacher gives to the records of
            all other folds, in their order.
        fold: (n,) in 0..F-1.

    Returns:
        (n, C), rows that sum to 1.

    Example:
        >>> mean_vote([np.array([[0.2, 0.8]]), np.array([[0.9, 0.1]])], np.array([0, 1]))
        array([[0.9, 0.1],
               [0.2, 0.8]])
    """
    total = np.zeros((len(fold), votes[0].shape[1]))
    for k, probabilities in enumerate(votes):
        total[fold != k] += probabilities
    return total / (len(votes) - 1)


def judge(vote: np.ndarray, labels: np.ndarray) -> Screened:
    """Which records are dropped.

    Args:
        vote: (n, C), what `mean_vote` returned.
        labels: (n,) in 0..C-1.

    Example:
        >>> found = judge(np.array([[0.9, 0.1], [0.6, 0.4], [0.3, 0.7]]), np.array([0, 0, 0]))
        >>> found.kept, found.voted
        (array([ True,  True, False]), array([0, 0, 1]))
    """
    own = vote[np.arange(len(labels)), labels]
    outvoted = vote.max(axis=1) > own
    lost = np.bincount(labels[outvoted], minlength=vote.shape[1])
    spared = lost > LARGEST_LOSS * np.bincount(labels, minlength=vote.shape[1])
    return Screened(vote.argmax(axis=1), own, outvoted, ~outvoted | spared[labels])


def warning(outvoted: Sequence[int], dropped: Sequence[int], names: Sequence[str]) -> str | None:
    """Says of which classes nothing was dropped, though labels lost; None where there are none.

    Args:
        outvoted: records of each class whose label lost.
        dropped: records of each class that were dropped.
        names: of the classes.
    """
    spared = [name for name, o, d in zip(names, outvoted, dropped, strict=True) if o > d]
    if not spared:
        return None
    return (
        f"Screening of labels dropped nothing of {', '.join(spared)}: more than half of its labels "
        "would have gone, so the Teachers that voted are too weak there. Be wary of what it "
        "dropped of other classes too, or run without teacher.screening."
    )


def listing(
    found: Screened,
    labels: np.ndarray,
    positions: np.ndarray,
    files: Sequence[str] | None,
    names: Sequence[str],
) -> str:
    """The dropped records as CSV, those whose own class was given the least probability first.

    Args:
        found: what `judge` returned.
        labels: (n,) in 0..C-1.
        positions: (n,) in the source.
        files: n names of image files; None where there are none.
        names: of the classes.

    Returns:
        A row of `COLUMNS`, then one for each record. `record` counts from 0 within train.
    """
    text = io.StringIO(newline="")
    table = csv.writer(text, lineterminator="\n")
    table.writerow(COLUMNS)
    dropped = np.flatnonzero(~found.kept)
    for i in dropped[np.argsort(found.own[dropped], kind="stable")]:
        classes = names[labels[i]], names[found.voted[i]]
        file = files[i] if files else ""
        table.writerow([i, positions[i], file, *classes, f"{found.own[i]:.6f}"])
    return text.getvalue()
