"""Whole commands from start to end: `kr run` on growing data, and `kr --help`."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from benchmarks.speed.turns import Cases, Program
from benchmarks.speed.work import pictures

RECORDS = (1000, 5000, 20_000, 50_000)
SETTINGS = (
    "teacher.width=8",
    "teacher.steps=20",
    "teacher.evaluations=2",
    "generator.width=8",
    "generator.latent_channels=[4]",
    "generator.steps=20",
    "generator.snapshots=2",
    "selection.screen_steps=5",
    "selection.final_steps=5",
    "tuning.trials=2",
    "tuning.steps=5",
    "tuning.final_steps=5",
    "distillation.steps=20",
    "precision=fp32",
    "runtime.device=cpu",
)
"""Steps that do not grow with the data: what grows is all that is done once per image."""
RUN = """
import shutil, sys, tempfile
from knowledge_recycling.cli import main
with tempfile.TemporaryDirectory() as folder:
    sys.argv[1:] = ["run", sys.argv[1], "-o", folder + "/run", *sys.argv[2:]]
    main()
"""
"""`kr run` into a folder that is removed afterwards."""
HELP = {
    "kr --help": ("-m", "knowledge_recycling", "--help"),
    "kr run --help": ("-m", "knowledge_recycling", "run", "--help"),
    "python -c pass": ("-c", "pass"),
}


def pipeline(folder: Path, python: str | None) -> Cases:
    """A whole run for each number of records; the data are written to the folder."""
    del python
    return {f"{records:,} records": {"kr run": run(folder, records)} for records in RECORDS}


def run(folder: Path, records: int) -> Program:
    """`kr run` on so many images in a file."""
    path = folder / f"{records}.npz"
    images, labels = pictures(records)
    np.savez(path, images=images[..., 0], labels=labels)
    settings = [word for setting in SETTINGS for word in ("--set", setting)]
    return Program(("-c", RUN, str(path), *settings), whole=True)


def answers(folder: Path, python: str | None) -> Cases:
    """How long a person waits for help, and how long for Python alone."""
    del folder, python
    return {"help": {name: Program(words, whole=True) for name, words in HELP.items()}}
