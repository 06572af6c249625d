"""Every pipeline is the target once; its shadows are the others without its complement.

K pipelines run on halves of one pool, in complementary pairs. With the complement kept, how
many IN shadows a record has depends on the target's own membership, and an attack on a pipeline
that leaks nothing falls below AUC 0.5. So the pair is left out.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from knowledge_recycling.errors import KRError

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]


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


def as_signals(signals: ArrayLike, membership: ArrayLike) -> tuple[Floats, Bools]:
    """Checks and converts signals (K, N) to float64 and membership (K, N) to bool.

    Raises:
        KRError: shapes that differ, fewer than 3 pipelines, signals that are not finite,
            membership other than true and false, two pipelines with the same members.
    """
    phi, member = np.asarray(signals, dtype=np.float64), np.asarray(membership)
    if phi.ndim != 2 or phi.shape != member.shape:
        raise KRError(
            "signals and membership: expected two arrays of one shape (pipelines, records), "
            f"got {phi.shape} and {member.shape}"
        )
    if phi.shape[0] < 3 or phi.shape[1] < 1:
        raise KRError(f"signals: {phi.shape[0]} pipelines are too few; run at least 3 (better 16)")
    if not np.isfinite(phi).all():
        raise KRError("signals: some are NaN or infinite; they must be finite numbers")
    if not np.isin(member, (0, 1)).all():
        raise KRError("membership: expected true and false (or 1 and 0) only")
    return phi, member.astype(bool)


def complements(membership: ArrayLike, pairs: ArrayLike | None = None) -> NDArray[np.intp]:
    """The complement of each pipeline: the one that trained on exactly the other records.

    Args:
        membership: (K, N) bool, whether record n trained pipeline k.
        pairs: (K,), the complements where the caller knows them, -1 for none; None finds them.

    Returns:
        (K,) indices, -1 where there is none.

    Raises:
        KRError: two pipelines have the same members; `pairs` is not a pairing.

    Example:
        >>> complements([[True, False], [True, True], [False, True]])
        array([ 2, -1,  0])
    """
    member = np.ascontiguousarray(membership, dtype=bool)
    if pairs is not None:
        return _checked_pairs(pairs, len(member))
    found: dict[bytes, int] = {}
    for k, row in enumerate(member):
        if found.setdefault(row.tobytes(), k) != k:
            raise KRError(
                f"membership: pipelines {found[row.tobytes()]} and {k} have the same members; "
                "each needs its own random half"
            )
    return np.array([found.get((~row).tobytes(), -1) for row in member])


def leave_pair_out(values: Floats, pairs: NDArray[np.intp]) -> Floats:
    """Sum of values (K, N) over the shadows of each target: all but itself and its complement.

    A product with a (K, K) matrix of zeros and ones: as fast as subtracting two terms from the
    sum of all, and a small rest keeps its digits beside a large term that is left out.
    """
    shadow = 1.0 - np.eye(len(pairs))
    paired = np.flatnonzero(pairs >= 0)
    shadow[paired, pairs[paired]] = 0.0
    return np.asarray(shadow @ values)


def moments(signals: Floats, chosen: Bools, pairs: NDArray[np.intp]) -> Moments:
    """Count, mean and spread of each record's signals over the chosen shadows of each target.

    Args:
        signals: (K, N).
        chosen: (K, N), which signals count: membership for IN shadows, its negation for OUT.
        pairs: (K,), from `complements`.
    """
    # About the record's mean the sums of squares lose no digits.
    centre = signals.mean(axis=0)
    shifted = np.where(chosen, signals - centre, 0.0)
    count = leave_pair_out(chosen.astype(np.float64), pairs)
    total = leave_pair_out(shifted, pairs)
    divisor = np.maximum(count, 1.0)
    square = leave_pair_out(shifted**2, pairs) - total**2 / divisor
    mean = np.where(count > 0, centre + total / divisor, 0.0)
    return Moments(count, mean, np.where(count > 1, np.maximum(square, 0.0), 0.0))


def _checked_pairs(pairs: ArrayLike, size: int) -> NDArray[np.intp]:
    given = np.asarray(pairs)
    paired = np.flatnonzero(given >= 0) if given.shape == (size,) else np.array([])
    if (
        given.shape != (size,)
        or (given >= size).any()
        or (given[given[paired]] != paired).any()
        or (given == np.arange(size)).any()
    ):
        raise KRError(
            f"pairs: expected {size} indices, each pipeline's complement or -1, with "
            "pairs[pairs[k]] == k"
        )
    return given.astype(np.intp)
