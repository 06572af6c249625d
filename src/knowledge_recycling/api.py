"""The whole job from Python: what the command line can, and a run that shows itself.

Whatever a caller can get wrong is refused here, before anything is written, with a `KRError` that
holds no pixel and no label. What is heavy is imported by the function that needs it.
"""

from __future__ import annotations

import contextlib
import difflib
import html
import numbers
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import ArrayLike

from knowledge_recycling.config import PRESETS, Config
from knowledge_recycling.errors import KRError, printable
from knowledge_recycling.membership.halves import check_count
from knowledge_recycling.stages import NAMES
from knowledge_recycling.storage.files import read_npz
from knowledge_recycling.storage.run_dir import CACHE, RunDir

if TYPE_CHECKING:
    from torch import nn

    from knowledge_recycling.auditing.gate import Formal, Gate
    from knowledge_recycling.auditing.limits import Limits
    from knowledge_recycling.bundle.predictor import Predictor
    from knowledge_recycling.privacy.ledger import Entry
    from knowledge_recycling.reporting.comparison import Comparison
    from knowledge_recycling.results import AuditResult

ARRAYS = ("images", "labels", "groups")
DATA = (
    "`digits`, a path, `hf:owner/name`, a MedMNIST name, or arrays (images, labels) or (images, "
    "labels, groups)"
)
KEPT = "source.npz"
"""Where a run made from arrays keeps them."""


class Run(RunDir):
    """A run directory that shows what is in it: its figures as text, in a notebook as a table."""

    @property
    def student(self) -> nn.Module:
        """The Student, in eval mode on the CPU, see `student`."""
        return student(self)

    @property
    def predictions(self) -> dict[str, np.ndarray]:
        """Labels and logits on test, see `predictions`. They are private."""
        return predictions(self)

    @property
    def done(self) -> tuple[str, ...]:
        """The stages that have a result."""
        return tuple(name for name in NAMES if (self.path / name / "result.json").exists())

    def summary(self) -> list[tuple[str, str, str, str]]:
        """The result as rows (measure, Teacher, Student, difference); none before the evaluation.

        Raises:
            KRError: a result cannot be read.
        """
        from knowledge_recycling import reporting

        return reporting.summary(self.path)

    def __repr__(self) -> str:
        parts = [printable(self.path), f"done: {', '.join(self.done) or 'nothing'}"]
        if "evaluation" in self.done:
            with contextlib.suppress(KRError):  # a damaged file has no gap
                gap = self.result("evaluation").cas_gap
                ends = f"{gap.low:+.2f} to {gap.high:+.2f}"
                parts.append(f"CAS gap: {gap.value:+.2f} points ({ends})")
        return f"Run({', '.join(parts)})"

    def _repr_html_(self) -> str:
        caption = f"<p>{html.escape(repr(self))}</p>"
        rows = [("on test", "Teacher", "Student", "difference"), *self.summary()]
        if len(rows) == 1:
            return caption
        return f"{caption}<table>{''.join(map(_html_row, rows))}</table>"


def _html_row(row: Sequence[str]) -> str:
    return f"<tr>{''.join(f'<td>{html.escape(printable(cell))}</td>' for cell in row)}</tr>"


AnyRun = str | os.PathLike[str] | RunDir
Arrays = Sequence[ArrayLike]


@contextlib.contextmanager
def _foreseen() -> Iterator[None]:
    """Turns what the machine lacks into a `KRError`.

    Raises:
        KRError: memory ran out, or a file may not be read or written.
    """
    try:
        yield
    except OSError as error:
        if error.filename is None or error.strerror is None:
            raise
        raise KRError(f"{error.filename}: {error.strerror}") from error
    except (MemoryError, RuntimeError) as error:
        # torch has errors of its own for a full GPU and for a full machine.
        named = type(error).__name__ == "OutOfMemoryError" or "DefaultCPUAllocator" in str(error)
        if not named and not isinstance(error, MemoryError):
            raise
        raise KRError(
            "memory ran out. Smaller images need less (the setting data.size=32, say), and so do "
            "fewer shadows at a time; `kr doctor` says how much memory there is. What was "
            "finished is kept: run the same again to go on."
        ) from error


