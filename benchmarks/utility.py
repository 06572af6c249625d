"""Runs the pipeline on named sets and seeds, and writes one result file a run.

    python -m benchmarks.utility --data DIR --sets breastmnist retinamnist --seeds 3

DIR holds `<set>.npz` files. A run whose result file is there is left alone, and a run that was
stopped goes on, so the same command can be given again until all is done. `--workers 2` runs two at
a time; `--engine ray` on the machines of a Ray cluster, to which the sets travel once, and which
keep nothing. `--table` writes docs/results/utility.md and the short table of README.md, from the
result files alone.
"""

from __future__ import annotations

import argparse
import sys
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

import knowledge_recycling as kr
from benchmarks import common
from knowledge_recycling import pipeline
from knowledge_recycling.statistics.rates import mean_interval
from knowledge_recycling.storage.files import write_bytes, write_json
from knowledge_recycling.workers import fleeting

RESULTS = common.RESULTS / "utility"
TABLE = common.DOCS / "utility.md"
FIGURES = ("accuracy", "auc", "balanced_accuracy", "f1_macro", "ece", "recall")
PUBLISHED: dict[str, float | None] = {
    "retinamnist": 0.524,
    "breastmnist": 0.863,
    "pneumoniamnist": 0.854,
    "bloodmnist_like": 0.958,
    "dermamnist_like": 0.735,
    "fashionmnist": None,
    "malaria_patients": None,
}
"""Test accuracy of the MedMNIST v2 baseline, ResNet-18 at 28 pixels, where there is one. The sets
called `like` have a split of their own, so theirs is a neighbour's."""


def main() -> None:
    """Parses the command line and runs what is missing."""
    parser = common.parser(__doc__, list(PUBLISHED))
    common.add_engine(parser)
    arguments = parser.parse_args()
    if not arguments.table:
        tasks = [
            (name, seed)
            for seed in range(arguments.first_seed, arguments.seeds)
            for name in arguments.sets
            if not _file(name, arguments.preset, seed).exists()
        ]
        for found in common.engine_of(arguments).map(one, _plan(arguments), tasks, None):
            write_json(_file(found["dataset"], found["preset"], found["seed"]), found)
    write_bytes(TABLE, f"# Utility\n\n{table()}".encode())
    page = common.README.read_text(encoding="utf-8")
    write_bytes(common.README, common.quoted(page, "utility", short_table()).encode())
    sys.stdout.write(table())


@dataclass(frozen=True)
class Plan:
    """What all runs have in common, sent to whoever makes them.

    Attributes:
        preset: of all.
        commit: of the modules that were loaded at the start, whatever is edited meanwhile.
        data: folder of the sets; on a cluster their files' content by name.
        runs: where runs are kept, to be gone on with; None: nowhere.
    """

    preset: str
    commit: str
    data: Path | dict[str, bytes]
    runs: Path | None


def _plan(arguments: argparse.Namespace) -> Plan:
    data, runs = arguments.data, arguments.runs
    if arguments.engine == "ray":
        data, runs = {name: (data / f"{name}.npz").read_bytes() for name in arguments.sets}, None
    return Plan(arguments.preset, common.commit(), data, runs)


def one(plan: Plan, task: tuple[str, int], threads: int) -> dict[str, Any]:
    """Runs one set with one seed and returns what its result file is to say.

    Args:
        plan: what all have in common.
        task: name of the set, seed.
        threads: for this run.
    """
    name, seed = task
    with nullcontext(plan.runs) if plan.runs else fleeting.folder() as folder:
        if isinstance(plan.data, dict):
            source = folder / f"{name}.npz"
            source.write_bytes(plan.data[name])
        else:
            source = plan.data / f"{name}.npz"
        run = kr.run(
            source,
            folder / f"{name}-{plan.preset}-s{seed}",
            preset=plan.preset,
            seed=seed,
            settings=[*common.flips(name), f"runtime.threads={threads}"],
        )
        return {**record(run, name, plan.preset, seed), "commit": plan.commit}


def _file(name: str, preset: str, seed: int) -> Path:
    return RESULTS / f"{name}-{preset}-s{seed}.json"


