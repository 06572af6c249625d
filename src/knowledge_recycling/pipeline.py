"""The ordered stages of Knowledge Recycling, and running those that are not done."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from knowledge_recycling import data
from knowledge_recycling.config import Config, Distillation
from knowledge_recycling.errors import printable
from knowledge_recycling.generators import tiny
from knowledge_recycling.results import Result, SplitRecord
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
from knowledge_recycling.storage.files import (
    digest,
    disk_full_explained,
    file_digest,
    read_json,
    write_json,
    write_npz,
)
from knowledge_recycling.storage.run_dir import RunDir
from knowledge_recycling.synthesis.probes import PROBE_LESSONS
from knowledge_recycling.training import precision, progress
from knowledge_recycling.training.progress import clock
from knowledge_recycling.training.provenance import peak_memory_bytes, reset_peak_memory
from knowledge_recycling.training.runtime import Runtime

PROBE = tuple(
    f"distillation.{field}"
    for field in Distillation.model_fields
    if field not in {"steps", "tiny_classes", *PROBE_LESSONS}
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
    extra_inputs: Callable[[RunDir], Mapping[str, str]] = lambda run_dir: {}
    """Hashes of what it reads beside results and config."""
    prepare: Callable[[Config, RunDir], None] = lambda config, run_dir: None
    """Run before it, for what the stage itself may not do."""
    always: bool = False
    """Run even when it is done: it is quick, and reads more than its inputs tell."""


def shadows_digest(run_dir: RunDir) -> dict[str, str]:
    """Changes with the shadows that the audit reads."""
    files = sorted(run_dir.shadows.glob("*/signals.npz"))
    return {"shadows": digest([file_digest(path) for path in files])}


def show_real(config: Config, run_dir: RunDir) -> None:
    """Real images reach the report through the run directory, and only where asked for."""
    path = run_dir.path / "real_examples.npz"
    path.unlink(missing_ok=True)
    if config.report.show_real:
        grid = data.example_grid(config.data, run_dir.split(), 8, config.seed)
        write_npz(path, images=grid)


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
    Stage(
        "audit",
        audit.run,
        ("teacher", "distillation", "evaluation"),
        extra_inputs=shadows_digest,
    ),
    Stage("report", report.run, prepare=show_real, always=True),
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
        yield


def start(config: Config, run_dir: RunDir) -> None:
    """Checks everything that can be checked before the first training."""
    Runtime.start(config)
    run_dir.check_scheme()
    source = data.open_source(config.data)
    split = data.describe(source, config.data, config.seed)
    run_dir.adopt_config(config)
    record = run_dir.adopt_split(split)
    for note in [*record.notes, *_tiny_notes(source, record)]:
        say(run_dir, f"note: {note}")


def _tiny_notes(source: data.Source, record: SplitRecord) -> list[str]:
    places = np.array(record.indices["train"], np.int64)
    groups = None if source.groups is None else source.groups[places]
    names = record.class_names
    return tiny.notes(tiny.classes(source.labels[places], groups, len(names)), names)


def decided(config: Config, run_dir: RunDir) -> Config:
    """The config with `precision: auto` as it was decided when the run began.

    What was measured then is in precision.json, which a fork takes along.
    """
    if config.precision != "auto":
        return config
    path = run_dir.path / "precision.json"
    if not path.exists():
        write_json(path, precision.decide(Runtime.of(config).device))
    return config.model_copy(update={"precision": read_json(path)["precision"]})


def advance(stage: Stage, config: Config, run_dir: RunDir) -> None:
    """Runs a stage unless its result is there, made from the same inputs."""
    inputs = _inputs(stage, config, run_dir)
    if run_dir.is_done(stage.name, inputs) and not stage.always:
        say(run_dir, f"{stage.name}: done before")
        return
    config = decided(config, run_dir)
    stage.prepare(config, run_dir)
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
        **Runtime.of(config).describe(),
    )
    if warning := getattr(result, "warning", None):
        say(run_dir, f"warning: {warning}")
    say(run_dir, f"{stage.name}: done in {clock(seconds)}")


def _inputs(stage: Stage, config: Config, run_dir: RunDir) -> dict[str, str]:
    of_run = run_dir.inputs(config, stage.name, stage.needs, stage.reads)
    return of_run | dict(stage.extra_inputs(run_dir))


def take_over(name: str, config: Config, run_dir: RunDir, result: Result) -> None:
    """Gives a run another run's result of a stage, instead of running it or in place of its own."""
    stage = STAGES[NAMES.index(name)]
    with _working(run_dir):
        run_dir.begin(name, _inputs(stage, config, run_dir))
        run_dir.write_result(name, result, taken_over=True)


def say(run_dir: RunDir, line: str) -> None:
    """Prints a line and adds it to log.txt, as one line whatever names it quotes."""
    progress.say(line)
    run_dir.log(printable(line))
