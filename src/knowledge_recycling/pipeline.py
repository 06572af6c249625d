"""The ordered stages of Knowledge Recycling, and running those that are not done."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from knowledge_recycling import data
from knowledge_recycling.config import Config, Distillation
from knowledge_recycling.results import GeneratorResult, Result
from knowledge_recycling.stages import (
    audit,
    distillation,
    evaluation,
    generator,
    report,
    selection,
    teacher,
    tuning,
)
from knowledge_recycling.storage.files import digest, disk_full_explained, file_digest, write_npz
from knowledge_recycling.storage.run_dir import RunDir
from knowledge_recycling.synthesis.probes import PROBE_LESSONS
from knowledge_recycling.training.progress import clock, console
from knowledge_recycling.training.provenance import peak_memory_bytes, reset_peak_memory
from knowledge_recycling.training.runtime import Runtime

PROBE = tuple(
    f"distillation.{field}"
    for field in Distillation.model_fields
    if field not in {"steps", *PROBE_LESSONS}
)
"""What the probes take from the Student's section."""


@dataclass(frozen=True)
class Stage:
    """A stage, the stages whose results it is made from, and what it reads of the config."""

    name: str
    run: Callable[[Config, RunDir], Result]
    needs: tuple[str, ...] = ()
    reads: tuple[str, ...] = ()
    """Beside its own section, the seed and the precision."""


STAGES = (
    Stage("teacher", teacher.run),
    Stage("generator", generator.run, ("teacher",)),
    Stage("selection", selection.run, ("teacher", "generator"), PROBE),
    Stage("tuning", tuning.run, ("teacher", "generator", "selection"), PROBE),
    Stage("distillation", distillation.run, ("teacher", "generator", "selection", "tuning")),
    Stage(
        "evaluation",
        evaluation.run,
        ("teacher", "generator", "selection", "tuning", "distillation"),
    ),
    Stage("audit", audit.run, ("teacher", "distillation", "evaluation")),
    Stage("report", report.run),
)
NAMES = tuple(stage.name for stage in STAGES)


def run(config: Config, run_dir: RunDir, until: str = NAMES[-1]) -> None:
    """Runs the stages up to `until` that have no result from the present inputs.

    Raises:
        KRError: bad input, found before any work is done.
    """
    with _working(run_dir):
        start(config, run_dir)
        for stage in STAGES[: NAMES.index(until) + 1]:
            advance(stage, config, run_dir)


def run_stage(name: str, config: Config, run_dir: RunDir) -> None:
    """Runs one stage; those that it is made from must be done."""
    with _working(run_dir):
        start(config, run_dir)
        advance(STAGES[NAMES.index(name)], config, run_dir)


@contextlib.contextmanager
def _working(run_dir: RunDir) -> Iterator[None]:
    with disk_full_explained(run_dir.path), run_dir.lock():
        try:
            yield
        except KeyboardInterrupt:
            console.print("stopped; the same command goes on from the last checkpoint")
            raise


def start(config: Config, run_dir: RunDir) -> None:
    """Checks everything that can be checked before the first training."""
    Runtime.start(config)
    source = data.open_source(config.data)
    split = data.describe(source, config.data, config.seed)
    run_dir.adopt_config(config)
    for note in run_dir.adopt_split(split).notes:
        say(run_dir, f"note: {note}")


def advance(stage: Stage, config: Config, run_dir: RunDir) -> None:
    """Runs a stage unless its result is there, made from the same inputs."""
    inputs = run_dir.inputs(config, stage.name, stage.needs, stage.reads)
    if stage.name == "audit":
        inputs["shadows"] = _shadows_digest(run_dir)
    if stage.name == "report":
        _show_real(config, run_dir)
    elif run_dir.is_done(stage.name, inputs):
        say(run_dir, f"{stage.name}: done before")
        return
    resumed = run_dir.begin(stage.name, inputs)
    say(run_dir, f"{stage.name}: {'goes on' if resumed else 'starts'}")
    reset_peak_memory()
    begin = time.monotonic()
    result = stage.run(config, run_dir)
    seconds = time.monotonic() - begin
    run_dir.write_result(
        stage.name,
        result,
        seconds=round(seconds, 3),
        peak_memory_bytes=peak_memory_bytes(),
        resumed=resumed,
        **Runtime.start(config).describe(),
    )
    if isinstance(result, GeneratorResult) and result.warning:
        say(run_dir, f"warning: {result.warning}")
    say(run_dir, f"{stage.name}: done in {clock(seconds)}")


def _shadows_digest(run_dir: RunDir) -> str:
    """Changes with the shadows that the audit reads."""
    files = sorted((run_dir.path / "shadows").glob("*/signals.npz"))
    return digest([file_digest(path) for path in files])


def take_over(name: str, config: Config, run_dir: RunDir, result: Result) -> None:
    """Gives a run another run's result of a stage, instead of running it or in place of its own."""
    stage = STAGES[NAMES.index(name)]
    with _working(run_dir):
        inputs = run_dir.inputs(config, name, stage.needs, stage.reads)
        run_dir.begin(name, inputs)
        run_dir.write_result(name, result, taken_over=True)


def _show_real(config: Config, run_dir: RunDir) -> None:
    """Real images reach the report through the run directory, and only where asked for."""
    path = run_dir.path / "real_examples.npz"
    path.unlink(missing_ok=True)
    if config.report.show_real:
        grid = data.example_grid(config.data, run_dir.split(), 8, config.seed)
        write_npz(path, images=grid)


def say(run_dir: RunDir, line: str) -> None:
    """Prints a line and adds it to log.txt."""
    console.print(line, markup=False, soft_wrap=True)
    run_dir.log(line)
