"""A run that is killed, or whose disk fills, at any file operation ends where it would have."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from knowledge_recycling.storage.run_dir import MEASURED
from tests.faults import drive

SETTINGS = [
    "teacher.width=4",
    "teacher.blocks=[1]",
    "teacher.steps=3",
    "teacher.evaluations=1",
    "teacher.batch_size=16",
    "generator.width=4",
    "generator.latent_channels=[2]",
    "generator.steps=4",
    "generator.snapshots=2",
    "generator.batch_size=16",
    "selection.screen_steps=2",
    "selection.final_steps=2",
    "tuning.trials=2",
    "tuning.steps=3",
    "tuning.final_steps=2",
    "tuning.label_steps=3",
    "distillation.steps=3",
    "distillation.batch_size=16",
    "evaluation.bootstrap_draws=1000",
    "runtime.threads=1",
    "precision=fp32",
    "runtime.checkpoint_seconds=0",
]
POINTS = os.environ.get("KR_FAULT_POINTS", "8")
"""Faults of each kind; 0 tries every operation and takes long."""
TIMES_INSIDE = ("study.log", "log.txt", ".owner", ".lock", ".kr-run")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    rng = np.random.default_rng(0)
    labels = np.arange(96) % 2
    images = rng.integers(0, 120, (96, 8, 8)) + 100 * labels[:, None, None]
    path = tmp_path_factory.mktemp("data") / "set.npz"
    np.savez(path, images=images.astype(np.uint8), labels=labels)
    return path


def contents(run: Path) -> dict[str, Any]:
    """Every file of a run, without what differs between equal runs."""
    found: dict[str, Any] = {}
    for path in sorted(p for p in run.rglob("*") if p.is_file()):
        name = path.relative_to(run).as_posix()
        if path.name == "result.json":
            tree = json.loads(path.read_text())
            found[name] = {key: value for key, value in tree.items() if key not in MEASURED}
        elif path.name == "seconds.json" or path.name in TIMES_INSIDE:
            found[name] = "measured"
        elif path.name == "config.yaml":
            found[name] = path.read_text().replace(str(run.parent), "")
        else:
            found[name] = path.read_bytes()
    return found


def test_killed_or_out_of_disk_at_any_file_operation_the_run_ends_bit_for_bit_equal(
    data: Path, tmp_path: Path
) -> None:
    subprocess.run(
        [sys.executable, drive.__file__, data, tmp_path, json.dumps(SETTINGS), "audit", POINTS],
        check=True,
    )
    said = json.loads((tmp_path / "statuses.json").read_text())
    assert said["total"] > 60
    whole = contents(tmp_path / "whole")
    assert not [name for name in whole if name.endswith((".tmp", "state.pt"))]
    for name, (first, again) in said["statuses"].items():
        expected = drive.REFUSED if name.startswith("full") else drive.KILLED
        assert (first, again) == (expected, 0), name
        assert contents(tmp_path / name) == whole, name


def test_killed_while_labels_are_screened_it_ends_bit_for_bit_equal(
    data: Path, tmp_path: Path
) -> None:
    settings = json.dumps([*SETTINGS, "teacher.steps=4", "teacher.screening=true"])
    points = "3" if int(POINTS) else "0"
    subprocess.run(
        [sys.executable, drive.__file__, data, tmp_path, settings, "teacher", points], check=True
    )
    whole = contents(tmp_path / "whole")
    assert {*(f"teacher/votes_{k}.npz" for k in range(4)), "teacher/screened.csv"} <= set(whole)
    assert not [name for name in whole if name.endswith(".pt")]
    said = json.loads((tmp_path / "statuses.json").read_text())["statuses"]
    assert len(said) >= 9
    for name, (_, again) in said.items():
        assert again == 0, name
        assert contents(tmp_path / name) == whole, name


def test_a_run_is_its_users_alone(data: Path, tmp_path: Path) -> None:
    subprocess.run(
        [sys.executable, drive.__file__, data, tmp_path, json.dumps(SETTINGS), "report", "1"],
        check=True,
    )
    for path in [tmp_path / "whole", *(tmp_path / "whole").rglob("*")]:
        assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600), path
