"""A Student of another architecture than its private Teacher: the ResNet that `fast` uses.

    python -m benchmarks.private_resnet --data DIR --sets breastmnist --seeds 1 --runs DIR

For each epsilon, set and seed, `kr run DIR/<set>.npz --epsilon 3` with a ResNet Student of 1,000
steps, by patient where patients are known. What is there already is left alone. `--table` writes
the table.
"""

from __future__ import annotations

import sys
from itertools import product
from pathlib import Path
from typing import Any

import knowledge_recycling as kr
from benchmarks import common
from knowledge_recycling.storage.files import read_json, write_bytes, write_json
from knowledge_recycling.storage.run_dir import RunDir

RESULTS = common.RESULTS / "private_resnet"
TABLE = common.DOCS / "private_resnet.md"
EPSILONS = (3.0, 1.0, 8.0)
STEPS = 1000


def main() -> None:
    """Parses the command line and runs what is missing."""
    parser = common.parser(__doc__, list(common.SYMMETRY))
    parser.add_argument("--epsilons", type=float, nargs="+", default=EPSILONS)
    arguments = parser.parse_args()
    if not arguments.table:
        code = common.commit()
        seeds = range(arguments.first_seed, arguments.first_seed + arguments.seeds)
        for epsilon, name, seed in product(arguments.epsilons, arguments.sets, seeds):
            stem = f"{name}-{epsilon:g}-s{seed}"
            if not (RESULTS / f"{stem}.json").exists():
                run = one(arguments.data / f"{name}.npz", arguments.runs / stem, epsilon, seed)
                found = result(run, name, epsilon, seed) | {"commit": code}
                write_json(RESULTS / f"{stem}.json", found)
    write_bytes(TABLE, f"# ResNet Students of private Teachers\n\n{table()}".encode())
    sys.stdout.write(table())


def one(source: Path, path: Path, epsilon: float, seed: int) -> RunDir:
    """The run of one file."""
    return kr.run(
        source,
        path,
        seed=seed,
        epsilon=epsilon,
        symmetry=common.SYMMETRY[source.stem],
        shadows=0,
        settings=["distillation.network=resnet", f"distillation.steps={STEPS}"],
        until="evaluation",
    )


def result(run: RunDir, name: str, epsilon: float, seed: int) -> dict[str, Any]:
    """Accuracy on test of one run."""
    found = run.result("evaluation")
    command = (
        f"python -m benchmarks.private_resnet --data DIR --sets {name} --epsilons {epsilon:g} "
        f"--first-seed {seed} --seeds 1"
    )
    return {
        "dataset": name,
        "seed": seed,
        "epsilon": epsilon,
        "steps": STEPS,
        "teacher": found.teacher.accuracy,
        "student": found.student.accuracy,
        "gap": [found.cas_gap.value, found.cas_gap.low, found.cas_gap.high],
        **common.origin(run, found, command),
    }


def table() -> str:
    """Markdown of the result files."""
    rows = [
        "| set | epsilon | seed | private Teacher | ResNet Student | gap, points |",
        "|---|---|---|---|---|---|",
    ]
    for of in results():
        gap = "{:+.1f} ({:+.1f} to {:+.1f})".format(*of["gap"])
        rows.append(
            f"| {of['dataset']} | {of['epsilon']:g} | {of['seed']} | {of['teacher']:.1%} | "
            f"{of['student']:.1%} | {gap} |"
        )
    return "\n".join(rows) + "\n"


def accuracies() -> dict[tuple[str, float | None], float]:
    """Of the ResNet Student on test by (dataset, epsilon), mean over the seeds there are."""
    found: dict[tuple[str, float | None], list[float]] = {}
    for of in results():
        found.setdefault((of["dataset"], of["epsilon"]), []).append(of["student"])
    return {key: sum(values) / len(values) for key, values in found.items()}


def results() -> list[dict[str, Any]]:
    """The result files, by name."""
    return [read_json(path) for path in sorted(RESULTS.glob("*.json"))]


if __name__ == "__main__":
    main()
