"""Shadows: K whole pipelines on complementary random halves of the pool.

Each pipeline is a run directory of its own with another split and seed; once its signals on every
record of the pool are stored, its models are dropped.
"""

from __future__ import annotations

import time
from collections.abc import Generator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import torch

from knowledge_recycling import artefacts, data, pipeline
from knowledge_recycling.classifiers.feature_network import FeatureNetwork
from knowledge_recycling.config import Config
from knowledge_recycling.data import Source
from knowledge_recycling.errors import KRError
from knowledge_recycling.membership import plan, signals
from knowledge_recycling.membership.plan import Plan
from knowledge_recycling.results import Result
from knowledge_recycling.storage import ownership
from knowledge_recycling.storage.files import json_bytes, npz_bytes, read_table
from knowledge_recycling.storage.run_dir import CACHE, RESULT, RunDir
from knowledge_recycling.training import progress
from knowledge_recycling.training.progress import clock
from knowledge_recycling.training.provenance import versions
from knowledge_recycling.training.runtime import Runtime
from knowledge_recycling.training.seeds import derive
from knowledge_recycling.workers import ALONE, Engine, RayCluster, fleeting

LAST = "distillation"
DEFAULT = 16
"""Shadows of a private run for which nothing else is asked."""
CHOICES = ("selection", "tuning")


def run(
    run_dir: RunDir,
    config: Config,
    count: int,
    *,
    engine: Engine = ALONE,
    reuse_choices: bool = False,
    keep_models: bool = False,
    canaries: int = 0,
) -> None:
    """Runs the shadows that have no signals yet.

    Args:
        run_dir: the run whose pipeline is audited, evaluated already.
        config: its configuration.
        count: K, even.
        engine: where they run.
        reuse_choices: take snapshot and parameters of synthesis from the run instead of choosing
            in each pipeline: cheaper, and said in the report.
        keep_models: leave the networks in place.
        canaries: records of the pool that are replaced by planted ones, see `canaries.make`.

    Raises:
        KRError: other shadows are there already, or the pool is too small to halve; or models are
            to be kept that stay on other machines.
    """
    run_dir.result(LAST)
    if keep_models and isinstance(engine, RayCluster):
        raise KRError(
            "keep_models: is not for the engine ray, whose models stay on the machines that made "
            "them and are deleted there; use the engine processes"
        )
    with pipeline.own(run_dir):
        files = [f"{run_dir.shadows.name}/{name}" for name in plan.FILES]
        if plan.exists(run_dir.shadows):
            run_dir.record(files)
        else:
            run_dir.forget(run_dir.shadows.name)
        plan.draw(
            run_dir.shadows,
            run_dir.split(),
            config,
            count,
            reuse_choices=reuse_choices,
            canary_count=canaries,
        )
        run_dir.record(files)
        for k in range(count):
            _finish_drop(run_dir.shadow(k))
        todo = [k for k in range(count) if not (run_dir.shadow(k).path / "signals.npz").exists()]
        if not todo:
            return
        data.open_source(config.data)  # decoded here, once, and not by each worker
        _announce(run_dir, len(todo), count, engine, reuse_choices)
        total = 0.0
        with closing(_work(run_dir, config, todo, engine, keep_models)) as ended:
            for done, (k, seconds) in enumerate(ended, start=1):
                total += seconds
                left = total / done * (len(todo) - done) / min(engine.workers, len(todo))
                size = _bytes(run_dir.shadow(k).path) * (len(todo) - done) / 2**20
                pipeline.say(
                    run_dir,
                    f"shadow {k} of {count}: done in {clock(seconds)}, about {clock(left)} and "
                    f"{size:.0f} MiB to go",
                )


def run_default(run_dir: RunDir, config: Config, engine: Engine) -> None:
    """The shadows of a private run: those that were asked for before, else 16 where halves can be.

    They cost seconds each, and without them the report could not say that the promise was tried.
    """
    if plan.exists(run_dir.shadows):
        asked = dict(read_table(run_dir.shadows / "plan.json"))
        count, canaries = int(asked["count"]), int(asked["canaries"])
        reuse = bool(asked["reuse_choices"])
        run(run_dir, config, count, engine=engine, reuse_choices=reuse, canaries=canaries)
        return
    try:
        run(run_dir, config, DEFAULT, engine=engine)
    except KRError as error:
        if plan.exists(run_dir.shadows):
            raise
        pipeline.say(run_dir, f"no shadows, so the audit is the paper's alone: {error}")


