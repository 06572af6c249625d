"""What a user types and reads."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from knowledge_recycling import cli, pipeline
from knowledge_recycling.config import Config

RUN = ["run", "-o"]


def kr(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> int:
    """Calls `kr` as the shell does; returns the exit status."""
    monkeypatch.setattr("sys.argv", ["kr", *map(str, arguments)])
    monkeypatch.setenv("COLUMNS", "1000")
    try:
        cli.main()
    except SystemExit as end:
        return int(end.code or 0)
    return 0


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the stages that start; none may before bad input is found."""
    started: list[str] = []
    monkeypatch.setattr(pipeline, "advance", lambda stage, *_: started.append(stage.name))
    return started


def refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *arguments: object
) -> str:
    assert kr(monkeypatch, *arguments) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert "Traceback" not in said.err
    return re.sub(r"\s+", " ", said.err)


def npz(path: Path, **arrays: np.ndarray) -> Path:
    np.savez(path, **arrays)  # type: ignore[arg-type]
    return path


def image_set(n: int = 60, **replaced: np.ndarray) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (n, 8, 8), dtype=np.uint8)
    arrays: dict[str, np.ndarray] = {
        "train_images": images,
        "train_labels": (np.arange(n) % 2)[:, None],
    }
    return arrays | replaced


def test_dry_run_prints_the_whole_configuration(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    arguments = ("run", "digits", "-o", tmp_path / "r", "--dry-run", "--set", "teacher.width=12")
    assert kr(monkeypatch, *arguments, "--seed", "4", "--device", "cpu") == 0
    (tmp_path / "c.yaml").write_text(capsys.readouterr().out)
    config = Config.load(tmp_path / "c.yaml")
    assert (config.teacher.width, config.seed, config.runtime.device) == (12, 4, "cpu")
    assert not (tmp_path / "r").exists()


BAD: dict[str, tuple[dict[str, np.ndarray], str]] = {
    "missing keys": ({"pictures": np.zeros(3)}, "train_images"),
    "object arrays": (image_set(train_labels=np.array([None] * 60)), "object"),
    "lengths": (image_set(train_labels=np.zeros(59, int)), "59"),
    "not a number": (image_set(train_images=np.full((60, 8, 8), np.nan)), "NaN"),
    "one class": (image_set(train_labels=np.zeros(60, int)), "one class"),
    "multi-label": (image_set(train_labels=np.zeros((60, 14), int)), "multi-label"),
    "gap": (image_set(train_labels=np.arange(60) % 2 * 3), "labels"),
}


@pytest.mark.parametrize("case", BAD)
def test_a_bad_file_is_refused_before_any_training(
    case: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    trained: list[str],
) -> None:
    arrays, message = BAD[case]
    path = npz(tmp_path / "set.npz", **arrays)
    said = refused(monkeypatch, capsys, "run", path, "-o", tmp_path / "r")
    assert message in said
    assert "set.npz" in said
    assert not trained


def test_other_bad_input_is_refused_before_any_training(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    trained: list[str],
) -> None:
    out = ("-o", tmp_path / "r")
    said = refused(monkeypatch, capsys, "run", tmp_path / "nowhere.npz", *out)
    assert "nowhere.npz" in said
    said = refused(monkeypatch, capsys, "run", "digits", *out, "--set", "tuning.trails=3")
    assert "did you mean tuning.trials?" in said
    said = refused(monkeypatch, capsys, "run", "digits", *out, "--until", "students")
    assert "--until students: not a stage; one of teacher, generator" in said
    said = refused(monkeypatch, capsys, "run", "digits", *out, "--device", "gpu")
    assert "expected auto, cpu, cuda or cuda:N" in said
    said = refused(monkeypatch, capsys, "teacher", tmp_path / "empty")
    assert "holds no run" in said
    assert not trained


def test_a_broken_image_is_named_and_can_be_skipped(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    trained: list[str],
) -> None:
    rng = np.random.default_rng(0)
    for name in ("benign", "malignant"):
        (tmp_path / "set" / name).mkdir(parents=True)
        for i in range(12):
            pixels = rng.integers(0, 256, (16, 16), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / "set" / name / f"{i}.png")
    broken = tmp_path / "set" / "benign" / "5.png"
    broken.write_bytes(broken.read_bytes()[:60])
    said = refused(monkeypatch, capsys, "run", tmp_path / "set", "-o", tmp_path / "r")
    assert "benign/5.png" in said
    assert "data.skip_broken=true" in said
    assert not trained
    arguments = ("run", tmp_path / "set", "-o", tmp_path / "r2", "--skip-broken")
    assert kr(monkeypatch, *arguments) == 0
    assert trained == list(pipeline.NAMES)
    notes = json.loads((tmp_path / "r2" / "split.json").read_text())["notes"]
    assert any("1 " in note and "skipped" in note for note in notes)


def test_scores_of_anybodys_attack(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    rng = np.random.default_rng(0)
    scores = {"member_scores": rng.normal(3, 1, 200), "nonmember_scores": rng.normal(0, 1, 200)}
    path = npz(tmp_path / "s.npz", **scores)
    assert kr(monkeypatch, "audit", "--scores", path, "--json") == 0
    entry = json.loads(capsys.readouterr().out)["attacks"]["scores"]
    assert entry["auc"]["low"] > 0.95
    assert entry["tpr_at_fpr"]["0.001"] is None, "too few non-members for that"
    assert kr(monkeypatch, "audit", "--scores", path) == 0
    assert "not found at this power" in capsys.readouterr().out
    assert "either a run directory or --scores" in refused(monkeypatch, capsys, "audit")


def test_every_stage_has_its_command(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert kr(monkeypatch, "--help") == 0
    said = capsys.readouterr().out
    assert all(re.search(rf"\b{name}\b", said) for name in ("run", *pipeline.NAMES))
