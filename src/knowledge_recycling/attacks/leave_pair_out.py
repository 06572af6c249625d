"""Every pipeline is the target once; its shadows are the others without its complement.

K pipelines run on halves of one pool, in complementary pairs. With the complement kept, how
many IN shadows a record has depends on the target's own membership, and an attack on a pipeline
that leaks nothing falls below AUC 0.5. So the pair is left out. Of pipelines without a complement,
as many IN as OUT shadows are kept (`Membership.even_shadows`).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from knowledge_recycling.arrays import Bools, Floats
from knowledge_recycling.errors import KRError
from knowledge_recycling.membership.members import Membership

LARGEST = 1e12
"""Of a signal: beyond it, float64 no longer tells apart what differs by a thousandth."""


@dataclass(frozen=True)
class Moments:
    """Of each record over the shadows of each target: all (K, N), or (N,) for one target."""

    count: Floats
    mean: Floats
    """0 where count is 0."""
    square: Floats
    """Sum of the squared distances from the mean."""

    def row(self, k: int) -> Moments:
        """Those of target k alone."""
        return Moments(self.count[k], self.mean[k], self.square[k])


def as_signals(signals: ArrayLike, membership: Membership) -> Floats:
    """Checks and converts signals (K, N) to float64.

    Raises:
        KRError: another shape than the membership's, fewer than 3 pipelines, or signals that are
            not finite or too large.
    """
    phi = np.asarray(signals, dtype=np.float64)
    if phi.shape != membership.mask.shape:
        raise KRError(
            "signals and membership: expected two arrays of one shape (pipelines, records), "
            f"got {phi.shape} and {membership.mask.shape}"
        )
    if phi.shape[0] < 3:
        raise KRError(f"signals: {phi.shape[0]} pipelines are too few; run at least 3 (better 16)")
    if not np.isfinite(phi).all():
        raise KRError("signals: some are NaN or infinite; they must be finite numbers")
    largest = float(np.abs(phi).max())
    if largest > LARGEST:
        raise KRError(f"signals: up to {largest:.0e} is too large for logit margins")
    return phi


def leave_pair_out(values: Floats, membership: Membership) -> Floats:
    """Sum of values (K, N) over the shadows of each target: all but itself and its complement.

    A product with a (K, K) matrix of zeros and ones: as fast as subtracting two terms from the
    sum of all, and a small rest keeps its digits beside a large term that is left out.
    """
    pairs = membership.pairs
    shadow = 1.0 - np.eye(len(pairs))
    paired = np.flatnonzero(pairs >= 0)
    shadow[paired, pairs[paired]] = 0.0
    total = np.asarray(shadow @ values)
    for k in membership.lone:
        total[k] = np.where(membership.even_shadows(k), values, 0.0).sum(axis=0)
    return total


def moments(signals: Floats, chosen: Bools, membership: Membership) -> Moments:
    """Count, mean and spread of each record's signals over the chosen shadows of each target.

    Args:
        signals: (K, N).
        chosen: (K, N), which signals count: the mask for IN shadows, its negation for OUT.
        membership: who is left out as a target's complement.
    """
    # About the record's mean the sums of squares lose no digits.
    centre = signals.mean(axis=0)
    shifted = np.where(chosen, signals - centre, 0.0)
    count = leave_pair_out(chosen.astype(np.float64), membership)
    total = leave_pair_out(shifted, membership)
    divisor = np.maximum(count, 1.0)
    square = leave_pair_out(shifted**2, membership) - total**2 / divisor
    mean = np.where(count > 0, centre + total / divisor, 0.0)
    return Moments(count, mean, np.where(count > 1, np.maximum(square, 0.0), 0.0))
