"""Stage 1: the Teacher Classifier T, trained on D_train; the last weights are kept.

In a private run T is the closed sum of noisy releases of `classifiers.private` instead, and
validation is not looked at.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from knowledge_recycling import artefacts, classifiers, data
from knowledge_recycling.artefacts import guarantee
from knowledge_recycling.classifiers import linear_head, metrics, private
from knowledge_recycling.classifiers.augmentation import augment
from knowledge_recycling.classifiers.inference import probabilities_of
from knowledge_recycling.config import Config
from knowledge_recycling.privacy import noise
from knowledge_recycling.privacy.mechanisms import Budget
from knowledge_recycling.results import TeacherResult, Validation
from knowledge_recycling.storage.metrics_log import Metrics
from knowledge_recycling.storage.run_dir import STATE, RunDir
from knowledge_recycling.training.batching import Shuffled
from knowledge_recycling.training.checkpoint import Checkpoint
from knowledge_recycling.training.loop import Recipe, fit
from knowledge_recycling.training.pixels import to_float
from knowledge_recycling.training.runtime import Runtime
from knowledge_recycling.training.seeds import derive


def run(config: Config, run_dir: RunDir) -> TeacherResult:
    """Trains T and writes teacher/network."""
    if config.privacy.epsilon is not None:
        return _private(config, run_dir)
    runtime = Runtime.of(config)
    record = run_dir.split()
    train, val = data.load(config.data, record, "train", "val")
    folder = run_dir.stage("teacher")
    spec: classifiers.Spec = {
        "network": config.teacher.network,
        "channels": record.channels,
        "classes": len(record.class_names),
        "size": record.size,
        "width": config.teacher.width,
        "blocks": config.teacher.blocks,
    }
    torch.manual_seed(derive(config.seed, "teacher", "weights"))
    network = runtime.place(artefacts.build(run_dir, spec))
    images, labels = runtime.images(train.images), torch.from_numpy(train.labels)
    labels = labels.to(runtime.device)
    chosen = Shuffled(
        len(labels),
        config.teacher.batch_size,
        lambda epoch: derive(config.seed, "teacher", "order", epoch),
        runtime.device,
    )

    steps = config.teacher.steps_for(len(labels))

    def batches(step: int) -> tuple[Tensor, Tensor]:
        index = chosen(step)
        return to_float(augment(images[index], config.teacher)), labels[index]

    val_images = runtime.images(val.images)

    def judge(network: nn.Module) -> dict[str, float]:
        return metrics.quick_look(probabilities_of(network, val_images, runtime), val.labels)

    fit(
        network,
        batches,
        Recipe(steps, config.teacher.learning_rate, config.teacher.weight_decay),
        runtime,
        seed=(config.seed, "teacher"),
        label="Teacher",
        checkpoint=Checkpoint(folder / STATE, config.runtime.checkpoint_seconds),
        metrics=lambda step: Metrics(folder / "metrics.jsonl", step),
        judge=judge,
        looks=config.teacher.evaluations,
    )
    classifiers.save(folder / "network", network, spec)
    return TeacherResult(
        parameters=sum(p.numel() for p in network.parameters()),
        steps=steps,
        validation=_validation(network, val_images, val.labels, runtime),
    )


def _validation(
    network: nn.Module, images: Tensor, labels: np.ndarray, runtime: Runtime
) -> Validation:
    figures = metrics.classification(probabilities_of(network, images, runtime), labels)
    return Validation(**{name: getattr(figures, name) for name in Validation.model_fields})


def _private(config: Config, run_dir: RunDir) -> TeacherResult:
    """T with a formal guarantee; what was released before a kill is not released again."""
    record = run_dir.split()
    spent = guarantee.released(run_dir, "teacher")
    if spent is None:
        (train,) = data.load(config.data, record, "train")
        units = guarantee.units(config, train)
        spent = guarantee.spend(config, run_dir, "teacher")
        budget = Budget(guarantee.mu(config), guarantee.SHARES["teacher"])
        classes, symmetry = len(record.class_names), config.privacy.symmetry
        network, counts = private.train(
            train.images,
            train.labels,
            classes,
            units=units,
            budget=budget,
            symmetry=symmetry,
            noise=noise.gaussian,
        )
        spec: classifiers.Spec = {
            "network": "features",
            "channels": record.channels,
            "classes": classes,
            "size": record.size,
            "width": config.teacher.width,
            "blocks": config.teacher.blocks,
            "symmetry": symmetry,
            "block": network.features.block,
        }
        classifiers.save(run_dir.stage("teacher") / "network", network, spec)
        guarantee.keep(run_dir, "teacher", spent, counts.tolist())
    folder = run_dir.stage("teacher")
    weights = classifiers.load(folder / "network").get_parameter("weights")
    return TeacherResult(
        parameters=weights.numel(),
        steps=linear_head.Descent().steps,
        validation=None,
        guarantee=spent,
        counts=guarantee.counts(run_dir),
    )