@_foreseen()
def run(
    data: str | os.PathLike[str] | Arrays,
    out: AnyRun,
    *,
    preset: str | None = None,
    seed: int | None = None,
    until: str = NAMES[-1],
    settings: Sequence[str] = (),
    shadows: int | None = None,
    canaries: int = 0,
    workers: int = 1,
    engine: str = "processes",
    address: str | None = None,
    reuse_choices: bool = False,
    device: str | None = None,
    epsilon: float | None = None,
    delta: float | None = None,
    unit: str | None = None,
    symmetry: str | None = None,
    budget: float | None = None,
    config: str | os.PathLike[str] | Config | None = None,
    fork: str | os.PathLike[str] | None = None,
    skip_broken: bool = False,
    show_real: bool = False,
    trust_code: bool = False,
) -> Run:
    """Runs all stages, or goes on with a run that was stopped.

    Args:
        data: `digits`, a path, `hf:owner/name`, a MedMNIST name, or arrays (images, labels) or
            (images, labels, groups): images (n, h, w) or (n, h, w, c), uint8 or float in 0..1.
            Arrays are kept in `out`/source.npz, so that the run can be resumed from the command
            line.
        out: run directory.
        preset: `demo`, `fast` (default), `paper`, or `private` (default with an epsilon).
        seed: all randomness comes from it; 0 by default.
        until: last stage to run.
        settings: `stage.field=value` strings.
        shadows: whole pipelines on halves of the training split, for the audit; 0, or an even
            number from 8 up. By default 16 in a private run, where the data can be halved, and
            else none.
        canaries: records planted in the shadows as the worst case.
        workers: shadows at a time; they share the threads.
        engine: where shadows run: `processes` of this machine, or the machines of a `ray` cluster,
            see docs/many-machines.md.
        address: of the Ray cluster: `auto` (default: the one that this machine is in), `local` (one
            for this call), `HOST:PORT` or `ray://HOST:PORT`.
        reuse_choices: shadows take over the run's snapshot and synthesis parameters.
        device: `auto` (default), `cpu`, `cuda` or `cuda:N`.
        epsilon: of differential privacy for all that the run makes, see docs/private.md; None: an
            ordinary run, without a formal guarantee.
        delta: probability with which epsilon may fail; 1e-5 by default.
        unit: whom epsilon is for, `image` or `patient`; a patient where patients are known.
        symmetry: changes that mean nothing in the images: `none` (default), `flip` or `square`.
        budget: largest epsilon of all private runs on these data together.
        config: YAML file as in a run directory, or a `Config`, of which the set fields count.
        fork: new directory that takes over what stays valid of the run `out`.
        skip_broken: leave out images that cannot be decoded.
        show_real: real images in the report, which is then private.
        trust_code: build networks of any import path that files name, which runs that code; what
            `settings` name is trusted without it.

    Returns:
        The run; `.result("evaluation").cas_gap` is what the Student costs.

    Raises:
        KRError: bad input, found before any training.

    Example:
        >>> import knowledge_recycling as kr
        >>> done = kr.run("digits", "runs/digits", preset="demo")  # doctest: +SKIP
        >>> done.result("evaluation").cas_gap                   # doctest: +SKIP
    """
    from knowledge_recycling import data as sources
    from knowledge_recycling import pipeline, shadow_runs
    from knowledge_recycling.workers import engine as engine_of

    _check_name("until", until, NAMES)
    audited = until in NAMES[NAMES.index("audit") :]
    _check_shadows(0 if shadows is None else shadows, canaries, workers, reuse_choices)
    place = engine_of(engine, workers, address)
    if shadows and not audited:
        raise KRError(f"until: shadows are run for the audit, and {until} comes before it")
    folder = _path(out, "out")
    target = folder if fork is None else _path(fork, "fork")
    given = isinstance(data, tuple | list)
    resolved = configuration(
        str(target / KEPT) if given else _path_text(data, "data", DATA),
        preset=preset,
        seed=seed,
        settings=settings,
        device=device,
        epsilon=epsilon,
        delta=delta,
        unit=unit,
        symmetry=symmetry,
        budget=budget,
        config=config,
        skip_broken=skip_broken,
        show_real=show_real,
    )
    arrays = _arrays(data, resolved.data.range)
    if arrays:
        _check_kept(folder, arrays)
    run_dir = Run(target, trust_code=trust_code, networks=_named_networks(resolved, settings))
    if fork is not None:
        if not folder.exists() and target.exists():
            raise KRError(
                f"fork: {folder} is not there and {target} is. `-o` (in Python: out) names the run "
                "that is there and --fork the new one: the other way round?"
            )
        finished = open_run(folder)
        if not arrays:
            with sources.cached(finished.path / CACHE, build=False):
                pipeline.check(resolved, run_dir)  # else a typo would leave a copy of the run
        finished.fork(target)
    if arrays and not (target / KEPT).exists():
        _keep(run_dir, arrays, resolved)
    if shadows:
        pipeline.run(resolved, run_dir, "evaluation")
        shadow_runs.run(
            run_dir,
            resolved,
            shadows,
            engine=place,
            reuse_choices=reuse_choices,
            canaries=canaries,
        )
    elif shadows is None and audited and resolved.privacy.epsilon is not None:
        pipeline.run(resolved, run_dir, "evaluation")
        shadow_runs.run_default(run_dir, resolved, place)
    pipeline.run(resolved, run_dir, until)
    return run_dir


