"""Shadows: K whole pipelines on complementary random halves of the pool.

The pool is the run's training split; validation is the same in all pipelines and is not audited,
and test is not opened. Each pipeline is a run directory of its own with another split and seed;
once its signals on every record of the pool are stored, its models are dropped.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import shutil
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import Any

import numpy as np
import torch

from knowledge_recycling import artefacts, data, pipeline, progress, signals
from knowledge_recycling.config import Config
from knowledge_recycling.errors import KRError
from knowledge_recycling.membership import complementary_halves
from knowledge_recycling.progress import clock
from knowledge_recycling.run_dir import RunDir, read_json, write_json, write_npz
from knowledge_recycling.runtime import Runtime, derive
from knowledge_recycling.synthesis import Parameters

LAST = "distillation"


def run(
    run_dir: RunDir,
    config: Config,
    count: int,
    *,
    workers: int = 1,
    reuse_choices: bool = False,
    keep_models: bool = False,
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

    Raises:
        KRError: other shadows are there already, or the pool is too small to halve.
    """
    run_dir.result(LAST)
    with run_dir.lock():
        plan(run_dir, config, count, reuse_choices)
        todo = [k for k in range(count) if not (folder(run_dir, k) / "signals.npz").exists()]
        threads = max(1, (config.runtime.threads or os.cpu_count() or 1) // workers)
        tasks = [(run_dir.path, k, threads, reuse_choices, keep_models) for k in todo]
        begin = time.monotonic()
        for done, (k, seconds) in enumerate(_work(tasks, workers), start=1):
            left = (time.monotonic() - begin) / done * (len(todo) - done)
            pipeline.say(
                run_dir,
                f"shadow {k} of {count}: done in {clock(seconds)}, about {clock(left)} and "
                f"{_bytes(folder(run_dir, k)) * (len(todo) - done) / 2**20:.0f} MiB to go",
            )


def folder(run_dir: RunDir, k: int) -> Path:
    """The run directory of shadow k."""
    return run_dir.path / "shadows" / f"{k:02d}"


def plan(run_dir: RunDir, config: Config, count: int, reuse_choices: bool) -> None:
    """Draws the halves and writes shadows/plan.npz, or checks that it is of the same shadows."""
    asked = {"count": count, "reuse_choices": reuse_choices, "seed": config.seed}
    path = run_dir.path / "shadows" / "plan.json"
    if path.exists():
        there = read_json(path)
        if there != asked:
            raise KRError(
                f"{path.parent}: holds other shadows ({json.dumps(there)}, asked for "
                f"{json.dumps(asked)}). Move that folder away first."
            )
        return
    (pool,) = data.load(config.data, run_dir.split(), "train")
    seed = derive(config.seed, "shadows", "membership")
    membership = complementary_halves(pool.labels, pool.groups, count, seed)
    write_npz(
        path.with_suffix(".npz"),
        membership=membership,
        labels=pool.labels,
        indices=pool.indices,
    )
    write_json(path, asked)


def _work(tasks: list[tuple[Any, ...]], workers: int) -> Iterator[tuple[int, float]]:
    if workers == 1:
        yield from (one(*task) for task in tasks)
        return
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=context) as pool:
        for future in as_completed([pool.submit(one, *task) for task in tasks]):
            yield future.result()


def one(
    parent: Path, k: int, threads: int, reuse_choices: bool, keep_models: bool
) -> tuple[int, float]:
    """Runs shadow k, stores its signals, drops its models; returns k and the seconds it took."""
    begin = time.monotonic()
    progress.console.quiet = True
    try:
        run_dir = RunDir(parent)
        parent_config = Config.load(run_dir.path / "config.yaml")
        config = parent_config.model_copy(
            update={
                "seed": derive(parent_config.seed, "shadow", k) % 2**31,
                "runtime": parent_config.runtime.model_copy(update={"threads": threads}),
            }
        )
        shadow = RunDir(folder(run_dir, k))
        _split(run_dir, shadow, k)
        if reuse_choices:
            pipeline.run(config, shadow, "generator")
            for stage in ("selection", "tuning"):
                pipeline.take_over(stage, config, shadow, run_dir.result(stage))
        pipeline.run(config, shadow, LAST)
        _store_signals(run_dir, shadow, config)
    finally:
        progress.console.quiet = False
    if not keep_models:
        _drop_models(shadow)
    seconds = time.monotonic() - begin
    write_json(shadow.path / "seconds.json", {"seconds": seconds, "threads": threads})
    return k, seconds


def _split(run_dir: RunDir, shadow: RunDir, k: int) -> None:
    """Gives the shadow its half of the pool to train on, the run's validation, and no test."""
    record = run_dir.split()
    with np.load(run_dir.path / "shadows" / "plan.npz", allow_pickle=False) as arrays:
        inside = arrays["membership"][k]
        labels, indices = arrays["labels"][inside], arrays["indices"][inside]
    counts = np.bincount(labels, minlength=len(record["class_names"])).tolist()
    record["indices"] |= {"train": indices.tolist(), "test": []}
    record["counts"] |= {"train": counts, "test": [0] * len(counts)}
    record["notes"] = []
    write_json(shadow.path / "split.json", record)


def _store_signals(run_dir: RunDir, shadow: RunDir, config: Config) -> None:
    runtime = Runtime.start(config)
    (pool,) = data.load(config.data, run_dir.split(), "train")
    images, labels = runtime.images(pool.images), torch.from_numpy(pool.labels)
    teacher = artefacts.classifier(shadow, "teacher", runtime)
    student = artefacts.classifier(shadow, LAST, runtime)
    parameters = Parameters(**shadow.result("tuning")["parameters"])
    snapshot = shadow.result("selection")["snapshot"]
    source = artefacts.source(shadow, snapshot, teacher, parameters, runtime)
    made = source.draw(sum(source.class_counts), derive(config.seed, "release"))
    exact = runtime.exact()
    write_npz(
        shadow.path / "signals.npz",
        teacher=signals.of_classifier(teacher, images, exact),
        student=signals.of_classifier(student, images, exact),
        **signals.of_synthetic(images, labels.to(runtime.device), made),
    )


def _drop_models(shadow: RunDir) -> None:
    for stage in ("teacher", "generator", LAST):
        for path in (shadow.path / stage).rglob("*.safetensors"):
            path.unlink()
    shutil.rmtree(shadow.path / "generator" / "snapshots", ignore_errors=True)


def _bytes(path: Path) -> int:
    return sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
