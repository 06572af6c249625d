"""From the signals of K pipelines to what may be said about the leaks of each release channel.

A pipeline's Teacher is the positive control: an audit that cannot see its leak has no power. The
blind baseline is the negative one: members must look like non-members to who never saw a target.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from knowledge_recycling import auditing
from knowledge_recycling.blind_baseline import blind_baseline
from knowledge_recycling.errors import KRError
from knowledge_recycling.statistics import roc_curve
from knowledge_recycling.statistics_audit import power_statement

PRIMARY = "student_t"
"""The attack that conclusions rest on, fixed beforehand: the one made for few shadows."""

LABEL_VARIANTS = ("hard_labels", "tempered_labels", "rounded_labels")
"""The same synthetic images, labelled otherwise: the ablation of `soft_labels`."""

CHANNELS: dict[str, tuple[str, ...]] = {
    "teacher": tuple(auditing.ATTACKS),
    "student": tuple(auditing.ATTACKS),
    # RMIA wants probabilities, which distances are not.
    "synthetic": ("threshold", "lira_online", "lira_offline", "student_t"),
    "soft_labels": ("threshold", "lira_online", "lira_offline", "student_t"),
    **dict.fromkeys(LABEL_VARIANTS, (PRIMARY,)),
}
EXPOSED = 50


@dataclass(frozen=True)
class Verdict:
    """What the shadows say; `exposed` is private."""

    targets: dict[str, Any]
    """channel -> {"attacks": {name: figures}}, and "groups" where patients are known."""
    control: dict[str, Any]
    """Blind baseline: `auc` and `passed`."""
    powered: bool
    """Whether the primary attack finds the Teacher's leak and the control passed."""
    power: dict[str, Any]
    curves: dict[str, np.ndarray]
    exposed: list[int]
    """Positions in the pool of the records that the Student gives away most."""


def judge(
    phi: Mapping[str, np.ndarray],
    membership: np.ndarray,
    groups: np.ndarray | None,
    features: np.ndarray,
    *,
    draws: int,
    seed: int,
) -> Verdict:
    """Audits every channel, leave-pair-out.

    Args:
        phi: channel -> signals (K, N), higher for members.
        membership: (K, N) bool.
        groups: (N,) the patient of each record, or None.
        features: (N, d) of the images alone, for the blind baseline.
        draws: bootstrap draws.
        seed: of draws and folds.
    """
    targets = {
        channel: auditing.audit_signals(
            values, membership, groups=groups, attacks=CHANNELS[channel], draws=draws, seed=seed
        )
        for channel, values in phi.items()
    }
    for target in targets.values():
        for figures in target["attacks"].values():
            figures["protocol"] = "shadows"
    control = blind_baseline(features, membership[0], groups=groups, draws=draws, seed=seed)
    scores = {
        channel: auditing.signal_scores(values, membership, attacks=(PRIMARY,))[PRIMARY]
        for channel, values in phi.items()
    }
    curves: dict[str, np.ndarray] = {}
    for channel, values in scores.items():
        fpr, tpr = roc_curve(values[membership], values[~membership])
        curves |= {f"shadows.{channel}.fpr": fpr, f"shadows.{channel}.tpr": tpr}
    found = targets["teacher"]["attacks"][PRIMARY]["auc"]["low"] > 0.5
    return Verdict(
        targets=targets,
        control=control,
        powered=bool(found and control["passed"]),
        power=dict(power_statement(int(membership.sum()), int((~membership).sum()), 0.01)),
        curves=curves,
        exposed=_exposed(scores["student"], membership),
    )


def _exposed(scores: np.ndarray, membership: np.ndarray) -> list[int]:
    """Records in the order of how much likelier than a non-member they look when they are in."""
    inside = np.where(membership, scores, 0).sum(0) / np.maximum(membership.sum(0), 1)
    outside = np.where(membership, 0, scores).sum(0) / np.maximum((~membership).sum(0), 1)
    return np.argsort(outside - inside)[:EXPOSED].tolist()


def exceeds(targets: Mapping[str, Any], gate: str) -> bool:
    """Whether a release gate is shut: the Student's *lower* bound lies above the limit.

    Args:
        targets: of audit/result.json.
        gate: `tpr@1%=LIMIT`, `tpr@0.1%=LIMIT` or `auc=LIMIT`.

    Raises:
        KRError: the gate cannot be read, or no shadows were run.

    Example:
        >>> estimate = {"value": 0.6, "low": 0.55, "high": 0.65}
        >>> attacks = {"student_t": {"auc": estimate, "protocol": "shadows"}}
        >>> exceeds({"student": {"attacks": attacks}}, "auc=0.5")
        True
        >>> exceeds({"student": {"attacks": attacks}}, "auc=0.57")
        False
    """
    match = re.fullmatch(r"(auc|tpr@1%|tpr@0\.1%)=(0?\.\d+|[01](?:\.\d*)?)", gate.replace(" ", ""))
    if not match:
        raise KRError(f'--fail-above {gate}: expected "tpr@1%=0.03", "tpr@0.1%=..." or "auc=..."')
    figures = targets["student"]["attacks"].get(PRIMARY)
    if not figures:
        raise KRError("--fail-above: no shadows were run; run `kr shadows RUN` first")
    name, limit = match[1], float(match[2])
    rates = {"tpr@1%": "0.01", "tpr@0.1%": "0.001"}
    estimate = figures["auc"] if name == "auc" else figures["tpr_at_fpr"][rates[name]]
    if estimate is None:
        raise KRError("--fail-above: the TPR at 0.1% FPR needs 10,000 non-member trials")
    return bool(estimate["low"] > limit)
