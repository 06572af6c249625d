"""Audits whole pipelines on named sets with shadows, and writes one result file a set.

    python -m benchmarks.privacy --data DIR --sets digits breastmnist --workers 2

DIR holds `<set>.npz` files. What is finished is left alone, so the same command can be given again
until all is done.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

import knowledge_recycling as kr
from knowledge_recycling import pipeline, shadows
from knowledge_recycling.config import Config

NARROW = (
    "teacher.width=8",
    "teacher.steps=300",
    "generator.width=8",
    "generator.steps=300",
    "tuning.trials=4",
    "distillation.steps=500",
)
"""Half of the preset `fast`, so that 17 pipelines a set fit into an hour of two cores."""


@dataclass(frozen=True)
class Setting:
    """How a set is audited."""

    preset: str
    settings: tuple[str, ...]
    reuse_choices: bool
    canaries: int


SETTINGS = {
    "digits": Setting("demo", (), reuse_choices=False, canaries=90),
    "breastmnist": Setting("fast", NARROW, reuse_choices=True, canaries=48),
    "malaria_patients": Setting("fast", NARROW, reuse_choices=True, canaries=120),
    "pneumoniamnist": Setting("fast", NARROW, reuse_choices=True, canaries=120),
}


def main() -> None:
    """Parses the command line and runs what is missing."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, help="folder of <set>.npz files")
    parser.add_argument("--sets", nargs="+", default=list(SETTINGS))
    parser.add_argument("--shadows", type=int, default=16)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--runs", type=Path, default=Path("runs/privacy"))
    arguments = parser.parse_args()
    for name in arguments.sets:
        one(arguments.data, name, arguments.shadows, arguments.workers, arguments.runs)


def one(folder: Path, name: str, count: int, workers: int, runs: Path) -> None:
    """Runs one set and its shadows."""
    setting = SETTINGS[name]
    source = "digits" if name == "digits" else folder / f"{name}.npz"
    run = kr.run(
        source, runs / name, preset=setting.preset, settings=setting.settings, until="evaluation"
    )
    config = Config.load(run.path / "config.yaml")
    shadows.run(
        run,
        config,
        count,
        workers=workers,
        reuse_choices=setting.reuse_choices,
        canaries=setting.canaries,
    )
    pipeline.run(config, run)


if __name__ == "__main__":
    main()