def _announce(run_dir: RunDir, todo: int, count: int, engine: Engine, reuse_choices: bool) -> None:
    """Says before the long part what it will cost, going by the run's own stages."""
    stages = [
        name
        for name in pipeline.NAMES[: pipeline.NAMES.index(LAST) + 1]
        if not (reuse_choices and name in CHOICES)
    ]
    seconds = sum(run_dir.result(name).seconds for name in stages)
    size = sum(_bytes(run_dir.path / name) for name in stages)
    pipeline.say(
        run_dir,
        f"shadows: {todo} of {count} to run{engine.at_once}. This run took {clock(seconds)} for "
        f"the same stages, so about {clock(seconds * todo)} one after the other; each takes "
        f"{size / 2**20:.0f} MiB while it runs. The first tells better.",
    )


@dataclass(frozen=True)
class Common:
    """What all shadows share, as it travels to other machines.

    Attributes:
        plan: of the shadows.
        source: the private images, canaries among them.
        choices: results of the run that the shadows take over, by stage.
        trust_code: see `RunDir`.
        networks: see `RunDir`.
        versions: of what decides the numbers, here.
        device: `cpu` or `cuda`.
    """

    plan: Plan
    source: Source
    choices: Mapping[str, Result]
    trust_code: bool
    networks: Sequence[str]
    versions: Mapping[str, str]
    device: str


@dataclass(frozen=True)
class Home:
    """All that comes back from another machine of shadow k."""

    k: int
    seconds: float
    threads: int
    signals: bytes
    """signals.npz."""


def _work(
    run_dir: RunDir, config: Config, todo: list[int], engine: Engine, keep_models: bool
) -> Generator[tuple[int, float]]:
    """Yields the number of each shadow and the seconds it took, once its signals are stored."""
    if isinstance(engine, RayCluster):
        yield from _on_cluster(run_dir, config, todo, engine)
        return
    work = partial(one, keep_models=keep_models)
    with closing(engine.map(work, run_dir, todo, config.runtime.threads)) as ended:
        yield from ended


def one(run_dir: RunDir, k: int, threads: int, keep_models: bool) -> tuple[int, float]:
    """Runs shadow k, stores its signals, drops its models; returns k and the seconds it took."""
    begin = time.monotonic()
    plan = _plan(run_dir)
    shadow = run_dir.shadow(k)
    with data.cached(run_dir.path / CACHE, build=False):
        found = _pipeline(plan, k, threads, _choices(run_dir, plan), shadow)
    seconds = time.monotonic() - begin
    with shadow.lock():
        _keep(shadow, seconds, threads, keep_models, npz_bytes(**found))
    return k, seconds


def _on_cluster(
    run_dir: RunDir, config: Config, todo: list[int], engine: RayCluster
) -> Generator[tuple[int, float]]:
    """As `one`, on machines that know nothing of the run directory."""
    common = _common(run_dir, config)
    engine = replace(engine, gpus=int(common.device == "cuda"))
    with closing(engine.map(far, common, todo, config.runtime.threads)) as ended:
        for home in ended:
            _store(run_dir, common, home)
            yield home.k, home.seconds


def _common(run_dir: RunDir, config: Config) -> Common:
    plan = _plan(run_dir)
    return Common(
        plan=plan,
        source=replace(data.open_source(plan.config.data), files=None),
        choices=_choices(run_dir, plan),
        trust_code=run_dir.trust_code,
        networks=run_dir.networks,
        versions=versions(),
        device=Runtime.of(config).device.type,
    )


def far(common: Common, k: int, threads: int) -> Home:
    """Runs shadow k in a folder that is gone afterwards, and brings home its signals alone.

    Raises:
        KRError: this machine has other versions, or what a run raises.
    """
    begin = time.monotonic()
    if (here := versions()) != common.versions:
        other = next(name for name in here if here[name] != common.versions[name])
        raise KRError(
            f"{other} is {here[other]} here but {common.versions[other]} on the machine that asks; "
            "install the same versions on all, else the shadows are not of one pipeline"
        )
    plan = replace(common.plan, config=_on_device(common.plan.config, common.device))
    with fleeting.folder() as folder, data.given(plan.config.data, common.source):
        run_dir = RunDir(folder, trust_code=common.trust_code, networks=common.networks)
        found = _pipeline(plan, k, threads, common.choices, run_dir.shadow(k))
    return Home(k, time.monotonic() - begin, threads, npz_bytes(**found))


