"""Shadows whose worker or parent is killed, or whose disk fills, end where they would have."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import knowledge_recycling as kr
from tests.faults import drive, drive_shadows
from tests.faults.test_faults import POINTS, SETTINGS, contents, data

__all__ = ["data"]
FAULTS = [
    # Who, at which operation on a file, when; a worker has some 25 operations per shadow.
    ("worker", 30, "after", drive.REFUSED, "a worker of the shadows was killed"),
    ("worker", 41, "full", drive.REFUSED, "the disk is full"),
    ("worker", 2, "before", drive.REFUSED, "a worker of the shadows was killed"),
    ("parent", 6, "after", drive.KILLED, ""),
]
TRIED = FAULTS if POINTS == "0" else FAULTS[:2]


def shadows(run: Path, fault: str = "") -> subprocess.CompletedProcess[str]:
    here = Path(drive_shadows.__file__).parent
    paths = [str(here), str(here.parents[1]), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(paths), "KR_FAULT": fault}
    return subprocess.run(
        [sys.executable, drive_shadows.__file__, run],
        env=environment,
        capture_output=True,
        text=True,
    )


@pytest.fixture(scope="module")
def trained(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("runs") / "run"
    return kr.run(data, path, settings=SETTINGS, until="distillation").path


def test_shadows_end_bit_for_bit_equal_whatever_breaks(trained: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"  # always of one name, for a shadow's files may name it
    shutil.copytree(trained, run)
    assert shadows(run).returncode == 0
    whole = contents(run / "shadows")
    assert sum(name.endswith("signals.npz") for name in whole) == 8
    assert not [name for name in whole if name.endswith((".tmp", "state.pt", ".safetensors"))]
    for who, at, moment, status, said in TRIED:
        shutil.rmtree(run)
        shutil.copytree(trained, run)
        broken = shadows(run, f"{who}:{at}:{moment}:{run}")
        assert broken.returncode == status, (who, at, moment, broken.stderr)
        assert said in broken.stderr
        assert "Traceback" not in broken.stderr
        again = shadows(run)
        assert again.returncode == 0, (who, at, moment, again.stderr)
        assert contents(run / "shadows") == whole, (who, at, moment)
