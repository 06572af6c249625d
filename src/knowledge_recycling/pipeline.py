"""The ordered stages of Knowledge Recycling, and running those that are not done."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np

from knowledge_recycling import data
from knowledge_recycling.artefacts import guarantee
from knowledge_recycling.config import Config, Distillation, Privacy
from knowledge_recycling.errors import printable
from knowledge_recycling.generators import tiny
from knowledge_recycling.membership import plan
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
from knowledge_recycling.storage import verification
from knowledge_recycling.storage.files import (
    digest,
    file_digest,
    json_bytes,
    read_table,
    write_npz,
)
from knowledge_recycling.storage.run_dir import CACHE, PRECISION, RunDir
from knowledge_recycling.synthesis.probes import PROBE_LESSONS
from knowledge_recycling.training import precision, progress
from knowledge_recycling.training.progress import clock
from knowledge_recycling.training.provenance import peak_memory_bytes, reset_peak_memory
from knowledge_recycling.training.runtime import Runtime

PROBE = tuple(
    f"distillation.{field}"
    for field in Distillation.model_fields
    if field not in {"steps", "labels", "tiny_classes", *PROBE_LESSONS}
)
"""What the probes take from the Student's section."""


PRIVACY = tuple(f"privacy.{field}" for field in Privacy.model_fields if field != "budget")


@dataclass(frozen=True)
class Stage:
    """A stage, the stages whose results it is made from, and what it reads of the config."""

    name: str
    run: Callable[[Config, RunDir], Result]
    needs: tuple[str, ...] = ()
    reads: tuple[str, ...] = ()
    """Beside its own section, the seed and the precision."""
    private: bool = True
    """Whether it reads the private data, which must then be there."""
    extra_inputs: Callable[[RunDir], Mapping[str, str]] = lambda run_dir: {}
    """Hashes of what it reads beside results and config."""
    prepare: Callable[[Config, RunDir], None] = lambda config, run_dir: None
    """Run before it, for what the stage itself may not do."""
    always: bool = False
    """Run even when it is done: it is quick, and reads more than its inputs tell."""


def shadows_digest(run_dir: RunDir) -> dict[str, str]:
    """Changes with the shadows that the audit reads."""
    if plan.exists(run_dir.shadows):
        run_dir.record(f"{run_dir.shadows.name}/{name}" for name in plan.FILES)
    shadows = [RunDir(path.parent) for path in sorted(run_dir.shadows.glob("*/signals.npz"))]
    return {"shadows": digest([file_digest(shadow.check("signals.npz")) for shadow in shadows])}


def prepare_report(config: Config, run_dir: RunDir) -> None:
    """What is reported is what the run wrote; real images are shown only where asked for.

    They reach the report through the run directory.
    """
    verification.verify(run_dir, shadows=False)
    path = run_dir.path / "real_examples.npz"
    path.unlink(missing_ok=True)
    if config.report.show_real:
        grid = data.example_grid(config.data, run_dir.split(), 8, config.seed)
        write_npz(path, images=grid)


STAGES = (
    Stage("teacher", teacher.run, reads=PRIVACY),
    Stage("generator", generator.run, ("teacher",), PRIVACY),
    Stage("selection", selection.run, ("teacher", "generator"), PROBE),
    # It compares labels where they are left open, which changes nothing else of what it finds: so a
    # fork to other labels keeps it, and `distillation` refuses what it did not compare.
    Stage("tuning", tuning.run, ("teacher", "generator", "selection"), PROBE),
    Stage(
        "distillation",
        distillation.run,
        ("teacher", "generator", "selection", "tuning"),
        private=False,
    ),
    Stage(
        "evaluation",
        evaluation.run,
        ("teacher", "generator", "selection", "tuning", "distillation"),
    ),
    Stage(
        "audit",
        audit.run,
        ("teacher", "generator", "selection", "tuning", "distillation", "evaluation"),
        extra_inputs=shadows_digest,
    ),
    Stage("report", report.run, private=False, prepare=prepare_report, always=True),
)
NAMES = tuple(stage.name for stage in STAGES)


