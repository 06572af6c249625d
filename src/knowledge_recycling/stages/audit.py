"""Stage 7: what leaks. So far its first row, the paper's own protocol.

Train images are members, test images non-members, and threshold attacks look at the logits of
the Teacher and of the Student. Shadows of the whole pipeline, the row to be trusted, belong here
too; until they are run, the report says that they were not.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from knowledge_recycling import artefacts, data
from knowledge_recycling.attacks import threshold
from knowledge_recycling.classifiers.inference import logits_of
from knowledge_recycling.config import Config
from knowledge_recycling.data import Split
from knowledge_recycling.run_dir import RunDir, write_npz
from knowledge_recycling.runtime import Runtime
from knowledge_recycling.statistics import auc_estimate, roc_curve, tpr_at_fpr_estimate

WARNING = (
    "Members are the training split and non-members the test split, as in the paper. That "
    "membership is not random: where the two splits differ in anything else (hospital, time, "
    "class balance), an attack scores above chance without any leak, and a score near chance "
    "is weak evidence, because these attacks are weak."
)
ROLES = {"teacher": "teacher", "student": "distillation"}


@dataclass(frozen=True)
class Result:
    """What audit/result.json says."""

    protocol: str
    warning: str
    members: int
    nonmembers: int
    targets: dict[str, Any]


def run(config: Config, run_dir: RunDir) -> Result:
    """Attacks Teacher and Student."""
    runtime = Runtime.start(config).exact()
    members, nonmembers = data.load(config.data, run_dir.split(), "train", "test")
    evaluation = run_dir.result("evaluation")
    targets: dict[str, Any] = {}
    curves: dict[str, np.ndarray] = {}
    for role, stage in ROLES.items():
        network = artefacts.classifier(run_dir, stage, runtime)
        inside, outside = (
            threshold.scores(
                logits_of(network, runtime.images(split.images), runtime).cpu().numpy(),
                split.labels,
            )
            for split in (members, nonmembers)
        )
        accuracy = evaluation[role]["accuracy"]
        attacks = {
            name: _figures(inside[name], outside[name], members, nonmembers, accuracy, config)
            for name in inside
        }
        strongest = max(attacks, key=lambda name: attacks[name]["auc"]["value"])
        targets[role] = {
            "aop": attacks[strongest]["aop"],
            "strongest": strongest,
            "attacks": attacks,
        }
        for name in inside:
            fpr, tpr = roc_curve(inside[name], outside[name])
            curves |= {f"{role}.{name}.fpr": fpr, f"{role}.{name}.tpr": tpr}
    write_npz(run_dir.stage("audit") / "curves.npz", **curves)
    return Result("paper", WARNING, len(members.labels), len(nonmembers.labels), targets)


def _figures(
    inside: np.ndarray,
    outside: np.ndarray,
    members: Split,
    nonmembers: Split,
    accuracy: float,
    config: Config,
) -> dict[str, Any]:
    options: dict[str, Any] = {
        "member_groups": members.groups,
        "nonmember_groups": nonmembers.groups,
        "draws": config.audit.bootstrap_draws,
        "seed": config.seed,
    }
    auc = auc_estimate(inside, outside, **options)
    tpr = tpr_at_fpr_estimate(inside, outside, 0.01, **options)
    return {
        "auc": auc.as_dict(),
        "tpr_at_fpr": {"0.01": tpr.as_dict()},
        "aop": threshold.aop(accuracy, auc.value),
    }
