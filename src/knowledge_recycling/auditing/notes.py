"""What a reader must know of an audit's figures beside the figures, in plain words."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
from numpy.typing import ArrayLike, NDArray

from knowledge_recycling.arrays import Floats
from knowledge_recycling.auditing.figures import Figures
from knowledge_recycling.membership.members import Membership
from knowledge_recycling.statistics.estimate import LEAST_UNITS
from knowledge_recycling.statistics.rates import LEAST_NONMEMBERS


def of_figures(figures: Mapping[str, Figures], nonmembers: int, units: int) -> list[str]:
    """Intervals that say nothing, rates that are left out, scores whose sign is reversed.

    Args:
        figures: of each attack.
        nonmembers: trials.
        units: records or patients of the smaller side.
    """
    notes = []
    if units < LEAST_UNITS:
        notes.append(
            f"{units} records or patients on a side are too few for an interval ({LEAST_UNITS} "
            "are needed): it is given as 0 to 1"
        )
    if nonmembers < (least := LEAST_NONMEMBERS[0.01]):
        notes.append(
            f"the TPR at 1% FPR is left out: {nonmembers} non-member trials are too few to place "
            f"its threshold ({least} are needed)"
        )
    notes += [
        f"{name}: the whole interval of the attack AUC ({found.auc.low:.3f} to "
        f"{found.auc.high:.3f}) lies under 0.5. Higher must mean member, as minus a loss does; "
        f"minus the scores gives an attack AUC of {1 - found.auc.value:.2f}"
        for name, found in figures.items()
        if found.auc.high < 0.5
    ]
    return notes


def of_membership(membership: Membership) -> list[str]:
    """Designs that are not complementary pairs of halves."""
    inside, lone = membership.mask.sum(axis=0), int((membership.pairs < 0).sum())
    fixed = int(((inside == 0) | (inside == membership.pipelines)).sum())
    notes = []
    if lone:
        notes.append(
            f"{lone} of {membership.pipelines} pipelines have no complement (the pipeline that "
            "trained on the other records); with several such, as many IN as OUT shadows of each "
            "record are used for them, whatever the target trained on"
        )
    if fixed:
        notes.append(
            f"{fixed} of {membership.records} records are members of all pipelines or of none: "
            "their scores say nothing of membership"
        )
    return notes


def of_signals(signals: Floats) -> list[str]:
    """Arrays that are most likely not what is expected."""
    pipelines, records = signals.shape
    notes = []
    if signals.min() >= 0 and signals.max() <= 1:
        notes.append(
            "all signals lie in 0 to 1, as probabilities do. The logit margin is wanted: "
            "log p - log(1 - p), or better the logit less the logsumexp of the others"
        )
    if pipelines > records:
        notes.append(
            f"signals: rows are pipelines and columns are records, and these have {pipelines} "
            f"rows and {records} columns; if that is the wrong way round, transpose both arrays"
        )
    return notes


def of_both_sides(member_groups: ArrayLike | None, nonmember_groups: ArrayLike | None) -> list[str]:
    """Patients who are named among members and among non-members."""
    if member_groups is None or nonmember_groups is None:
        return []
    both = np.intersect1d(_text(member_groups), _text(nonmember_groups)).size
    if not both:
        return []
    return [
        f"{both} names stand in member_groups and in nonmember_groups. They count as different "
        "patients; if they are the same ones, membership was not drawn by patient, and the "
        "intervals are too narrow"
    ]


def joined(*parts: Iterable[str]) -> tuple[str, ...]:
    """All notes, each once."""
    return tuple(dict.fromkeys(note for part in parts for note in part))


def _text(groups: ArrayLike) -> NDArray[np.str_]:
    return np.asarray(groups).astype(str)
