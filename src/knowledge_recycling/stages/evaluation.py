"""Stage 6: what Teacher and Student reach on test, which nothing before has read.

CAS is the Student's test accuracy; the CAS gap is CAS less the Teacher's accuracy, in percentage
points, negative when the Student is worse.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from knowledge_recycling import artefacts, data, metrics
from knowledge_recycling.classifiers.inference import logits_of
from knowledge_recycling.config import Config
from knowledge_recycling.run_dir import RunDir, write_npz
from knowledge_recycling.runtime import Runtime
from knowledge_recycling.statistics import paired_difference

ROLES = {"teacher": "teacher", "student": "distillation"}


@dataclass(frozen=True)
class Result:
    """What evaluation/result.json says."""

    images: int
    teacher: dict[str, Any]
    student: dict[str, Any]
    cas_gap: dict[str, float]
    agreement: float


def run(config: Config, run_dir: RunDir) -> Result:
    """Measures Teacher and Student on test, in float32."""
    runtime = Runtime.start(config).exact()
    (test,) = data.load(config.data, run_dir.split(), "test")
    images = runtime.images(test.images)
    section = config.evaluation
    logits, figures, correct = {}, {}, {}
    for role, stage in ROLES.items():
        network = artefacts.classifier(run_dir, stage, runtime)
        logits[role] = logits_of(network, images, runtime)
        p = logits[role].double().softmax(1).cpu().numpy()
        figures[role] = metrics.classification(p, test.labels, section.calibration_bins)
        correct[role] = (p.argmax(1) == test.labels).astype(np.float64)
        accuracy = paired_difference(
            correct[role],
            np.zeros_like(correct[role]),
            groups=test.groups,
            draws=section.bootstrap_draws,
            seed=config.seed,
        )
        figures[role]["accuracy_interval"] = accuracy.as_dict()
    gap = paired_difference(
        100 * correct["student"],
        100 * correct["teacher"],
        groups=test.groups,
        draws=section.bootstrap_draws,
        seed=config.seed,
    )
    predictions = {role: value.cpu().numpy() for role, value in logits.items()}
    write_npz(run_dir.stage("evaluation") / "predictions.npz", labels=test.labels, **predictions)
    agree = predictions["teacher"].argmax(1) == predictions["student"].argmax(1)
    return Result(
        images=len(test.labels),
        teacher=figures["teacher"],
        student=figures["student"],
        cas_gap=gap.as_dict(),
        agreement=float(agree.mean()),
    )