def configuration(
    data: str | os.PathLike[str] | None = None,
    *,
    preset: str | None = None,
    seed: int | None = None,
    settings: Sequence[str] = (),
    device: str | None = None,
    epsilon: float | None = None,
    delta: float | None = None,
    unit: str | None = None,
    symmetry: str | None = None,
    budget: float | None = None,
    config: str | os.PathLike[str] | Config | None = None,
    skip_broken: bool = False,
    show_real: bool = False,
) -> Config:
    """The whole configuration that `run` takes from the same arguments.

    Raises:
        KRError: names the argument or the field, what it takes, and the nearest known name.

    Example:
        >>> configuration("digits", device="cpu", settings=["teacher.width=8"]).runtime.device
        'cpu'
    """
    if preset is not None:
        _check_name("preset", preset, tuple(PRESETS))
    if seed is not None:
        seed = _whole("seed", seed, 0)
    if isinstance(settings, str) or not isinstance(settings, Sequence):
        raise KRError(f"settings: expected a list of strings, found {_shown(settings)}")
    for setting in settings:
        _check_text("settings", setting)
    flags = list(settings)
    asked = dict(epsilon=epsilon, delta=delta, unit=unit, symmetry=symmetry, budget=budget)
    for name, value in asked.items():
        if value is not None:
            if not isinstance(value, str | int | float):
                raise KRError(f"{name}: expected a number or a word, found {_shown(value)}")
            flags += [f"privacy.{name}={value}"]
    if epsilon is not None and preset is None and config is None:
        preset = "private"
    if device is not None:
        _check_text("device", device)
        flags += [f"runtime.device={device}"]
    flags += ["data.skip_broken=true"] if skip_broken else []
    flags += ["report.show_real=true"] if show_real else []
    file = config if config is None or isinstance(config, Config) else _path(config, "config")
    source = "" if data is None else _path_text(data, "data", DATA)
    return Config.resolve(source, preset=preset, file=file, settings=flags, seed=seed)


