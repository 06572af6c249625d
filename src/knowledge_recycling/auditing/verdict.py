"""From the signals of K pipelines to what may be said about the leaks of each release channel.

A pipeline's Teacher is the positive control: an audit that cannot see its leak has no power. The
blind baseline is the negative one: members must look like non-members to who never saw a target.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from knowledge_recycling.auditing import auditor
from knowledge_recycling.auditing.auditor import PRIMARY as PRIMARY
from knowledge_recycling.auditing.blind_baseline import blind_baseline
from knowledge_recycling.auditing.figures import CanaryArm, Control, Copies, Figures, Power, Target
from knowledge_recycling.membership.members import Membership
from knowledge_recycling.statistics.binomial import power_statement
from knowledge_recycling.statistics.epsilon import one_run_epsilon
from knowledge_recycling.statistics.rates import mean_interval, roc_curve
from knowledge_recycling.statistics.two_way import pooled_estimates

LABEL_VARIANTS = ("hard_labels", "tempered_labels", "rounded_labels")
"""The same synthetic images, labelled otherwise: the ablation of `soft_labels`."""

DISTANCE_ATTACKS = tuple(name for name in auditor.ATTACKS if not name.startswith("rmia"))
"""RMIA wants probabilities, which distances are not."""

CHANNELS: dict[str, tuple[str, ...]] = {
    "teacher": tuple(auditor.ATTACKS),
    "student": tuple(auditor.ATTACKS),
    "synthetic": DISTANCE_ATTACKS,
    "soft_labels": DISTANCE_ATTACKS,
    **dict.fromkeys(LABEL_VARIANTS, (PRIMARY,)),
}
CANARY_ATTACKS = ("threshold", "lira_online", PRIMARY)
COMPANIED = "near_duplicate"
"""The kind of canary that is several records."""
EXPOSED = 50
BAND = np.geomspace(1e-3, 1.0, 31)
"""False-positive rates at which the band around a ROC curve is drawn."""
FIRST = 0
"""The pipeline that stands for a single target, fixed beforehand."""


@dataclass(frozen=True)
class Verdict:
    """What the shadows say; `exposed` is private."""

    targets: dict[str, Target]
    """By channel."""
    control: Control
    powered: bool
    """Whether the primary attack finds the Teacher's leak and the control passed."""
    power: Power
    curves: dict[str, np.ndarray]
    exposed: list[int]
    """Positions in the pool of the records that the Student gives away most."""


def judge(
    phi: Mapping[str, np.ndarray],
    membership: Membership,
    features: np.ndarray,
    labels: np.ndarray,
    *,
    draws: int,
    seed: int,
) -> Verdict:
    """Audits every channel, leave-pair-out.

    Args:
        phi: channel -> signals (K, N), higher for members.
        membership: who trained what, and the patient of each record.
        features: (N, d) of the images alone, for the blind baseline.
        labels: (N,) the classes, within which membership was drawn.
        draws: of the membership, for the blind baseline.
        seed: of draws, folds and splits.
    """
    targets: dict[str, Target] = {}
    curves: dict[str, np.ndarray] = {}
    for channel, values in phi.items():
        scores = auditor.signal_scores(values, membership, attacks=CHANNELS[channel])
        found = auditor.audit_pooled(scores, membership, seed=seed)
        targets[channel] = Target(
            attacks=_of_shadows(found.attacks),
            groups=_of_shadows(found.groups) if found.groups else None,
            notes=found.notes,
            single=auditor.audit_target(scores[PRIMARY], membership, FIRST, fpr=0.01),
        )
        if channel not in LABEL_VARIANTS:
            drawn = _curves(scores[PRIMARY], membership)
            curves |= {f"shadows.{channel}.{name}": curve for name, curve in drawn.items()}
        if channel == "student":
            exposed = _exposed(scores[PRIMARY], membership.mask)
    control = blind_baseline(features, membership, strata=labels, draws=draws, seed=seed)
    found_teacher = targets["teacher"].attacks[PRIMARY].auc.low > 0.5
    return Verdict(
        targets=targets,
        control=control,
        powered=bool(found_teacher and control.passed),
        # Records, or patients, and not trials: those of one record are not independent.
        power=power_statement(membership.units, membership.units, 0.01),
        curves=curves,
        exposed=exposed,
    )


