"""Compares Generators, and the parts of the latent one, by validation CAS and by time.

    python -m benchmarks.generators --data DIR --sets bloodmnist_like --seeds 1

On the Teacher of one run each variant trains a Generator; a probe of 600 batches learns from its
last snapshot, un-tuned, and is judged on validation. No test data are read, so these figures may
choose defaults. Runs that `benchmarks.utility` left in --runs lend their Teacher and Generator.
What is finished is left alone. `--table` writes docs/results/generators.md from the files alone.
"""

from __future__ import annotations

import json
import sys
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

import knowledge_recycling as kr
from benchmarks import common
from knowledge_recycling import artefacts, data, pipeline
from knowledge_recycling.config import Config
from knowledge_recycling.statistics.rates import mean_interval
from knowledge_recycling.storage.files import write_bytes, write_json
from knowledge_recycling.synthesis.parameters import Parameters
from knowledge_recycling.synthesis.probes import Bench
from knowledge_recycling.training.runtime import Runtime

RESULTS = common.RESULTS / "generators"
TABLE = common.DOCS / "generators.md"
STEPS = 600
VARIANTS: dict[str, tuple[str, ...]] = {
    "latent": (),
    "latent, probe without blends": ("distillation.blended=0",),
    "latent, one Gaussian a class": ("generator.component_images=1000000",),
    "latent, one Generator": ("generator.latent_channels=[8]",),
    "latent, no adversary": ("generator.adversary_weight=0",),
    "latent, no texture loss": ("generator.texture_weight=0",),
    "latent, neither": ("generator.adversary_weight=0", "generator.texture_weight=0"),
    "latent, KL 0.001": ("generator.kl_weight=0.001",),
    "biggan": ("generator.method=biggan",),
    "r3gan": ("generator.method=r3gan",),
}
"""Words -> settings over the preset's."""


def main() -> None:
    """Parses the command line and runs what is missing."""
    parser = common.parser(__doc__, ["bloodmnist_like", "pneumoniamnist", "breastmnist"])
    parser.add_argument("--variants", nargs="+", choices=VARIANTS, default=list(VARIANTS))
    arguments = parser.parse_args()
    if not arguments.table:
        code = common.commit()
        for seed in range(arguments.first_seed, arguments.seeds):
            for name in arguments.sets:
                stem = f"{name}-{arguments.preset}-s{seed}"
                source = arguments.data / f"{name}.npz"
                run = kr.run(
                    source,
                    arguments.runs / stem,
                    preset=arguments.preset,
                    seed=seed,
                    until="generator",
                )
                for words in arguments.variants:
                    one(run, name, words, RESULTS / f"{stem}.json", code)
    write_bytes(TABLE, f"# Generators\n\n{table()}".encode())
    sys.stdout.write(table())


def one(run: kr.RunDir, name: str, words: str, target: Path, code: str) -> None:
    """Adds a variant to the run's result file, unless it is there."""
    found = json.loads(target.read_text()) if target.exists() else {"variants": {}}
    if words in found["variants"]:
        return
    config = Config.load(run.path / "config.yaml")
    new = common.forked(run, f"generators-{list(VARIANTS).index(words)}")
    own = Config.resolve(
        config.data.source, preset=config.preset, seed=config.seed, settings=VARIANTS[words]
    )
    pipeline.run(own, new, "generator")
    generator = new.result("generator")
    figures = probe(own, new)
    found["variants"][words] = {
        "settings": VARIANTS[words],
        "validation": figures,
        "seconds": generator.seconds,
        "warning": generator.warning,
        "parameters": generator.parameters,
        "commit": code,
    }
    validation = run.result("teacher").validation
    write_json(
        target,
        {
            "dataset": name,
            "preset": config.preset,
            "seed": config.seed,
            "teacher_validation": validation and validation.tree(),
            "variants": found["variants"],
            "probe_steps": STEPS,
            **common.origin(run, generator, f"python -m benchmarks.generators --sets {name}"),
        },
    )


def probe(config: Config, run: kr.RunDir) -> dict[str, float]:
    """Accuracy, AUC and loss on validation of a probe that learned from the last snapshot."""
    runtime = Runtime.of(config)
    (val,) = data.load(config.data, run.split(), "val")
    teacher = artefacts.classifier(run, "teacher", runtime)
    snapshot = run.result("generator").snapshots[-1]
    source = artefacts.source(run, snapshot, teacher, Parameters(), runtime)
    spec = artefacts.student_spec(config, run)
    bench = Bench.of(
        "selection", config, partial(artefacts.build, run, spec), val.images, val.labels, runtime
    )
    return bench.score(source, STEPS, "comparison", run.path.name)


def table() -> str:
    """Validation accuracy and AUC of the probes, less the Teacher's accuracy, and minutes."""
    sets = common.by_set(RESULTS)
    head = (
        "| Generator |"
        + "".join(f" {name}, {preset}, {_seeds(runs)} |" for (name, preset), runs in sets.items())
        + "\n|---"
        + "|---" * len(sets)
        + "|\n"
    )
    teachers = [
        f"{100 * np.mean([r['teacher_validation']['accuracy'] for r in runs]):.1f}%"
        for runs in sets.values()
    ]
    rows = [f"| the Teacher | {' | '.join(teachers)} |\n"]
    for words in VARIANTS:
        cells = [
            _cell([r["variants"][words] for r in runs if words in r["variants"]])
            for runs in sets.values()
        ]
        rows.append(f"| {words} | {' | '.join(cells)} |\n")
    return head + "".join(rows)


def _seeds(runs: list[dict[str, Any]]) -> str:
    return f"{len(runs)} seed{'s' if len(runs) > 1 else ''}"


def _cell(found: list[dict[str, Any]]) -> str:
    if not found:
        return "n/a"
    accuracy = mean_interval([100 * row["validation"]["accuracy"] for row in found])
    auc = np.mean([row["validation"]["auc"] for row in found])
    minutes = np.median([row["seconds"] for row in found]) / 60
    interval = f" ({accuracy.low:.1f} to {accuracy.high:.1f})" if len(found) > 1 else ""
    return f"{accuracy.value:.1f}%{interval}, diagnostic AUC {auc:.3f}, {minutes:.1f} min"


if __name__ == "__main__":
    main()