def record(run: kr.RunDir, name: str, preset: str, seed: int) -> dict[str, Any]:
    """What a result file says of a run."""
    results = {stage: run.result(stage) for stage in pipeline.NAMES}
    evaluation, teacher = run.result("evaluation"), run.result("teacher")
    return {
        "dataset": name,
        "preset": preset,
        "seed": seed,
        "teacher": {key: getattr(evaluation.teacher, key) for key in FIGURES},
        "student": {key: getattr(evaluation.student, key) for key in FIGURES},
        "cas_gap": asdict(evaluation.cas_gap),
        "test_images": evaluation.images,
        "teacher_validation": teacher.validation and teacher.validation.tree(),
        "synthesis": asdict(run.result("tuning").parameters),
        "labels": run.result("distillation").labels,
        "attacks": {
            role: {
                "auc": asdict(target.attacks[target.strongest].auc),
                "aop": target.aop,
                "strongest": target.strongest,
            }
            for role, target in run.result("audit").targets.items()
            if target.strongest
        },
        "seconds": sum(result.seconds for result in results.values()),
        "stage_seconds": {stage: result.seconds for stage, result in results.items()},
        "resumed": [stage for stage, result in results.items() if result.resumed],
        "peak_memory_bytes": max(result.peak_memory_bytes for result in results.values()),
        "training_precision": teacher.precision,
        **common.origin(
            run, evaluation, f"python -m benchmarks.utility --sets {name} --preset {preset}"
        ),
    }


def table() -> str:
    """The result files as a Markdown table, one row a set and preset."""
    head = (
        "| set | preset | seeds | published accuracy | Teacher accuracy / diagnostic AUC | "
        "Student accuracy / diagnostic AUC | CAS gap, points | minutes | peak memory |\n"
        + "|---" * 9
        + "|\n"
    )
    sets = sorted(common.by_set(RESULTS).items())
    rows = [_row(*key, runs) for key, runs in sets]
    for preset in sorted({preset for (_, preset), _ in sets}):
        gaps = [_mean(runs, "cas_gap", "value") for key, runs in sets if key[1] == preset]
        gap = common.signed(mean_interval(gaps))
        rows.append(f"| mean of {len(gaps)} sets | {preset} | | | | | {gap} | | |\n")
    return head + "".join(rows)


def short_table() -> str:
    """README's table: test accuracy of the preset `fast`, and the CAS gap in points."""
    found = {
        name: runs
        for (name, preset), runs in sorted(common.by_set(RESULTS).items())
        if preset == "fast"
    }
    rows = [
        f"| {name} | {len(runs)} | {_percent(runs, 'teacher')} | {_percent(runs, 'student')} "
        f"| {common.signed(common.mean_gap(runs))} |\n"
        for name, runs in found.items()
    ]
    gap = mean_interval([_mean(runs, "cas_gap", "value") for runs in found.values()])
    head = "| set | seeds | Teacher | Student | CAS gap |\n|---|---|---|---|---|\n"
    last = f"| mean of {len(found)} sets | | | | {common.signed(gap)} |\n"
    return f"{head}{''.join(rows)}{last}"


def _percent(runs: list[dict[str, Any]], role: str) -> str:
    return f"{100 * _mean(runs, role, 'accuracy'):.1f}%"


def _mean(runs: list[dict[str, Any]], of: str, figure: str) -> float:
    return float(np.mean([run[of][figure] for run in runs]))


def _row(name: str, preset: str, runs: list[dict[str, Any]]) -> str:
    baseline = PUBLISHED.get(name)
    published = f"{100 * baseline:.1f}%" if baseline else "n/a"
    return (
        f"| {name} | {preset} | {len(runs)} | {published} "
        f"| {_percent(runs, 'teacher')} / {_mean(runs, 'teacher', 'auc'):.3f} "
        f"| {_percent(runs, 'student')} / {_mean(runs, 'student', 'auc'):.3f} "
        f"| {common.signed(common.mean_gap(runs))} "
        f"| {np.median([run['seconds'] for run in runs]) / 60:.1f} "
        f"| {max(run['peak_memory_bytes'] for run in runs) / 2**30:.1f} GiB |\n"
    )


if __name__ == "__main__":
    main()
