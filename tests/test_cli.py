"""What a user types and reads."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from knowledge_recycling import api, cli, pipeline
from knowledge_recycling.auditing import audit_file
from knowledge_recycling.config import Config
from knowledge_recycling.training import doctor

RUN = ["run", "-o"]
LIMITS = Path(cli.__file__).parent / "auditing" / "limits.yaml"


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
    assert "until: 'students' is not one of teacher, generator" in said
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


def test_every_stage_has_its_command_and_its_help(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert kr(monkeypatch, "--help") == 0
    listed = re.findall(r"^  (\w+) +(\S.*)$", capsys.readouterr().out, re.MULTILINE)
    helps = {name: words for name, words in listed if name != "Knowledge"}
    assert set(helps) == {
        "run",
        "shadows",
        "gate",
        "release",
        "budget",
        "compare",
        "predict",
        "verify",
        "doctor",
        "schema",
        *pipeline.NAMES,
    }
    assert not [words for words in helps.values() if words.endswith("...")], "cut short"
    for name in set(pipeline.NAMES) - {"audit"}:
        assert helps[name] == f"Runs the stage `{name}` of a run made by `kr run`."


def python(*arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *map(str, arguments)],
        capture_output=True,
        text=True,
        env=os.environ | environment,
    )


def test_help_imports_nothing_that_it_does_not_need() -> None:
    code = (
        "import sys; sys.argv = ['kr', '--help']\n"
        "from knowledge_recycling import cli\n"
        "try: cli.main()\n"
        "finally: print(*sys.modules, file=sys.stderr)"
    )
    done = python("-c", code)
    assert done.returncode == 0
    loaded = set(done.stderr.split())
    heavy = {"torch", "sklearn", "matplotlib", "optuna", "scipy", "numpy", "pydantic", "yaml"}
    heavy |= {"rich.console", "rich.markdown"}
    assert not loaded & heavy
    ours = {name for name in loaded if name.startswith("knowledge_recycling")}
    of_ours = ("", ".cli", ".errors", ".stages")
    assert ours == {f"knowledge_recycling{name}" for name in of_ours}


def test_python_m_and_the_version(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert kr(monkeypatch, "--version") == 0
    assert capsys.readouterr().out == f"kr {version('knowledge-recycling')}\n"
    assert python("-m", "knowledge_recycling", "--version").stdout.startswith("kr ")


@pytest.mark.parametrize(
    ("words", "completed"),
    [("kr te", "teacher"), ("kr run digits --preset f", "fast"), ("kr run --until di", "distill")],
)
def test_the_shell_completes(words: str, completed: str) -> None:
    asked = {"COMP_WORDS": words, "COMP_CWORD": str(len(words.split()) - 1)}
    code = "import sys; sys.argv = ['kr']; from knowledge_recycling.cli import main; main()"
    assert completed in python("-c", code, _KR_COMPLETE="complete_bash", **asked).stdout
    # Without looking for the shell among the parents of the process: a test has none.
    shown = python(
        "-m",
        "knowledge_recycling",
        "--show-completion",
        "bash",
        _TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION="1",
    )
    assert "complete" in shown.stdout


def test_doctor(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert kr(monkeypatch, "doctor") == 0
    said = capsys.readouterr().out
    for what in ("Python", "torch", "device", "precision", "threads", "memory", "disk", "`test`"):
        assert what in said
    assert "MISSING" not in said
    honest = doctor._version
    monkeypatch.setattr(doctor, "_version", lambda name: None if name == "torch" else honest(name))
    assert kr(monkeypatch, "doctor") == 1
    assert re.search(r"MISSING │ torch +│ not installed; run `pip install", capsys.readouterr().out)


def test_names_are_printed_whole_and_send_no_escape(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    scores = {"member_scores": np.arange(200.0), "nonmember_scores": np.arange(200.0) - 1}
    path = npz(tmp_path / "scores[v2]:skull:\x1b[2J.npz", **scores)
    assert kr(monkeypatch, "audit", "--scores", path) == 0
    assert r"scores[v2]:skull:\x1b[2J.npz" in capsys.readouterr().out
    monkeypatch.setenv("COLUMNS", "60")
    cli._show_attacks({f"scores[{'long' * 9}].npz": audit_file(path).attacks})
    cells = re.findall(r"^│ (\S+) ", capsys.readouterr().out, re.MULTILINE)
    assert "".join(cells) == f"scores[{'long' * 9}].npz", "broken into lines, not cut"
    path.write_bytes(b"")
    said = refused(monkeypatch, capsys, "audit", "--scores", path)
    assert r"scores[v2]:skull:\x1b[2J.npz: " in said


def test_the_report_is_named_whole(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, trained: list[str]
) -> None:
    run = api.run("digits", tmp_path / "run[red]\n")
    (run.path / "report").mkdir()
    (run.path / "report" / "report.html").touch()
    cli._show(run)
    assert capsys.readouterr().out == f"Report: {tmp_path}/run[red]\\n/report/report.html\n"


def test_the_gate_is_for_scores_too(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    scores = {"member_scores": np.arange(200.0), "nonmember_scores": np.arange(200.0) - 150}
    path = npz(tmp_path / "s.npz", **scores)
    assert kr(monkeypatch, "audit", "--scores", path, "--limits", LIMITS) == 3
    assert "Leak found, outside the limits" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("raised", "status", "sentence"),
    [
        (KeyboardInterrupt(), 130, "stopped; run the same command again to go on"),
        (MemoryError(), 2, "error: memory ran out. Smaller images need less"),
        (PermissionError(13, "Permission denied", "x.pt"), 2, "error: x.pt: Permission denied"),
    ],
    ids=["interrupt", "memory", "permission"],
)
def test_what_is_foreseen_ends_in_one_sentence(
    raised: BaseException,
    status: int,
    sentence: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    def fails(*_: object) -> None:
        raise raised

    monkeypatch.setattr(pipeline, "advance", fails)
    assert kr(monkeypatch, "run", "digits", "-o", tmp_path / "run") == status
    said = capsys.readouterr().err.splitlines()
    assert [line for line in said if not line.startswith("note: ")] == [said[-1]]
    assert said[-1].startswith(sentence)
