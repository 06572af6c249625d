"""Shadows: K whole pipelines on complementary random halves of the pool.

Each pipeline is a run directory of its own with another split and seed; once its signals on every
record of the pool are stored, its models are dropped.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any

import numpy as np
import torch

from knowledge_recycling import artefacts, pipeline
from knowledge_recycling.classifiers.feature_network import FeatureNetwork
from knowledge_recycling.config import Config
from knowledge_recycling.errors import KRError
from knowledge_recycling.membership import plan, signals
from knowledge_recycling.membership.plan import Plan
from knowledge_recycling.storage.files import json_bytes, npz_bytes, read_table
from knowledge_recycling.storage.run_dir import RunDir
from knowledge_recycling.training import progress
from knowledge_recycling.training.progress import clock
from knowledge_recycling.training.runtime import Runtime
from knowledge_recycling.training.seeds import derive

LAST = "distillation"
DEFAULT = 16
"""Shadows of a private run for which nothing else is asked."""
CHOICES = ("selection", "tuning")
KILLED = (
    "a worker of the shadows was killed, most often because memory ran out. The shadows that are "
    "done are kept: run the same again to go on, with fewer workers at a time if it was memory. "
    'In a script of your own, make the call under `if __name__ == "__main__":`, since each worker '
    "imports the script."
)


def run(
    run_dir: RunDir,
    config: Config,
    count: int,
    *,
    workers: int = 1,
    reuse_choices: bool = False,
    keep_models: bool = False,
    canaries: int = 0,
) -> None:
    """Runs the shadows that have no signals yet.

    Args:
        run_dir: the run whose pipeline is audited, evaluated already.
        config: its configuration.
        count: K, even.
        workers: pipelines at a time; the threads are divided among them.
        reuse_choices: take snapshot and parameters of synthesis from the run instead of choosing
            in each pipeline: cheaper, and said in the report.
        keep_models: leave the networks in place.
        canaries: records of the pool that are replaced by planted ones, see `canaries.make`.

    Raises:
        KRError: other shadows are there already, or the pool is too small to halve.
    """
    run_dir.result(LAST)
    with run_dir.lock():
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
        _announce(run_dir, len(todo), count, workers, reuse_choices)
        threads = max(1, (config.runtime.threads or os.cpu_count() or 1) // workers)
        tasks = [(run_dir, k, threads, reuse_choices, keep_models) for k in todo]
        total = 0.0
        for done, (k, seconds) in enumerate(_work(tasks, workers), start=1):
            total += seconds
            left = total / done * (len(todo) - done) / min(workers, len(todo))
            pipeline.say(
                run_dir,
                f"shadow {k} of {count}: done in {clock(seconds)}, about {clock(left)} and "
                f"{_bytes(run_dir.shadow(k).path) * (len(todo) - done) / 2**20:.0f} MiB to go",
            )


def run_default(run_dir: RunDir, config: Config, workers: int) -> None:
    """The shadows of a private run: those that were asked for before, else 16 where halves can be.

    They cost seconds each, and without them the report could not say that the promise was tried.
    """
    if plan.exists(run_dir.shadows):
        asked = dict(read_table(run_dir.shadows / "plan.json"))
        count, canaries = int(asked["count"]), int(asked["canaries"])
        reuse = bool(asked["reuse_choices"])
        run(run_dir, config, count, workers=workers, reuse_choices=reuse, canaries=canaries)
        return
    try:
        run(run_dir, config, DEFAULT, workers=workers)
    except KRError as error:
        if plan.exists(run_dir.shadows):
            raise
        pipeline.say(run_dir, f"no shadows, so the audit is the paper's alone: {error}")


def _announce(run_dir: RunDir, todo: int, count: int, workers: int, reuse_choices: bool) -> None:
    """Says before the long part what it will cost, going by the run's own stages."""
    if not todo:
        return
    stages = [
        name
        for name in pipeline.NAMES[: pipeline.NAMES.index(LAST) + 1]
        if not (reuse_choices and name in CHOICES)
    ]
    seconds = sum(run_dir.result(name).seconds for name in stages)
    size = sum(_bytes(run_dir.path / name) for name in stages)
    at_once = f", {workers} at a time with the threads divided among them" if workers > 1 else ""
    pipeline.say(
        run_dir,
        f"shadows: {todo} of {count} to run{at_once}. This run took {clock(seconds)} for the same "
        f"stages, so about {clock(seconds * todo)} one after the other; each takes "
        f"{size / 2**20:.0f} MiB while it runs. The first tells better.",
    )


def _work(tasks: list[tuple[Any, ...]], workers: int) -> Iterator[tuple[int, float]]:
    if workers == 1:
        yield from (one(*task) for task in tasks)
        return
    context = multiprocessing.get_context("spawn")
    others = set(multiprocessing.active_children())
    with ProcessPoolExecutor(
        workers, mp_context=context, initializer=_serve, initargs=(os.getpid(),)
    ) as pool:
        try:
            for future in as_completed([pool.submit(one, *task) for task in tasks]):
                yield future.result()
        except BrokenProcessPool:
            raise KRError(KILLED) from None
        except Exception:
            # Else the error would be told only after all others have run.
            pool.shutdown(cancel_futures=True)
            raise
        except BaseException:
            # Nobody who interrupts wants to wait until the pipelines that are at work have ended.
            for worker in set(multiprocessing.active_children()) - others:
                worker.terminate()
            pool.shutdown(cancel_futures=True)
            raise


def _serve(parent: int) -> None:
    """Readies a worker: it leaves Ctrl-C to its parent, and ends once that is gone.

    A worker that outlived a killed command would work on beside the command that goes on.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(0.5)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def one(
    run_dir: RunDir, k: int, threads: int, reuse_choices: bool, keep_models: bool
) -> tuple[int, float]:
    """Runs shadow k, stores its signals, drops its models; returns k and the seconds it took."""
    begin = time.monotonic()
    progress.console.quiet = True
    try:
        of_run = pipeline.decided(Config.load(run_dir.path / "config.yaml"), run_dir)
        plan = Plan.load(run_dir.shadows, of_run)
        config = plan.config.model_copy(
            update={
                "seed": derive(plan.config.seed, "shadow", k) % 2**31,
                "runtime": plan.config.runtime.model_copy(update={"threads": threads}),
            }
        )
        shadow = run_dir.shadow(k)
        with shadow.lock():
            shadow.keep("split.json", json_bytes(plan.half(k).tree()))
        if reuse_choices:
            pipeline.run(config, shadow, "generator")
            for stage in CHOICES:
                pipeline.take_over(stage, config, shadow, run_dir.result(stage))
        pipeline.run(config, shadow, LAST)
        found = _signals(plan, k, shadow, config)
    finally:
        progress.console.quiet = False
    seconds = time.monotonic() - begin
    about = {"seconds": seconds, "threads": threads, "keep_models": keep_models}
    with shadow.lock():
        shadow.keep("seconds.json", json_bytes(about))
        # Last, for a shadow with signals counts as done.
        shadow.keep("signals.npz", npz_bytes(**found))
        _finish_drop(shadow)
    return k, seconds


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