@_foreseen()
def shadows(
    run: AnyRun,
    count: int = 16,
    *,
    canaries: int = 0,
    workers: int = 1,
    engine: str = "processes",
    address: str | None = None,
    reuse_choices: bool = False,
    keep_models: bool = False,
    trust_code: bool = False,
) -> Run:
    """Runs whole pipelines on random halves of the training split, then audit and report.

    Args:
        run: a run that is evaluated.
        count: shadow pipelines, an even number from 8 up.
        canaries: records planted as the worst case; 0: no canary arm.
        workers: shadows at a time; they share the threads.
        engine: where shadows run: `processes` of this machine, or the machines of a `ray` cluster,
            see docs/many-machines.md.
        address: of the Ray cluster: `auto` (default: the one that this machine is in), `local` (one
            for this call), `HOST:PORT` or `ray://HOST:PORT`.
        reuse_choices: shadows take over the run's snapshot and synthesis parameters.
        keep_models: leave the shadows' networks in place; for the engine `processes` alone.
        trust_code: see `open_run`.

    Raises:
        KRError: other shadows are there already, or the pool is too small to halve.
    """
    check_count(_whole("count", count, 0))
    _check_shadows(count, canaries, workers, reuse_choices)
    from knowledge_recycling import pipeline, shadow_runs
    from knowledge_recycling.workers import engine as engine_of

    place = engine_of(engine, workers, address)
    run_dir = open_run(run, trust_code=trust_code)
    config = Config.load(run_dir.path / "config.yaml")
    shadow_runs.run(
        run_dir,
        config,
        count,
        engine=place,
        reuse_choices=reuse_choices,
        keep_models=keep_models,
        canaries=canaries,
    )
    pipeline.run(config, run_dir)
    return run_dir


@_foreseen()
def stage(run: AnyRun, name: str, *, trust_code: bool = False) -> Run:
    """Runs one stage of a run; those that it is made from must be done.

    Raises:
        KRError: there is no such run or stage, or what the stage is made from is not there.
    """
    _check_name("stage", name, NAMES)
    from knowledge_recycling import pipeline

    run_dir = open_run(run, trust_code=trust_code)
    pipeline.run_stage(name, Config.load(run_dir.path / "config.yaml"), run_dir)
    return run_dir


def audit(run: AnyRun, *, trust_code: bool = False) -> AuditResult:
    """Runs the stage `audit` of a run; returns its result. For scores see `audit_scores`."""
    return stage(run, "audit", trust_code=trust_code).result("audit")


def report(run: AnyRun) -> Path:
    """Writes the report of a run anew; returns the path of report.html."""
    return stage(run, "report").path / "report" / "report.html"


@_foreseen()
def budget(data: str | os.PathLike[str], *, settings: Sequence[str] = ()) -> list[Entry]:
    """What private runs have released of a data set so far, by this user's ledger.

    Args:
        data: as given to `run`.
        settings: those of `data.`, which say what the data are.

    Returns:
        An entry for each release, oldest first; `privacy.ledger.total` adds up their mu.

    Raises:
        KRError: the data or the ledger cannot be read.
    """
    from knowledge_recycling import data as sources
    from knowledge_recycling.privacy import ledger

    config = configuration(data, settings=settings)
    source = sources.open_source(config.data)
    record = sources.describe(source, config.data, config.seed)
    return ledger.entries([ledger.state_folder()], record.data_sha256)


@_foreseen()
def verify(run: AnyRun) -> int:
    """Compares every file of a run and of its shadows, or of a bundle, with its SHA-256.

    Returns:
        The number of files.

    Raises:
        KRError: names each file that is not what the run wrote.
    """
    from knowledge_recycling.storage import verification

    if not isinstance(run, RunDir) and not (_path(run, "run") / "config.yaml").exists():
        from knowledge_recycling.bundle import contents

        if (_path(run, "run") / contents.SUMS).exists():
            return contents.verify(_path(run, "run"))
    return verification.verify(open_run(run))