def _store(run_dir: RunDir, common: Common, home: Home) -> None:
    """Leaves what `one` leaves, but for what the stages say of themselves."""
    shadow, half = run_dir.shadow(home.k), common.plan.half(home.k)
    config = _config_of(common.plan, home.k, home.threads)
    with shadow.lock():
        for stage in pipeline.NAMES:
            ownership.clear_stage(shadow.path / stage, RESULT)  # begun by processes, and killed
        shadow.keep("split.json", json_bytes(half.tree()))
        shadow.adopt(data.located(config), half)
        for stage, result in common.choices.items():
            shadow.write_result(stage, result, inputs={}, taken_over=True)
        _keep(shadow, home.seconds, home.threads, False, home.signals)


def _plan(run_dir: RunDir) -> Plan:
    config = Config.load(run_dir.path / "config.yaml")
    return Plan.load(run_dir.shadows, pipeline.decided(config, run_dir))


def _choices(run_dir: RunDir, plan: Plan) -> dict[str, Result]:
    if not plan.asked["reuse_choices"]:
        return {}
    return {stage: run_dir.result(stage) for stage in CHOICES}


def _config_of(plan: Plan, k: int, threads: int) -> Config:
    runtime = plan.config.runtime.model_copy(update={"threads": threads})
    seed = derive(plan.config.seed, "shadow", k) % 2**31
    return plan.config.model_copy(update={"seed": seed, "runtime": runtime})


def _on_device(config: Config, device: str) -> Config:
    runtime = config.runtime.model_copy(update={"device": device})
    return config.model_copy(update={"runtime": runtime})


def _pipeline(
    plan: Plan, k: int, threads: int, choices: Mapping[str, Result], shadow: RunDir
) -> dict[str, np.ndarray]:
    """Runs the whole pipeline of shadow k in a run directory; returns its signals."""
    progress.console.quiet = True
    try:
        config = _config_of(plan, k, threads)
        with shadow.lock():
            shadow.keep("split.json", json_bytes(plan.half(k).tree()))
        if choices:
            pipeline.run(config, shadow, "generator")
            for stage, result in choices.items():
                pipeline.take_over(stage, config, shadow, result)
        pipeline.run(config, shadow, LAST)
        return _signals(plan, k, shadow, config)
    finally:
        progress.console.quiet = False


def _keep(shadow: RunDir, seconds: float, threads: int, keep_models: bool, found: bytes) -> None:
    about = {"seconds": seconds, "threads": threads, "keep_models": keep_models}
    shadow.keep("seconds.json", json_bytes(about))
    # Last, for a shadow with signals counts as done.
    shadow.keep("signals.npz", found)
    _finish_drop(shadow)


def _signals(plan: Plan, k: int, shadow: RunDir, config: Config) -> dict[str, np.ndarray]:
    runtime = Runtime.of(config)
    pool = plan.pool()
    images = runtime.images(pool.images)
    labels, member = (
        torch.from_numpy(array).to(runtime.device)
        for array in (pool.labels, plan.membership.mask[k])
    )
    teacher = artefacts.classifier(shadow, "teacher", runtime)
    student = artefacts.classifier(shadow, LAST, runtime)
    for network in (teacher, student):
        if isinstance(network, FeatureNetwork):
            network.share_features()
    source = artefacts.chosen_source(shadow, teacher, runtime)
    made = source.draw(sum(source.class_counts), derive(config.seed, "release"))
    exact = runtime.exact()
    return {
        "teacher": signals.of_classifier(teacher, images, exact),
        "student": signals.of_classifier(student, images, exact),
        **signals.of_synthetic(images, labels, member, made),
    }


def _finish_drop(shadow: RunDir) -> None:
    """Drops the models of a shadow that is done, also where a kill came before or half-way."""
    if not (shadow.path / "signals.npz").exists():
        return
    about = read_table(shadow.path / "seconds.json")
    # Earlier versions did not say; what they left may have been asked for.
    if about.get("keep_models", True):
        return
    for stage in ("teacher", "generator", LAST):
        for path in (shadow.path / stage).rglob("*.safetensors"):
            path.unlink()
    snapshots = shadow.path / "generator" / "snapshots"
    for path in snapshots.glob("*.json"):
        path.unlink()
    if snapshots.exists():
        snapshots.rmdir()


def _bytes(path: Path) -> int:
    return sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
