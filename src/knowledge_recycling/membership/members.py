"""Who is in and who is out, checked once; every attack and every figure takes it from here."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike, NDArray

from knowledge_recycling.arrays import Bools
from knowledge_recycling.errors import KRError
from knowledge_recycling.statistics.estimate import Indices, group_codes

ALMOST = 0.9
"""Share of the records on which two pipelines differ from which they count as complements: of
independent halves of 20 records or more, one pair in ten thousand does."""


@dataclass(frozen=True, eq=False)
class Membership:
    """Which records trained which pipelines; made by `of`, which checks.

    Attributes:
        mask: (K, N) bool, whether record n trained pipeline k.
        pairs: (K,), the complement of each pipeline: the one that trained on the other records;
            -1 where there is none.
        groups: (N,), the number of each record's patient; None where patients are not known.
    """

    mask: Bools
    pairs: Indices
    groups: Indices | None = None

    @classmethod
    def of(
        cls, mask: ArrayLike, *, pairs: ArrayLike | None = None, groups: ArrayLike | None = None
    ) -> Membership:
        """Checks what is given and finds the pairs, in whatever order the pipelines are.

        Args:
            mask: (K, N) true and false, or 1 and 0; (N,) for a single pipeline.
            pairs: (K,), the complement of each pipeline or -1; None finds them.
            groups: (N,), the patient of each record; None: patients are not known.

        Raises:
            KRError: other values, two pipelines with the same members, `pairs` that are not
                complements, a record whose patient is not known, or a patient of whom a pipeline
                has some records and not others.

        Example:
            >>> Membership.of([[True, False], [True, True], [False, True]]).pairs
            array([ 2, -1,  0])
        """
        member = _as_mask(mask)
        differ = _differing(member)
        _refuse_twins(member, differ)
        found = _found_pairs(differ) if pairs is None else _checked_pairs(pairs, differ)
        codes = None if groups is None else group_codes(groups, member.shape[1], "groups")
        if codes is not None:
            _refuse_divided(member, codes)
        return cls(member, found, codes)

    @property
    def pipelines(self) -> int:
        """K."""
        return len(self.mask)

    @property
    def records(self) -> int:
        """N."""
        return self.mask.shape[1]

    @property
    def cluster(self) -> Indices:
        """(N,), the patient of each record; each record is its own where they are not known."""
        return np.arange(self.records) if self.groups is None else self.groups

    @property
    def units(self) -> int:
        """How many patients there are, or records where patients are not known."""
        return int(self.cluster.max()) + 1

    @cached_property
    def one_of_each_pair(self) -> Indices:
        """Pipelines without those that are only the complement of an earlier one."""
        return np.flatnonzero((self.pairs < 0) | (np.arange(self.pipelines) < self.pairs))

    @cached_property
    def lone(self) -> Indices:
        """Pipelines without complement, where there are several; the rest of one is all pairs."""
        alone = np.flatnonzero(self.pairs < 0)
        return alone if alone.size > 1 else alone[:0]

    def even_shadows(self, k: int) -> Bools:
        """(K, N): of each record as many IN as OUT shadows, whatever the target's membership.

        Where S of K pipelines trained on a record, a target that did has S - 1 IN shadows, and one
        that did not has S: in designs with a fixed S the count tells the target's membership, and
        the null falls below 0.5. So min(S, K - S) - 1 of each side are kept, the next in order
        after the target, which is the same number for all targets of the record.
        """
        size = self.pipelines
        inside = self.mask.sum(axis=0)
        kept = np.minimum(inside, size - inside) - 1
        order = (k + 1 + np.arange(size - 1)) % size
        others = self.mask[order]
        number = np.where(others, others.cumsum(axis=0), (~others).cumsum(axis=0))
        shadows = np.zeros_like(self.mask)
        shadows[order] = number <= kept
        return shadows

    def select(self, records: Bools, groups: ArrayLike | None = None) -> Membership:
        """Some records (N,) bool, of the same pairs; `groups` are those records' patients."""
        mask = self.mask[:, records]
        codes = None if groups is None else group_codes(groups, mask.shape[1], "groups")
        if codes is not None:
            _refuse_divided(mask, codes)
        return Membership(mask, self.pairs, codes)

    def of_patients(self) -> Membership:
        """The same of whole patients, in the order of their numbers."""
        first = np.unique(self.cluster, return_index=True)[1]
        return Membership(self.mask[:, first], self.pairs)

    def mean_of_pairs(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Mean of values (K,) over each pair; a pipeline without complement stands alone."""
        first = self.one_of_each_pair
        other = np.where(self.pairs[first] >= 0, self.pairs[first], first)
        return (values[first] + values[other]) / 2


def _as_mask(mask: ArrayLike) -> Bools:
    member = np.atleast_2d(np.asarray(mask))
    if member.ndim != 2 or member.size == 0:
        raise KRError(f"membership: expected (pipelines, records), got shape {member.shape}")
    if not np.isin(member, (0, 1)).all():
        raise KRError("membership: expected true and false (or 1 and 0) only")
    return member.astype(bool)


def _differing(member: Bools) -> NDArray[np.float64]:
    """Share of the records that one of two pipelines trained on and the other did not; (K, K)."""
    inside, outside = member.astype(np.float64), (~member).astype(np.float64)
    once = inside @ outside.T
    return np.asarray((once + once.T) / member.shape[1])


def _refuse_twins(member: Bools, differ: NDArray[np.float64]) -> None:
    first, second = np.nonzero(np.triu(differ == 0, 1))
    if not first.size:
        return
    rows, columns = member.shape
    swapped = f". Found {rows} pipelines (rows) of {columns} records (columns): are they swapped?"
    raise KRError(
        f"membership: pipelines {first[0]} and {second[0]} have the same members; each needs its "
        f"own random half{swapped if rows > columns else ''}"
    )


def _found_pairs(differ: NDArray[np.float64]) -> Indices:
    """Each pipeline and the one most unlike it, where that is mutual and they are `ALMOST`."""
    best, own = differ.argmax(axis=1), np.arange(len(differ))
    mutual = (best[best] == own) & (differ[own, best] >= ALMOST)
    return np.where(mutual, best, -1)


def _checked_pairs(pairs: ArrayLike, differ: NDArray[np.float64]) -> Indices:
    given, size = np.asarray(pairs), len(differ)
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
    for k in paired:
        if differ[k, given[k]] < ALMOST:
            raise KRError(
                f"pairs: pipelines {k} and {given[k]} are no complements; both or neither "
                f"trained on {1 - differ[k, given[k]]:.0%} of the records"
            )
    return given.astype(np.intp)


def _refuse_divided(member: Bools, groups: Indices) -> None:
    sizes = np.bincount(groups)
    for row in member:
        inside = np.bincount(groups, row)
        if ((inside > 0) & (inside < sizes)).any():
            raise KRError(
                "groups: a pipeline trained on some records of a group and not on others; "
                "membership must be drawn by group"
            )
