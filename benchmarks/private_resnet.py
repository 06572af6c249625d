"""A Student of another architecture than its private Teacher: the ResNet that `fast` uses.

    python -m benchmarks.private_resnet --data DIR --sets breastmnist --seeds 1 --runs DIR

For each set and seed, `kr run DIR/<set>.npz --epsilon 3` with a ResNet Student of 1,000 steps, by
patient where patients are known. What is there already is left alone. `--table` writes the table.
"""

from __future__ import annotations

import sys
from typing import Any

import knowledge_recycling as kr
from benchmarks import common
from knowledge_recycling.storage.files import read_json, write_bytes, write_json
from knowledge_recycling.storage.run_dir import RunDir

RESULTS = common.RESULTS / "private_resnet"
TABLE = common.DOCS / "private_resnet.md"
EPSILON = 3.0
STEPS = 1000


def main() -> None:
    """Parses the command line and runs what is missing."""
    arguments = common.parser(__doc__, list(common.SYMMETRY)).parse_args()
    if not arguments.table:
        code = common.commit()
        for name in arguments.sets:
            for seed in range(arguments.first_seed, arguments.first_seed + arguments.seeds):
                target = RESULTS / f"{name}-s{seed}.json"
                if not target.exists():
                    run = kr.run(
                        arguments.data / f"{name}.npz",
                        arguments.runs / f"{name}-s{seed}",
                        seed=seed,
                        epsilon=EPSILON,
                        symmetry=common.SYMMETRY[name],
                        shadows=0,
                        settings=["distillation.network=resnet", f"distillation.steps={STEPS}"],
                        until="evaluation",
                    )
                    write_json(target, result(run, name, seed, code))
    write_bytes(TABLE, f"# ResNet Students of private Teachers\n\n{table()}".encode())
    sys.stdout.write(table())


def result(run: RunDir, name: str, seed: int, code: str) -> dict[str, Any]:
    """Accuracy on test of one run."""
    found = run.result("evaluation")
    command = f"python -m benchmarks.private_resnet --data DIR --sets {name} --seeds {seed + 1}"
    return {
        "dataset": name,
        "seed": seed,
        "epsilon": EPSILON,
        "steps": STEPS,
        "teacher": found.teacher.accuracy,
        "student": found.student.accuracy,
        "gap": [found.cas_gap.value, found.cas_gap.low, found.cas_gap.high],
        "commit": code,
        **common.origin(run, found, command),
    }


def table() -> str:
    """Markdown of the result files."""
    rows = [
        "| set | seed | private Teacher | ResNet Student | gap, points |",
        "|---|---|---|---|---|",
    ]
    for of in (read_json(path) for path in sorted(RESULTS.glob("*.json"))):
        gap = "{:+.1f} ({:+.1f} to {:+.1f})".format(*of["gap"])
        rows.append(
            f"| {of['dataset']} | {of['seed']} | {of['teacher']:.1%} | {of['student']:.1%} | "
            f"{gap} |"
        )
    return "\n".join(rows) + "\n"


if __name__ == "__main__":
    main()