def run(config: Config, run_dir: RunDir, until: str = NAMES[-1]) -> None:
    """Runs the stages up to `until` that have no result from the present inputs.

    Raises:
        KRError: bad input, found before any work is done.
    """
    examine(config, run_dir)
    with own(run_dir):
        start(config, run_dir, *read(config, run_dir))
        for stage in STAGES[: NAMES.index(until) + 1]:
            advance(stage, config, run_dir)


def run_stage(name: str, config: Config, run_dir: RunDir) -> None:
    """Runs one stage; those that it is made from must be done."""
    stage = STAGES[NAMES.index(name)]
    private = stage.private or (name == "report" and config.report.show_real)
    if private:
        examine(config, run_dir)
    with own(run_dir):
        split, notes = read(config, run_dir) if private else (run_dir.split(), [])
        start(config, run_dir, split, notes)
        advance(stage, config, run_dir)


@contextlib.contextmanager
def own(run_dir: RunDir) -> Iterator[None]:
    """The lock of a run, and its cache for the images that are decoded meanwhile."""
    with run_dir.lock(), data.cached(run_dir.path / CACHE):
        yield


def check(config: Config, run_dir: RunDir) -> tuple[SplitRecord, list[str]]:
    """Checks everything that can be checked before the first training; writes nothing.

    Returns, raises: as `read`.
    """
    examine(config, run_dir)
    return read(config, run_dir)


def examine(config: Config, run_dir: RunDir) -> None:
    """Checks what can be checked without the data; writes nothing.

    Raises:
        KRError: a folder that is not this run's, another configuration, or no such device.
    """
    run_dir.check_scheme()
    run_dir.check_ours()
    run_dir.check_apart(config)
    run_dir.check_same(config, None)
    Runtime.of(config)


def read(config: Config, run_dir: RunDir) -> tuple[SplitRecord, list[str]]:
    """Reads the data, and checks the rest.

    Returns:
        The record of the data, see `data.describe`, and what to tell the user of them.

    Raises:
        KRError: bad data, or others than the run's.
    """
    source = data.open_source(config.data)
    split = data.describe(source, config.data, config.seed)
    run_dir.check_same(config, split)
    record = run_dir.split() if run_dir.has_split() else split
    guarantee.check(config, run_dir, record)
    tiny = [] if config.privacy.epsilon is not None else _tiny_notes(source, record)
    return split, [*record.notes, *tiny, *guarantee.notes(config, record)]


def start(config: Config, run_dir: RunDir, split: SplitRecord, notes: Sequence[str]) -> None:
    """Makes the directory this run's, under its lock."""
    Runtime.start(config)
    run_dir.adopt(data.located(config), split)
    for note in notes:
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
    if not (run_dir.path / PRECISION).exists():
        run_dir.keep(PRECISION, json_bytes(precision.decide(Runtime.of(config).device)))
    found = read_table(run_dir.check(PRECISION)).get("precision")
    return Config.parse(config.model_dump() | {"precision": found})


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
    circumstances = Runtime.of(config).describe()  # of the code as it is now
    reset_peak_memory()
    begin = time.monotonic()
    result = stage.run(config, run_dir)
    seconds = time.monotonic() - begin
    run_dir.write_result(
        stage.name,
        result,
        seconds=round(seconds, 3),
        finished=datetime.now(UTC).isoformat(timespec="seconds"),
        peak_memory_bytes=peak_memory_bytes(),
        resumed=resumed,
        **circumstances,
    )
    for warning in result.warnings():
        say(run_dir, f"warning: {warning}")
    say(run_dir, f"{stage.name}: done in {clock(seconds)}")


def _inputs(stage: Stage, config: Config, run_dir: RunDir) -> dict[str, str]:
    of_run = run_dir.inputs(config, stage.name, stage.needs, stage.reads)
    return of_run | dict(stage.extra_inputs(run_dir))


def take_over(name: str, config: Config, run_dir: RunDir, result: Result) -> None:
    """Gives a run another run's result of a stage, instead of running it or in place of its own."""
    stage = STAGES[NAMES.index(name)]
    with run_dir.lock():
        run_dir.begin(name, _inputs(stage, config, run_dir))
        run_dir.write_result(name, result, taken_over=True)


def say(run_dir: RunDir, line: str) -> None:
    """Prints a line and adds it to log.txt, as one line whatever names it quotes."""
    progress.say(line)
    run_dir.log(printable(line))
