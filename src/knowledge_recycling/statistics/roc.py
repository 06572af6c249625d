"""The ROC curve of trials that are sorted once, and the effect of each trial on its figures.

Members and non-members are counted at the ordered distinct scores ("bins"). A figure is a sum over
these counts, and its influence function, the first-order effect of each trial, is read off them.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from knowledge_recycling.arrays import Bools, Floats
from knowledge_recycling.statistics.estimate import Indices


@dataclass(frozen=True, eq=False)
class Roc:
    """Counts at the B distinct scores, rising, and the bin of each trial; made by `of`.

    Attributes:
        order: of the trials by score, flat.
        bins: of each trial, in any shape.
        member: of each trial, in the same shape.
        members: (B,), member trials with each score.
        nonmembers: (B,), non-member trials with each score.
    """

    order: Indices
    bins: Indices
    member: Bools
    members: Floats
    nonmembers: Floats

    @classmethod
    def of(cls, scores: Floats, member: Bools) -> Roc:
        """Sorts the scores, the only time.

        Args:
            scores: of any shape, higher means member.
            member: whether each is of a member, of the same shape.
        """
        order = np.argsort(scores, axis=None)
        ranked, inside = scores.ravel()[order], member.ravel()[order]
        places = np.concatenate([[0], np.cumsum(ranked[1:] > ranked[:-1])])
        size = int(places[-1]) + 1
        bins = np.empty(scores.shape, dtype=np.intp)
        bins.ravel()[order] = places
        members = np.bincount(places, inside, size).astype(np.float64)
        nonmembers = np.bincount(places, ~inside, size).astype(np.float64)
        return cls(order, bins, member, members, nonmembers)

    @cached_property
    def hits(self) -> Floats:
        """Member trials at or above each bin, (B + 1,); the last, above all bins, is 0."""
        return _tail(self.members)

    @cached_property
    def false(self) -> Floats:
        """Non-member trials at or above each bin, (B + 1,)."""
        return _tail(self.nonmembers)

    @cached_property
    def auc(self) -> float:
        """P(member > non-member) + P(equal) / 2."""
        below = np.cumsum(self.nonmembers) - self.nonmembers / 2
        return float(self.members @ below / (self.hits[0] * self.false[0]))

    def threshold(self, fpr: float) -> int:
        """The lowest bin that at most `fpr` of the non-members reach."""
        # 0.29 * 100 is 28.999...: the slack keeps a whole number of false positives whole.
        allowed = fpr * self.false[0] * (1 + 1e-12)
        return int(np.searchsorted(-self.false, -allowed))

    def tpr(self, fpr: float) -> float:
        """The largest true-positive rate with a false-positive rate of at most `fpr`."""
        return float(self.hits[self.threshold(fpr)] / self.hits[0])

    def auc_influence(self) -> Floats:
        """Of each trial on the AUC; the sum is 0 (DeLong, DeLong and Clarke-Pearson 1988)."""
        beaten = (np.cumsum(self.nonmembers) - self.nonmembers / 2) / self.false[0]
        beating = 1 - (np.cumsum(self.members) - self.members / 2) / self.hits[0]
        of_member = (beaten - self.auc) / self.hits[0]
        of_nonmember = (beating - self.auc) / self.false[0]
        return np.where(self.member, of_member[self.bins], of_nonmember[self.bins])

    def rate_influence(self, threshold: int, members: bool) -> Floats:
        """Of each trial on the share of members, or of non-members, at or above a bin."""
        reached = self.hits if members else self.false
        over = self.bins >= threshold
        mine = self.member == members
        return np.where(mine, over - reached[threshold] / reached[0], 0.0) / reached[0]


def _tail(counts: Floats) -> Floats:
    return np.append(np.cumsum(counts[::-1])[::-1], 0.0)
