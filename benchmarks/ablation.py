"""Shows what each idea of the method is worth, on the Teacher and the Generator of one run.

    python -m benchmarks.ablation --data DIR --sets breastmnist --seeds 3

(a) one fixed synthetic set under hard labels; (b) + regeneration; (c) + soft labels, which is GKD;
then blends of images and the Teacher's first feature maps, ideas of our own; (d) + Checkpoint
Optimisation; (e) + Tuning, which is the run itself. Runs that `benchmarks.utility` left in --runs
are taken over, others are made. What is finished is left alone. `--table` writes
docs/results/ablation.md from the result files alone.
"""

from __future__ import annotations

import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

import knowledge_recycling as kr
from benchmarks import common
from knowledge_recycling import pipeline
from knowledge_recycling.config import Config
from knowledge_recycling.statistics.rates import mean_interval
from knowledge_recycling.storage.files import write_bytes, write_json
from knowledge_recycling.synthesis.parameters import Parameters

RESULTS = common.RESULTS / "ablation"
TABLE = common.DOCS / "ablation.md"
FIXED = {"labels": "hard", "regeneration_period": 0}
VARIANTS: dict[str, tuple[str, dict[str, Any], bool]] = {
    "a": ("(a) fixed set, hard labels", FIXED, False),
    "b": ("(b) + regeneration", {"labels": "hard"}, False),
    "c": ("(c) + soft labels (GKD)", {"blended": 0.0, "feature_weight": 0.0}, False),
    "blends": ("+ blends", {"feature_weight": 0.0}, False),
    "features": ("+ first feature maps", {}, False),
    "d": ("(d) + Checkpoint Optimisation", {}, True),
}
"""Name -> words, fields of `distillation`, and whether the chosen snapshot is used."""
SEARCHED = ("generator.snapshots=3", "tuning.trials=6", "distillation.labels=soft")
"""What `fast` does not choose by itself, so that rows (d) and (e) have a choice to make."""
WORDS = {name: words for name, (words, _, _) in VARIANTS.items()} | {"e": "(e) + Tuning"}


def main() -> None:
    """Parses the command line and runs what is missing."""
    arguments = common.parser(__doc__, ["breastmnist", "pneumoniamnist"]).parse_args()
    if not arguments.table:
        code = common.commit()
        for seed in range(arguments.first_seed, arguments.seeds):
            for name in arguments.sets:
                one(arguments.data, name, arguments.preset, seed, arguments.runs, code)
    write_bytes(TABLE, f"# Ablation\n\n{table()}".encode())
    sys.stdout.write(table())


def one(folder: Path, name: str, preset: str, seed: int, runs: Path, code: str) -> None:
    """Trains a Student for each variant, unless the result file is there."""
    stem = f"{name}-{preset}-s{seed}"
    target = RESULTS / f"{stem}.json"
    if target.exists():
        return
    source = name if name == "digits" else folder / f"{name}.npz"
    run = kr.run(
        source, runs / stem, preset=preset, seed=seed, settings=SEARCHED, until="evaluation"
    )
    found = {key: figures(variant(run, key)) for key in VARIANTS} | {"e": figures(run)}
    evaluation = run.result("evaluation")
    write_json(
        target,
        {
            "dataset": name,
            "preset": preset,
            "seed": seed,
            "teacher": {key: getattr(evaluation.teacher, key) for key in ("accuracy", "auc")},
            "variants": found,
            "commit": code,
            **common.origin(
                run, evaluation, f"python -m benchmarks.ablation --sets {name} --preset {preset}"
            ),
        },
    )


def variant(run: kr.RunDir, key: str) -> kr.RunDir:
    """A run with the same Teacher and Generator and another Student.

    Where Tuning kept the defaults, (d) is the run itself; where Checkpoint Optimisation kept the
    last snapshot, the Student without it is that of (d).
    """
    if key == "d" and run.result("tuning").parameters == Parameters():
        return run
    if key == "features" and not other_choice(run):
        return variant(run, "d")
    _, fields, selected = VARIANTS[key]
    new = common.forked(run, key)
    config = Config.load(run.path / "config.yaml")
    section = config.distillation.model_copy(update=fields)
    config = config.model_copy(update={"distillation": section})
    pipeline.run(config, new, "generator")
    selection, tuning = run.result("selection"), run.result("tuning")
    if not selected:
        last = run.result("generator").snapshots[-1]
        selection = selection.model_copy(update={"snapshot": last})
    pipeline.take_over("selection", config, new, selection)
    untuned = tuning.model_copy(update={"parameters": Parameters()})
    pipeline.take_over("tuning", config, new, untuned)
    pipeline.run(config, new, "evaluation")
    return new


def other_choice(run: kr.RunDir) -> bool:
    """Whether Checkpoint Optimisation took another snapshot than the last."""
    return run.result("selection").snapshot != run.result("generator").snapshots[-1]


def figures(run: kr.RunDir) -> dict[str, Any]:
    """Accuracy and AUC of the Student on test, the gap, and the seconds of its training."""
    evaluation = run.result("evaluation")
    return {
        "student": {key: getattr(evaluation.student, key) for key in ("accuracy", "auc")},
        "cas_gap": asdict(evaluation.cas_gap),
        "seconds": run.result("distillation").seconds,
    }


def table() -> str:
    """The CAS gap of each variant, in points: a table for each preset, a column for each set."""
    found = common.by_set(RESULTS)
    presets = sorted({preset for _, preset in found})
    return "\n".join(
        _table(preset, {name: runs for (name, of), runs in found.items() if of == preset})
        for preset in presets
    )


def _table(preset: str, sets: dict[str, list[dict[str, Any]]]) -> str:
    """What a row has more is paired within the sets; its interval is over the sets."""
    rows = [
        [
            f"preset {preset}: CAS gap, diagnostic AUC",
            *sets,
            f"mean of {len(sets)} sets",
            "more than the row above",
            "minutes of the Student",
        ],
        ["---"] * (len(sets) + 4),
        ["seeds", *(str(len(runs)) for runs in sets.values()), "", "", ""],
    ]
    before: tuple[np.ndarray, np.ndarray] | None = None
    for key, words in WORDS.items():
        variants = [[run["variants"][key] for run in runs] for runs in sets.values()]
        estimates = [common.mean_gap(of) for of in variants]
        gaps = np.array([gap.value for gap in estimates])
        aucs = np.array([np.mean([one["student"]["auc"] for one in of]) for of in variants])
        columns = zip([*estimates, mean_interval(gaps)], [*aucs, aucs.mean()], strict=True)
        cells = [f"{common.signed(gap)}, {auc:.3f}" for gap, auc in columns]
        gain = ""
        if before:
            more_gap, more_auc = mean_interval(gaps - before[0]), mean_interval(aucs - before[1])
            gain = f"{common.signed(more_gap)}, {common.signed(more_auc, digits=3)}"
        seconds = np.median([one["seconds"] for of in variants for one in of])
        rows.append([words, *cells, gain, f"{seconds / 60:.1f}"])
        before = gaps, aucs
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)


if __name__ == "__main__":
    main()
