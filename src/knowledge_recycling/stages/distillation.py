"""Stage 5: Generative Knowledge Distillation (GKD): the Student S never sees a real image.

Each regeneration period a fresh synthetic set is drawn from G; T labels its batches, and S
minimises the loss of `gkd`. The sets live on the device only.
"""

from __future__ import annotations

from pathlib import Path

import torch

from knowledge_recycling import artefacts, classifiers
from knowledge_recycling.config import Config
from knowledge_recycling.results import DistillationResult
from knowledge_recycling.storage.files import write_npz
from knowledge_recycling.storage.metrics_log import Metrics
from knowledge_recycling.storage.run_dir import STATE, RunDir
from knowledge_recycling.synthesis.gkd import Lessons
from knowledge_recycling.synthesis.source import Source
from knowledge_recycling.training.checkpoint import Checkpoint
from knowledge_recycling.training.loop import fit
from knowledge_recycling.training.runtime import Runtime
from knowledge_recycling.training.seeds import derive

SAMPLES_PER_CLASS = 8


def run(config: Config, run_dir: RunDir) -> DistillationResult:
    """Trains S and writes distillation/network and samples of what it saw."""
    runtime = Runtime.start(config)
    section = config.distillation
    folder = run_dir.stage("distillation")
    teacher = artefacts.classifier(run_dir, "teacher", runtime)
    snapshot = run_dir.result("selection").snapshot
    parameters = run_dir.result("tuning").parameters
    source = artefacts.source(run_dir, snapshot, teacher, parameters, runtime)
    spec = artefacts.student_spec(config, run_dir)
    torch.manual_seed(derive(config.seed, "distillation", "weights"))
    student = runtime.place(classifiers.build(**spec))
    lessons = Lessons(
        source, section, section.steps, lambda *keys: derive(config.seed, "distillation", *keys)
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
    acceptance = _samples(source, folder / "samples.npz", derive(config.seed, "samples"))
    return DistillationResult(
        parameters=sum(p.numel() for p in student.parameters()),
        steps=section.steps,
        labels=section.labels,
        regeneration_period=section.regeneration_period,
        synthetic_images=lessons.images_drawn(),
        acceptance=acceptance,
        snapshot=snapshot,
        synthesis=parameters,
    )


def _samples(source: Source, path: Path, seed: int) -> float:
    """Writes a grid of synthetic images by class; returns the share that passed the filter."""
    classes = torch.arange(len(source.class_counts)).repeat_interleave(SAMPLES_PER_CLASS)
    drawn = source.draw_classes(classes, seed)
    grid = (len(source.class_counts), SAMPLES_PER_CLASS)
    write_npz(
        path,
        images=drawn.images.permute(0, 2, 3, 1).cpu().numpy().reshape(*grid, *_hwc(drawn.images)),
        soft_labels=drawn.targets.float().cpu().numpy().reshape(*grid, -1),
    )
    return drawn.acceptance


def _hwc(images: torch.Tensor) -> tuple[int, int, int]:
    return images.shape[2], images.shape[3], images.shape[1]