def _of_shadows(attacks: Mapping[str, Figures]) -> dict[str, Figures]:
    return {name: replace(figures, protocol="shadows") for name, figures in attacks.items()}


def _curves(scores: np.ndarray, membership: Membership) -> dict[str, np.ndarray]:
    """ROC curve of all trials, and its band: 95% intervals of the TPR at each FPR of `BAND`."""
    fpr, tpr = roc_curve(scores[membership.mask], scores[~membership.mask])
    _, rates = pooled_estimates(scores, membership, fprs=BAND.tolist())
    low, high = (np.array([getattr(e, end) for e in rates.values()]) for end in ("low", "high"))
    return {"fpr": fpr, "tpr": tpr, "band_fpr": BAND, "band_low": low, "band_high": high}


def canary_arm(
    phi: Mapping[str, np.ndarray],
    membership: Membership,
    kinds: Mapping[str, np.ndarray],
    *,
    seed: int,
) -> dict[str, CanaryArm]:
    """The worst case: the same attacks on the canaries alone.

    The one-run epsilon is that of the first pipeline, on the canaries that are one record each:
    a near-duplicate and its companions are three.

    Args:
        phi: channel -> signals (K, N) on all records.
        membership: who trained what.
        kinds: kind of canary -> (N,) bool, which records are of it.
        seed: of the splits behind epsilon.

    Returns:
        What was found, by channel.
    """
    chosen = np.any(list(kinds.values()), axis=0)
    member = membership.select(chosen)
    of_kind = {name: records[chosen] for name, records in kinds.items()}
    single = ~of_kind[COMPANIED]
    arm: dict[str, CanaryArm] = {}
    for channel in ("teacher", "student", "synthetic", "soft_labels"):
        scores = auditor.signal_scores(phi[channel][:, chosen], member, attacks=CANARY_ATTACKS)
        primary = scores[PRIMARY]
        by_kind = {
            name: pooled_estimates(primary[:, records], member.select(records), fprs=())[0]
            for name, records in of_kind.items()
        }
        arm[channel] = CanaryArm(
            attacks=auditor.audit_pooled(scores, member, seed=seed).attacks,
            kinds=by_kind,
            one_run=one_run_epsilon(primary[FIRST, single], member.mask[FIRST, single]),
        )
    return arm


def copies(synthetic: np.ndarray, held_out: np.ndarray, membership: Membership) -> Copies:
    """Copy detector: records with a synthetic image nearer than any record of the other side.

    Chance makes such records too, so members are compared with non-members, for whom the members
    are the other side.

    Args:
        synthetic: (K, N) minus the log distance to the nearest synthetic image.
        held_out: (K, N) the same to the nearest record of the other side.
        membership: who trained what.

    Returns:
        The shares, each with a Student's t interval over the complementary pairs.
    """
    near = synthetic > held_out

    def share(side: np.ndarray) -> np.ndarray:
        return membership.mean_of_pairs((near & side).sum(1) / side.sum(1))

    inside, outside = share(membership.mask), share(~membership.mask)
    return Copies(
        members=mean_interval(inside),
        nonmembers=mean_interval(outside),
        excess=mean_interval(inside - outside),
    )


def _exposed(scores: np.ndarray, membership: np.ndarray) -> list[int]:
    """Records in the order of how much likelier than a non-member they look when they are in."""
    inside = np.where(membership, scores, 0).sum(0) / np.maximum(membership.sum(0), 1)
    outside = np.where(membership, 0, scores).sum(0) / np.maximum((~membership).sum(0), 1)
    return np.argsort(outside - inside)[:EXPOSED].tolist()
