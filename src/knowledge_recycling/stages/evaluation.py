"""Stage 6: what Teacher and Student reach on test, which nothing before has read.

CAS is the Student's test accuracy; the CAS gap is CAS less the Teacher's accuracy, in percentage
points, negative when the Student is worse. Beside it, diagnostics: how the synthetic images lie
among the test images in the Teacher's feature space.
"""

from __future__ import annotations

import numpy as np

from knowledge_recycling import artefacts, data
from knowledge_recycling.classifiers import metrics
from knowledge_recycling.classifiers.inference import features_of, logits_of
from knowledge_recycling.config import Config
from knowledge_recycling.data import Split
from knowledge_recycling.results import Diagnostics, EvaluationResult, Utility
from knowledge_recycling.statistics.binomial import proportion
from knowledge_recycling.statistics.estimate import Estimate
from knowledge_recycling.statistics.rates import paired_gap
from knowledge_recycling.storage.files import write_npz
from knowledge_recycling.storage.run_dir import RunDir
from knowledge_recycling.synthesis.fidelity import diagnose
from knowledge_recycling.training.runtime import Runtime
from knowledge_recycling.training.seeds import derive

MOST_REFERENCES = 5000
"""Test images that diagnostics use at most, drawn at random: their cost grows with the square."""
LEAST_SYNTHETIC = 500
"""Synthetic images of the diagnostics, where there are fewer test images than that."""


def run(config: Config, run_dir: RunDir) -> EvaluationResult:
    """Measures Teacher and Student on test, in float32."""
    runtime = Runtime.of(config).exact()
    (test,) = data.load(config.data, run_dir.split(), "test")
    images = runtime.images(test.images)
    section = config.evaluation
    logits, found, correct = {}, {}, {}
    for role, stage in artefacts.ROLES.items():
        network = artefacts.classifier(run_dir, stage, runtime)
        logits[role] = logits_of(network, images, runtime)
        p = logits[role].double().softmax(1).cpu().numpy()
        figures = metrics.classification(p, test.labels, section.calibration_bins)
        correct[role] = (p.argmax(1) == test.labels).astype(np.float64)
        accuracy = proportion(correct[role], test.groups)
        found[role] = Utility(**dict(figures), accuracy_interval=accuracy)
    gap = paired_gap(
        correct["student"],
        correct["teacher"],
        groups=test.groups,
        draws=section.bootstrap_draws,
        seed=config.seed,
    )
    predictions = {role: value.cpu().numpy() for role, value in logits.items()}
    write_npz(run_dir.stage("evaluation") / "predictions.npz", labels=test.labels, **predictions)
    agree = predictions["teacher"].argmax(1) == predictions["student"].argmax(1)
    return EvaluationResult(
        images=len(test.labels),
        teacher=found["teacher"],
        student=found["student"],
        cas_gap=Estimate(100 * gap.value, 100 * gap.low, 100 * gap.high),
        agreement=float(agree.mean()),
        diagnostics=_diagnostics(config, run_dir, test),
    )


def _diagnostics(config: Config, run_dir: RunDir, test: Split) -> Diagnostics:
    """Compares a synthetic set, drawn as the Student's were, with test images.

    Test is the reference because nothing was made or chosen with it: train images would reward
    copies, and validation has chosen the snapshot and the parameters of synthesis.
    """
    runtime = Runtime.of(config)
    teacher = artefacts.classifier(run_dir, "teacher", runtime)
    source = artefacts.chosen_source(run_dir, teacher, runtime)
    seed = derive(config.seed, "diagnostics")
    used = np.random.default_rng(seed).permutation(len(test))[:MOST_REFERENCES]
    made = source.draw(max(len(used), LEAST_SYNTHETIC), seed)
    images = runtime.images(test.images[used])
    real, space = features_of(teacher, images, runtime.exact())
    synthetic, _ = features_of(teacher, made.images, runtime.exact())
    likeness = diagnose(
        real.cpu().numpy(),
        test.labels[used],
        synthetic.cpu().numpy(),
        made.classes.cpu().numpy(),
        class_count=len(source.class_counts),
        groups=None if test.groups is None else test.groups[used],
        seed=seed,
    )
    return Diagnostics(space=f"teacher {space}", reference="test", **dict(likeness))
