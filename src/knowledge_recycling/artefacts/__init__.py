"""What the stages left for each other in a run directory, as objects ready for use."""

from __future__ import annotations

from typing import Any, cast

import numpy as np
from torch import nn

from knowledge_recycling import classifiers, generators
from knowledge_recycling.config import Config
from knowledge_recycling.errors import KRError
from knowledge_recycling.generators.interface import Generator
from knowledge_recycling.results import SplitRecord
from knowledge_recycling.storage.files import read_npz, read_table
from knowledge_recycling.storage.run_dir import RunDir
from knowledge_recycling.synthesis.parameters import Parameters
from knowledge_recycling.synthesis.source import Source
from knowledge_recycling.training.runtime import Runtime

ROLES = {"teacher": "teacher", "student": "distillation"}
"""Who is measured -> the stage that left the network."""


SCREENING = "screening.npz"
"""The Teacher's file of which train images the screening of labels kept."""


def training_record(run_dir: RunDir) -> SplitRecord:
    """The record of the data, train without the images that the screening of labels dropped.

    Raises:
        KRError: the Teacher has not been trained, or its files have changed.
    """
    record, found = run_dir.split(), run_dir.result("teacher").screening
    if found is None:
        return record
    kept = read_npz(run_dir.artefact("teacher", SCREENING))["kept"]
    left = np.array(record.indices["train"])[kept].tolist()
    return record.with_split("train", left, training_counts(run_dir))


def training_counts(run_dir: RunDir) -> tuple[int, ...]:
    """How many images of each class train the run."""
    counts, found = run_dir.split().counts["train"], run_dir.result("teacher").screening
    if found is None:
        return counts
    return tuple(n - gone for n, gone in zip(counts, found.dropped, strict=True))


def build(run_dir: RunDir, spec: classifiers.Spec) -> nn.Module:
    """An untrained classifier.

    Raises:
        KRError: its code is no part of this package, and was not named or trusted in this call.
    """
    return classifiers.build(**spec, trust_code=_trusted(run_dir, spec["network"]))


def classifier(run_dir: RunDir, stage: str, runtime: Runtime) -> nn.Module:
    """The trained network of `teacher` or `distillation`, on the device, in eval mode.

    Raises:
        KRError: the stage has not run, its files have changed, or its code is not trusted.
    """
    network = saved_classifier(run_dir, stage)
    return network.to(runtime.device).requires_grad_(False)


def saved_classifier(run_dir: RunDir, stage: str) -> nn.Module:
    """The same on the CPU."""
    spec = read_table(run_dir.artefact(stage, "network.json"))
    trust = _trusted(run_dir, spec.get("network"))
    run_dir.artefact(stage, "network.safetensors")
    return classifiers.load(run_dir.path / stage / "network", trust_code=trust)


def _trusted(run_dir: RunDir, network: Any) -> bool:
    if isinstance(network, str) and network not in classifiers.OWN and ":" in network:
        if not run_dir.trusts(network):
            raise KRError(
                f"{run_dir.path}: its network {network!r} is no part of this package; building it "
                "imports and runs that code. If you trust whoever made this run, say so with "
                "--trust-code (from Python: trust_code=True)."
            )
        return True
    return False


def generator(run_dir: RunDir, snapshot: int, runtime: Runtime) -> Generator:
    """The Generator's snapshot at a step, on the device, in eval mode.

    Raises:
        KRError: the stage has not run, or its files have changed.
    """
    name = f"snapshots/{snapshot:06d}"
    for suffix in ("json", "safetensors"):
        run_dir.artefact("generator", f"{name}.{suffix}")
    network = generators.load(run_dir.path / "generator" / name)
    return network.to(runtime.device).requires_grad_(False)


def source(
    run_dir: RunDir, snapshot: int, teacher: nn.Module, parameters: Parameters, runtime: Runtime
) -> Source:
    """Synthetic images from a snapshot, labelled by the Teacher."""
    # A private run's counts are noisy: the exact ones are private.
    counts = run_dir.result("teacher").counts or training_counts(run_dir)
    counts = tuple(max(1, round(count)) for count in counts)
    return Source(generator(run_dir, snapshot, runtime), teacher, parameters, counts, runtime)


def chosen_source(run_dir: RunDir, teacher: nn.Module, runtime: Runtime) -> Source:
    """The same with the snapshot and the parameters of synthesis that the run chose."""
    snapshot = run_dir.result("selection").snapshot
    return source(run_dir, snapshot, teacher, run_dir.result("tuning").parameters, runtime)


def hidden_classes(config: Config, run_dir: RunDir) -> list[int]:
    """Classes whose synthetic images are near copies of their few patients, unless asked for."""
    if config.distillation.tiny_classes == "keep":
        return []
    tiny = run_dir.result("generator").tiny_classes
    return [y for y, name in enumerate(run_dir.split().class_names) if name in tiny]


def student_spec(config: Config, run_dir: RunDir) -> classifiers.Spec:
    """What makes the Student: as the Teacher, where not set."""
    spec = read_table(run_dir.artefact("teacher", "network.json"))
    own = {name: getattr(config.distillation, name) for name in ("network", "width", "blocks")}
    set_here = {name: value for name, value in own.items() if value is not None}
    return cast(classifiers.Spec, spec | set_here)
