"""Stage 5: Generative Knowledge Distillation (GKD): the Student S never sees a real image.

Each regeneration period a fresh synthetic set is drawn from G; T labels its batches, and S
minimises the loss of `gkd`. The sets live on the device only. A Student on the same fixed features
as a private Teacher has the closed form of `linear_student` instead.
"""

from __future__ import annotations

from pathlib import Path

import torch

from knowledge_recycling import artefacts, classifiers
from knowledge_recycling.config import Config
from knowledge_recycling.errors import KRError
from knowledge_recycling.generators.moments import MomentsGenerator
from knowledge_recycling.results import DistillationResult
from knowledge_recycling.storage.files import write_npz
from knowledge_recycling.storage.metrics_log import Metrics
from knowledge_recycling.storage.run_dir import STATE, RunDir
from knowledge_recycling.synthesis import linear_student
from knowledge_recycling.synthesis.detail import DetailedSource
from knowledge_recycling.synthesis.gkd import Lessons
from knowledge_recycling.synthesis.parameters import Labels
from knowledge_recycling.synthesis.source import Source
from knowledge_recycling.training.checkpoint import Checkpoint
from knowledge_recycling.training.loop import fit
from knowledge_recycling.training.runtime import Runtime
from knowledge_recycling.training.seeds import derive

SAMPLES_PER_CLASS = 8


def run(config: Config, run_dir: RunDir) -> DistillationResult:
    """Trains S and writes distillation/network and samples of what it saw."""
    runtime = Runtime.of(config)
    section = config.distillation
    folder = run_dir.stage("distillation")
    teacher = artefacts.classifier(run_dir, "teacher", runtime)
    source = artefacts.chosen_source(run_dir, teacher, runtime)
    spec = artefacts.student_spec(config, run_dir)
    if spec["network"] == "features":
        return _linear(config, run_dir, source, spec)
    torch.manual_seed(derive(config.seed, "distillation", "weights"))
    student = runtime.place(artefacts.build(run_dir, spec))
    labels = _labels(config, run_dir)
    taught_by = (
        DetailedSource(**vars(source))
        if isinstance(source.generator, MomentsGenerator) and labels == "soft"
        else source
    )
    steps = section.steps_for(sum(source.class_counts))
    lessons = Lessons(
        taught_by,
        section,
        labels,
        steps,
        lambda *keys: derive(config.seed, "distillation", *keys),
    )
    fit(
        student,
        lessons,
        lessons.recipe,
        runtime,
        loss=lessons.loss,
        seed=(config.seed, "distillation"),
        label="Student",
        checkpoint=Checkpoint(folder / STATE, config.runtime.checkpoint_seconds),
        metrics=lambda step: Metrics(folder / "metrics.jsonl", step),
    )
    classifiers.save(folder / "network", student, spec)
    hidden = artefacts.hidden_classes(config, run_dir)
    acceptance = _samples(source, folder / "samples.npz", derive(config.seed, "samples"), hidden)
    return DistillationResult(
        parameters=sum(p.numel() for p in student.parameters()),
        steps=steps,
        labels=labels,
        regeneration_period=section.regeneration_period,
        synthetic_images=lessons.images_drawn(),
        acceptance=acceptance,
        snapshot=run_dir.result("selection").snapshot,
        synthesis=source.parameters,
    )


def _labels(config: Config, run_dir: RunDir) -> Labels:
    """The kind that was asked for, or that Tuning chose."""
    if config.distillation.labels != "auto":
        return config.distillation.labels
    tuning = run_dir.result("tuning")
    if not tuning.labels_table and not tuning.skipped:
        raise KRError(
            f"{run_dir.path}: distillation.labels=auto, but tuning compared no kinds of labels: it "
            "is taken over from a run that had set them. Set distillation.labels=soft or hard here "
            "too, or start a new run instead of a fork."
        )
    return tuning.labels


def _linear(
    config: Config, run_dir: RunDir, source: Source, spec: classifiers.Spec
) -> DistillationResult:
    """S on the Teacher's features, in closed form."""
    folder = run_dir.stage("distillation")
    student, drawn = linear_student.learn(source, derive(config.seed, "distillation", "set"))
    classifiers.save(folder / "network", student, spec)
    acceptance = _samples(source, folder / "samples.npz", derive(config.seed, "samples"), [])
    return DistillationResult(
        parameters=student.weights.numel(),
        steps=1,
        labels="soft",
        regeneration_period=0,
        synthetic_images=drawn,
        acceptance=acceptance,
        snapshot=run_dir.result("selection").snapshot,
        synthesis=source.parameters,
    )


def _samples(source: Source, path: Path, seed: int, hidden: list[int]) -> float:
    """Writes a grid of synthetic images by class; returns the share that passed the filter.

    The rows of `hidden` classes are black, and their soft labels zero.
    """
    classes = torch.arange(len(source.class_counts)).repeat_interleave(SAMPLES_PER_CLASS)
    drawn = source.draw_classes(classes, seed)
    grid = (len(source.class_counts), SAMPLES_PER_CLASS)
    images = drawn.images.permute(0, 2, 3, 1).cpu().numpy().reshape(*grid, *_hwc(drawn.images))
    soft_labels = drawn.targets.float().cpu().numpy().reshape(*grid, -1)
    images[hidden], soft_labels[hidden] = 0, 0
    write_npz(path, images=images, soft_labels=soft_labels)
    return drawn.acceptance


def _hwc(images: torch.Tensor) -> tuple[int, int, int]:
    return images.shape[2], images.shape[3], images.shape[1]
