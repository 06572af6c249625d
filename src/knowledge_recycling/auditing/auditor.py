"""The auditor: arrays of scores or signals in, estimates with intervals out; no model, no images.

Scores: higher means member. An audit gives lower bounds: what no attack here finds is "not found
at this power". Membership must be a random half of one pool (see `blind_baseline.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from knowledge_recycling.arrays import Floats
from knowledge_recycling.attacks import lira, rmia, shrunken_t, student_t
from knowledge_recycling.attacks.leave_pair_out import as_signals
from knowledge_recycling.auditing import notes
from knowledge_recycling.auditing.figures import Audit, Figures, Single
from knowledge_recycling.errors import KRError
from knowledge_recycling.membership.members import Membership
from knowledge_recycling.statistics.epsilon import epsilon_of
from knowledge_recycling.statistics.estimate import as_scores, group_codes
from knowledge_recycling.statistics.rates import LEAST_NONMEMBERS
from knowledge_recycling.statistics.roc import Roc
from knowledge_recycling.statistics.two_way import Trials, auc_of, rate_above, tpr_of

FPRS = {"0.01": 0.01, "0.001": 0.001}

Attack = Callable[[Floats, Membership], Floats]
ATTACKS: dict[str, Attack] = {
    "threshold": lambda signals, membership: signals,
    "lira_online": lira.online,
    "lira_offline": lira.offline,
    "student_t": student_t.online,
    "shrunken_t": shrunken_t.online,
    "rmia_online": rmia.online,
    "rmia_offline": rmia.offline,
}
"""Scores (K, N) of every pipeline as the target, from signals and membership."""
PRIMARY = "shrunken_t"
"""The attack that conclusions rest on, fixed beforehand: the one made for few shadows."""


def audit_scores(
    member_scores: ArrayLike,
    nonmember_scores: ArrayLike,
    *,
    member_groups: ArrayLike | None = None,
    nonmember_groups: ArrayLike | None = None,
    name: str = "scores",
    delta: float = 0.0,
    seed: int = 0,
) -> Audit:
    """Figures of any attack on one target, from its scores.

    Args:
        member_scores: (n,), higher means member.
        nonmember_scores: (m,).
        member_groups: (n,), the patient of each member; None: each record is its own.
        nonmember_groups: (m,), likewise.
        name: of the attack.
        delta: of the guarantee whose epsilon is bounded.
        seed: of the splits behind epsilon.

    Returns:
        The figures of the one attack; a TPR is None under `LEAST_NONMEMBERS`.

    Raises:
        KRError: a side is empty, not one-dimensional or holds NaN; groups of another length.

    Example:
        >>> result = audit_scores([2.0, 3.0, 4.0], [0.0, 1.0, 1.5])
        >>> result.attacks["scores"].auc.value
        1.0
    """
    sides = [as_scores(member_scores, "member_scores")]
    sides.append(as_scores(nonmember_scores, "nonmember_scores"))
    given = member_groups, nonmember_groups
    membership = Membership.of(
        np.repeat([True, False], [side.size for side in sides]), groups=_joined(sides, *given)
    )
    trials = Trials.of(np.concatenate(sides)[None], membership)
    attacks = {name: _pooled(trials, delta=delta, seed=seed)}
    said = notes.of_figures(attacks, sides[1].size, trials.units)
    return Audit(attacks, notes=notes.joined(said, notes.of_both_sides(*given)))


def audit_signals(
    signals: ArrayLike,
    membership: Membership,
    *,
    attacks: Sequence[str] = tuple(ATTACKS),
    delta: float = 0.0,
    seed: int = 0,
) -> Audit:
    """Figures of every attack, each pipeline once the target, its complement left out.

    Args:
        signals: (K, N), phi of record n under pipeline k (see `attacks.signals.logit_margin`).
        membership: which records trained which pipeline, and whose they are: `Membership.of`.
        attacks: names out of `ATTACKS`.
        delta: of the guarantee whose epsilon is bounded.
        seed: of the splits behind epsilon.

    Returns:
        The figures over all records; with patients also those of whole patients, whose score is
        the mean over their records.

    Raises:
        KRError: shapes or values that do not fit, or an unknown attack.
    """
    scores = signal_scores(signals, membership, attacks=attacks)
    found = audit_pooled(scores, membership, delta=delta, seed=seed)
    said = notes.of_signals(np.asarray(signals, dtype=np.float64))
    return replace(found, notes=notes.joined(said, found.notes))


def audit_pooled(
    scores: Mapping[str, Floats],
    membership: Membership,
    *,
    delta: float = 0.0,
    seed: int = 0,
) -> Audit:
    """Figures of leave-pair-out scores (K, N) by attack; arguments and result of `audit_signals`.

    Raises:
        KRError: shapes or values that do not fit.
    """
    options: dict[str, Any] = {"delta": delta, "seed": seed}
    records = {
        name: _pooled(Trials.of(values, membership), **options) for name, values in scores.items()
    }
    said = notes.joined(
        notes.of_membership(membership),
        notes.of_figures(records, int((~membership.mask).sum()), membership.units),
    )
    if membership.groups is None:
        return Audit(records, notes=said)
    whole = membership.of_patients()
    patients = {
        name: _pooled(Trials.of(group_means(values, membership.groups), whole), **options)
        for name, values in scores.items()
    }
    return Audit(records, patients, said)


def signal_scores(
    signals: ArrayLike,
    membership: Membership,
    *,
    attacks: Sequence[str] = tuple(ATTACKS),
) -> dict[str, Floats]:
    """The (K, N) leave-pair-out scores of the named attacks; arguments as in `audit_signals`.

    Raises:
        KRError: shapes or values that do not fit, or an unknown attack.
    """
    phi = as_signals(signals, membership)
    unknown = [name for name in attacks if name not in ATTACKS]
    if unknown:
        raise KRError(f"attack {unknown[0]!r} is unknown; known: {', '.join(ATTACKS)}")
    return {name: ATTACKS[name](phi, membership) for name in attacks}


def audit_target(
    scores: ArrayLike,
    membership: Membership,
    target: int,
    *,
    fpr: float = 0.01,
) -> Single:
    """One pipeline's TPR and FPR at a threshold fixed on its shadows, with exact intervals.

    The threshold is the lowest that at most `fpr` of the shadows' non-member scores reach. Its
    true FPR on the target is a figure of its own, and may lie above `fpr`.

    Args:
        scores: (K, N) leave-pair-out scores, such as of `signal_scores`.
        membership: which records trained which pipeline, and whose they are.
        target: which pipeline.
        fpr: wanted false-positive rate, in (0, 1).

    Returns:
        Both rates, with Clopper-Pearson intervals.

    Raises:
        KRError: shapes or values that do not fit.
    """
    trials = Trials.of(scores, membership)
    left_out = [target, membership.pairs[target]]
    shadow = ~np.isin(np.arange(len(trials.scores)), left_out)
    reference = np.sort(trials.scores[shadow][~trials.member[shadow]])[::-1]
    allowed = min(int(fpr * reference.size * (1 + 1e-12)), reference.size - 1)
    threshold = float(np.nextafter(reference[allowed], np.inf))
    row = slice(target, target + 1)
    own = Trials(trials.scores[row], trials.member[row], trials.cluster)
    return Single(rate_above(own, threshold, True), rate_above(own, threshold, False))


def group_means(scores: Floats, groups: ArrayLike) -> Floats:
    """Mean score of each group's records: (K, N) and (N,) to (K, G), groups in sorted order."""
    codes = group_codes(groups, scores.shape[1], "groups")
    return np.stack([np.bincount(codes, row) for row in scores]) / np.bincount(codes)


def _pooled(trials: Trials, *, delta: float, seed: int) -> Figures:
    """All figures of trials, which are sorted once."""
    roc = Roc.of(trials.scores, trials.member)
    nonmembers = int((~trials.member).sum())
    return Figures(
        auc=auc_of(trials, roc),
        tpr_at_fpr={
            text: tpr_of(trials, roc, fpr) if _enough(nonmembers, fpr) else None
            for text, fpr in FPRS.items()
        },
        epsilon=epsilon_of(trials, roc, delta=delta, seed=seed),
    )


def _enough(nonmembers: int, fpr: float) -> bool:
    return nonmembers >= LEAST_NONMEMBERS[fpr]


def _joined(
    sides: Sequence[Floats], member_groups: ArrayLike | None, nonmember_groups: ArrayLike | None
) -> NDArray[np.intp]:
    """Groups of members, then of non-members, numbered apart."""
    first = group_codes(member_groups, sides[0].size, "member_groups")
    second = group_codes(nonmember_groups, sides[1].size, "nonmember_groups")
    return np.concatenate([first, second + first.max() + 1])