@_foreseen()
def compare(*runs: AnyRun, out: str | os.PathLike[str] | None = None) -> Comparison:
    """Puts runs side by side: utility, leaks, guarantees, cost, and the settings that differ.

    Runs that differ only in their seed are one column: mean and interval over the seeds.

    Args:
        runs: two or more; every file is compared with its SHA-256 first.
        out: page to write, such as `comparison.html`; None: none.

    Raises:
        KRError: fewer than two runs, one is given twice, or a file is not what the run wrote.
    """
    from knowledge_recycling.reporting import comparison
    from knowledge_recycling.storage import verification
    from knowledge_recycling.storage.files import write_bytes

    opened = [open_run(run) for run in runs]
    places = [run.path.resolve() for run in opened]
    if len(opened) < 2:
        raise KRError("runs: give two or more to compare")
    if twice := [place for place in places if places.count(place) > 1]:
        raise KRError(f"{twice[0]}: is given twice")
    for run in opened:
        verification.verify(run, shadows=False)
    found = comparison.compare(places)
    if out is not None:
        write_bytes(_path(out, "out"), found.html())
    return found


@_foreseen()
def gate(
    run: AnyRun,
    *,
    limits: str | os.PathLike[str] | Limits | None = None,
    formal: Formal | None = None,
) -> Gate:
    """Whether a run's Student, or what else the limits name, may be given away.

    Args:
        run: a run.
        limits: a limits file, or what it says; None: the run's own limits.yaml, or the default
            limits, see docs/release.md.
        formal: a formal guarantee; None takes the run's own, where it has one.

    Returns:
        The decision; its `exit_code` is 0 within limits, 3 outside, 4 not audited or too weak.

    Raises:
        KRError: there is no run, or the limits cannot be read.
    """
    from knowledge_recycling.auditing.gate import Formal, decide

    run_dir = open_run(run)
    asked = _limits(limits, run_dir)
    known = run_dir.has_split() and run_dir.split().has_groups
    own = run_dir.result("teacher").guarantee if "teacher" in run_dir.done else None
    if formal is None and own is not None:
        formal = Formal(own.epsilon, own.delta, own.unit)
    done = "audit" in run_dir.done
    found = run_dir.result("audit") if done else None
    targets, shadows = (found.targets, found.shadows) if found else ({}, None)
    return decide(asked, targets, shadows, formal=formal, patients_known=known)


def _limits(given: str | os.PathLike[str] | Limits | None, run: RunDir) -> Limits:
    from knowledge_recycling.auditing.limits import Limits

    if isinstance(given, Limits):
        return given
    return Limits.of_folder(run.path) if given is None else Limits.load(_path(given, "limits"))


@_foreseen()
def release(
    run: AnyRun,
    out: str | os.PathLike[str],
    *,
    synthetic: int = 0,
    labels: str = "soft",
    limits: str | os.PathLike[str] | Limits | None = None,
    override: str | None = None,
    form: str | os.PathLike[str] | None = None,
    formal: Formal | None = None,
    trust_code: bool = False,
) -> Gate:
    """Writes a bundle to give away, if the gate is open for everything in it.

    Args:
        run: a run with all its stages.
        out: a folder that is not there yet.
        synthetic: images of the synthetic set; 0: none.
        labels: of the synthetic set: `soft`, `hard` or `rounded:DECIMALS`.
        limits: see `gate`; the channels of the synthetic set are added to them.
        override: why a bundle is written although the gate is shut; the cards show it.
        form: `release.yaml`, see `kr release --init`.
        formal: see `gate`.
        trust_code: see `open_run`.

    Returns:
        The gate's decision.

    Raises:
        KRError: the gate is shut, or the bundle cannot be written.
    """
    from knowledge_recycling import releasing
    from knowledge_recycling.bundle.form import Form

    run_dir = open_run(run, trust_code=trust_code)
    asked = _limits(limits, run_dir)
    needed = releasing.channels(_whole("synthetic", synthetic, 0), labels)
    both = tuple(dict.fromkeys((*asked.channels, *needed)))
    decided = gate(run_dir, limits=asked.model_copy(update={"channels": both}), formal=formal)
    releasing.release(
        run_dir,
        _path(out, "out"),
        decided,
        synthetic=synthetic,
        labels=labels,
        override=override,
        form=Form.load(None if form is None else _path(form, "form")),
    )
    return decided


