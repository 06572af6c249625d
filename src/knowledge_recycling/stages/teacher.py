"""Stage 1: the Teacher Classifier T, trained on D_train; the last weights are kept.

Where it is asked for, Teachers of folds first vote on the labels, see `classifiers.screening`.
In a private run T is the closed sum of noisy releases of `classifiers.private` instead, and
validation is not looked at.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from knowledge_recycling import artefacts, classifiers, data
from knowledge_recycling.artefacts import guarantee
from knowledge_recycling.classifiers import linear_head, metrics, private, screening
from knowledge_recycling.classifiers.augmentation import augment
from knowledge_recycling.classifiers.inference import probabilities_of
from knowledge_recycling.config import Config
from knowledge_recycling.errors import KRError
from knowledge_recycling.privacy import noise
from knowledge_recycling.privacy.mechanisms import Budget
from knowledge_recycling.results import Screening, SplitRecord, TeacherResult, Validation
from knowledge_recycling.storage.files import read_npz, write_bytes, write_npz
from knowledge_recycling.storage.metrics_log import Metrics
from knowledge_recycling.storage.ownership import SCREENED
from knowledge_recycling.storage.run_dir import STATE, RunDir
from knowledge_recycling.training.batching import Shuffled
from knowledge_recycling.training.checkpoint import Checkpoint
from knowledge_recycling.training.images import Images
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
    images = runtime.images(train.images)
    steps = config.teacher.steps_for(len(train))
    school = _School(config, run_dir, runtime, spec, images, train.labels, steps)
    found, kept = None, np.arange(len(train))
    if config.teacher.screening:
        found, kept = _screened(school, record, train.indices)
    val_images = runtime.images(val.images)

    def judge(network: nn.Module) -> dict[str, float]:
        return metrics.quick_look(probabilities_of(network, val_images, runtime), val.labels)

    network = school.teacher(
        kept,
        "teacher",
        steps,
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
        screening=found,
        warning=screening.warning(found.outvoted, found.dropped, record.class_names)
        if found
        else None,
    )


@dataclass(frozen=True)
class _School:
    """The train images, and what a Teacher of some of them is made by."""

    config: Config
    run_dir: RunDir
    runtime: Runtime
    spec: classifiers.Spec
    images: Images
    labels: np.ndarray
    steps: int
    """Of the Teacher of all of them."""

    def teacher(self, rows: np.ndarray, purpose: str, steps: int, **how: Any) -> nn.Module:
        """Trains a Teacher on some rows; `purpose` seeds it, `how` is for `fit`."""
        section, seed, device = self.config.teacher, self.config.seed, self.runtime.device
        torch.manual_seed(derive(seed, purpose, "weights"))
        network = self.runtime.place(artefacts.build(self.run_dir, self.spec))
        places = torch.from_numpy(rows).to(device)
        labels = torch.from_numpy(self.labels).to(device)
        chosen = Shuffled(
            len(rows),
            section.batch_size,
            lambda epoch: derive(seed, purpose, "order", epoch),
            device,
        )

        def batches(step: int) -> tuple[Tensor, Tensor]:
            index = places[chosen(step)]
            return to_float(augment(self.images[index], section)), labels[index]

        recipe = Recipe(steps, section.learning_rate, section.weight_decay)
        fit(network, batches, recipe, self.runtime, seed=(seed, purpose), **how)
        return network


def _screened(
    school: _School, record: SplitRecord, positions: np.ndarray
) -> tuple[Screening, np.ndarray]:
    """Lets Teachers of folds vote on the labels of train; returns what came out, and the kept rows.

    Raises:
        KRError: a class cannot be brought into each fold.
    """
    config, labels, names = school.config, school.labels, record.class_names
    folder = school.run_dir.stage("teacher")
    seed = derive(config.seed, "screening", "folds")
    try:
        fold = data.draw_folds(config.data, record, "train", screening.FOLDS, seed)
    except KRError as error:
        raise KRError(
            f"teacher.screening: {error}. Add images of it, or run with teacher.screening=false."
        ) from None
    votes = [_votes(school, fold, k, folder / f"votes_{k}.npz") for k in range(screening.FOLDS)]
    found = screening.judge(screening.mean_vote(votes, fold), labels)
    write_npz(folder / artefacts.SCREENING, kept=found.kept)
    files = data.file_names(config.data, record, "train")
    listed = screening.listing(found, labels, positions, files, names)
    write_bytes(folder / SCREENED, listed.encode())
    outvoted, dropped = (
        tuple(np.bincount(labels[of], minlength=len(names)).tolist())
        for of in (found.outvoted, ~found.kept)
    )
    return Screening(outvoted=outvoted, dropped=dropped), np.flatnonzero(found.kept)


def _votes(school: _School, fold: np.ndarray, k: int, path: Path) -> np.ndarray:
    """Probabilities (n_k, C) of the images of the other folds, by a Teacher of fold k.

    They are written when it is trained, and a run that was killed trains it once.
    """
    state = path.with_suffix(".pt")
    if not path.exists():
        network = school.teacher(
            np.flatnonzero(fold == k),
            f"screening {k}",
            max(1, school.steps // screening.FOLDS),
            label=f"Teacher of fold {k + 1} of {screening.FOLDS}",
            checkpoint=Checkpoint(state, school.config.runtime.checkpoint_seconds),
        )
        found = probabilities_of(network, school.images, school.runtime)
        write_npz(path, probabilities=found[fold != k])
    state.unlink(missing_ok=True)
    return read_npz(path)["probabilities"]


def _validation(
    network: nn.Module, images: Images, labels: np.ndarray, runtime: Runtime
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
