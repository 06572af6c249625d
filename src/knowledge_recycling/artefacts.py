"""What the stages left for each other in a run directory, as objects ready for use."""

from __future__ import annotations

from typing import Any

from torch import nn

from knowledge_recycling import classifiers, generators
from knowledge_recycling.config import Config
from knowledge_recycling.generators.interface import Generator
from knowledge_recycling.storage.files import read_json
from knowledge_recycling.storage.run_dir import RunDir
from knowledge_recycling.synthesis.parameters import Parameters
from knowledge_recycling.synthesis.source import Source
from knowledge_recycling.training.runtime import Runtime


def classifier(run_dir: RunDir, stage: str, runtime: Runtime) -> nn.Module:
    """The trained network of `teacher` or `distillation`, on the device, in eval mode.

    Raises:
        KRError: the stage has not run.
    """
    run_dir.result(stage)
    network = classifiers.load(run_dir.path / stage / "network")
    return network.to(runtime.device).requires_grad_(False)


def generator(run_dir: RunDir, snapshot: int, runtime: Runtime) -> Generator:
    """The Generator's snapshot at a step, on the device, in eval mode."""
    network = generators.load(run_dir.path / "generator" / "snapshots" / f"{snapshot:06d}")
    return network.to(runtime.device).requires_grad_(False)


def source(
    run_dir: RunDir, snapshot: int, teacher: nn.Module, parameters: Parameters, runtime: Runtime
) -> Source:
    """Synthetic images from a snapshot, labelled by the Teacher."""
    counts = run_dir.split().counts["train"]
    return Source(generator(run_dir, snapshot, runtime), teacher, parameters, counts, runtime)


def student_spec(config: Config, run_dir: RunDir) -> dict[str, Any]:
    """Keyword arguments of `classifiers.build` for the Student: the Teacher's where not set."""
    spec: dict[str, Any] = read_json(run_dir.path / "teacher" / "network.json")
    own = {name: getattr(config.distillation, name) for name in ("network", "width", "blocks")}
    return spec | {name: value for name, value in own.items() if value is not None}