@_foreseen()
def upload(bundle: str | os.PathLike[str], name: str, *, public: bool = False) -> str:
    """Uploads a bundle to the Hugging Face hub, in one commit.

    Args:
        bundle: written by `release`; it is verified first.
        name: OWNER/NAME, or NAME for one of the token's owner; what an earlier bundle left there
            is replaced.
        public: whether everybody may see it.

    Returns:
        The URL of the repository.

    Raises:
        KRError: the bundle has changed or its gate is shut without an override; the package
            huggingface_hub, a token or the network is missing; something else is there.
    """
    from knowledge_recycling.bundle import hub

    _check_text("name", name)
    return hub.repository(name, public).upload(_path(bundle, "bundle"))


@_foreseen()
def load(model: AnyRun, engine: Literal["onnx", "torch"] | None = None) -> Predictor:
    """The Student of a bundle or of a run, ready for `predict`.

    Args:
        model: a bundle, or a run whose Student is trained.
        engine: `onnx` (default on a bundle; torch is not imported) or `torch` (runs have no other).

    Raises:
        KRError: there is neither, it has changed, or a package is missing.
    """
    from knowledge_recycling.bundle import contents, predictor

    path = _path(model, "model")
    if engine is not None:
        _check_name("engine", engine, ("onnx", "torch"))
    if contents.is_bundle(path):
        return predictor.load(path, engine or "onnx")
    if engine == "onnx":
        raise KRError(f"{path}: is no bundle; a run has no ONNX file: choose the engine torch")
    run_dir = open_run(path)
    split, config = run_dir.split(), Config.load(path / "config.yaml")
    forward = predictor.of_network(student(run_dir))
    return predictor.Predictor(
        forward, split.class_names, split.size, split.channels, config.data.range
    )


def open_run(run: AnyRun, *, trust_code: bool = False) -> Run:
    """A run that is there already, made by anybody.

    Args:
        run: its directory.
        trust_code: build networks of any import path that its files name, which runs that code.

    Raises:
        KRError: there is no run.
    """
    if isinstance(run, Run):
        return run
    return Run(RunDir.existing(_path(run, "run")).path, trust_code=trust_code)


def student(run: AnyRun, *, trust_code: bool = False) -> nn.Module:
    """The Student, in eval mode on the CPU: images (n, c, h, w) in -1..1 to logits (n, C).

    Class names are in `open_run(run).split().class_names`.

    Raises:
        KRError: there is no run, or its Student is not trained.
    """
    from knowledge_recycling import artefacts

    return artefacts.saved_classifier(open_run(run, trust_code=trust_code), "distillation")


def predictions(run: AnyRun) -> dict[str, np.ndarray]:
    """Labels (n,) and logits (n, C) of `teacher` and `student` on test. They are private.

    Raises:
        KRError: there is no run, or it is not evaluated.
    """
    return read_npz(open_run(run).artefact("evaluation", "predictions.npz"))


def _shown(value: Any) -> str:
    """A short text or a number as it is; of anything else the type alone, for it may be private."""
    if isinstance(value, str | int | float) and len(str(value)) <= 100:
        return printable(repr(value))
    return f"an object of type {type(value).__name__}"


def _path(value: Any, name: str) -> Path:
    if isinstance(value, RunDir):
        return value.path
    path = Path(_path_text(value, name, "a path"))
    # What a shell does; else a folder called ~ would be made, which nobody can remove safely.
    with contextlib.suppress(RuntimeError):  # no home folder is known
        path = path.expanduser()
    return path


def _path_text(value: Any, name: str, expected: str) -> str:
    # Not by way of Path, which makes `digits` of `./digits`.
    text = os.fspath(value) if isinstance(value, str | os.PathLike) else None
    if isinstance(text, str) and text:
        return text
    if text == "":
        raise KRError(f"{name}: is empty; expected {expected}")
    hint = "; a Config goes to config=" if isinstance(value, Config) else ""
    raise KRError(f"{name}: expected {expected}, found {_shown(value)}{hint}")


def _whole(name: str, value: Any, least: int) -> int:
    if isinstance(value, bool) or not isinstance(value, numbers.Integral) or value < least:
        raise KRError(f"{name}: expected a whole number from {least} up, found {_shown(value)}")
    return int(value)


def _check_text(name: str, value: Any) -> None:
    if not isinstance(value, str):
        raise KRError(f"{name}: expected text, found {_shown(value)}")


def _check_name(name: str, value: Any, known: Sequence[str]) -> None:
    if isinstance(value, str) and value in known:
        return
    near = difflib.get_close_matches(value, known, n=1) if isinstance(value, str) else []
    hint = f"; did you mean {near[0]}?" if near else ""
    raise KRError(f"{name}: {_shown(value)} is not one of {', '.join(known)}{hint}")


def _check_shadows(shadows: Any, canaries: Any, workers: Any, reuse_choices: bool) -> None:
    if _whole("shadows", shadows, 0):
        check_count(shadows)
    elif _whole("canaries", canaries, 0) or reuse_choices:
        what = "canaries" if canaries else "reuse_choices"
        raise KRError(f"{what}: is for shadows; ask for them too, 16 say")
    _whole("canaries", canaries, 0)
    _whole("workers", workers, 1)


def _arrays(data: Any, limits: tuple[float, float] | None) -> dict[str, np.ndarray]:
    """What `source.npz` is to hold; empty where `run` was given a name or a path."""
    if not isinstance(data, tuple | list):
        return {}
    if len(data) not in (2, 3):
        raise KRError(f"data: expected {DATA}; found {len(data)} elements")
    arrays = [_array(name, value) for name, value in zip(ARRAYS, data, strict=False)]
    if arrays[0].ndim <= 2 and arrays[1].ndim >= 3:
        raise KRError("data: the order is (images, labels); here the labels come first")
    from knowledge_recycling.data import validated

    return validated(*arrays, limits=limits)


def _array(name: str, value: Any) -> np.ndarray:
    # Whatever NumPy and torch say of an array they may quote, so none of it is passed on.
    with contextlib.suppress(ValueError, TypeError, RuntimeError):
        return np.asarray(value)
    same = ", all images of one height and width" if name == "images" else ""
    raise KRError(f"data: the {name} are no array; give a NumPy array on the CPU{same}")


def _named_networks(config: Config, settings: Sequence[str]) -> tuple[str, ...]:
    """Import paths of networks that the caller named in this very call."""
    found = {"teacher": config.teacher.network, "distillation": config.distillation.network}
    return tuple(
        network
        for name, network in found.items()
        if network and f"{name}.network={network}" in settings
    )


def _keep(run_dir: Run, arrays: Mapping[str, np.ndarray], config: Config) -> None:
    """Writes source.npz; where the run cannot start, nothing is left of it."""
    from knowledge_recycling import pipeline
    from knowledge_recycling.data import write_arrays

    new = not run_dir.path.exists()
    with run_dir.lock():
        write_arrays(run_dir.path / KEPT, arrays)
    try:
        pipeline.check(config, run_dir)
    except KRError:
        (run_dir.path / KEPT).unlink()
        if new:
            run_dir.discard()
        raise


def _check_kept(folder: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Refuses arrays that a run was not made from; its copy of the others may be the only one."""
    kept = folder / KEPT
    if kept.exists() and not _holds(kept, arrays):
        raise KRError(
            f"{kept}: holds other images or labels than those given. Give another directory for "
            "the new ones; nothing was changed."
        )
    if not kept.exists() and (folder / "config.yaml").exists():
        raise KRError(
            f"{folder}: this run was not made from arrays; give the data that it was made from, "
            "or another directory"
        )


def _holds(path: Path, arrays: Mapping[str, np.ndarray]) -> bool:
    try:
        there = read_npz(path)
    except KRError:
        return False
    return set(there) == set(arrays) and all(
        np.array_equal(there[name], arrays[name]) for name in arrays
    )
