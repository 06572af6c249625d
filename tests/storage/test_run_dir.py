from __future__ import annotations

import errno
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from pydantic import BaseModel

from knowledge_recycling import pipeline
from knowledge_recycling.config import METHODS, Config, Teacher
from knowledge_recycling.errors import KRError
from knowledge_recycling.results import SplitRecord, TeacherResult, Validation
from knowledge_recycling.storage.files import atomic, disk_full_explained, write_bytes, write_json
from knowledge_recycling.storage.metrics_log import Metrics, read_rows
from knowledge_recycling.storage.run_dir import SCHEME, RunDir
from knowledge_recycling.training.checkpoint import Checkpoint

HERE = Path(__file__).parent
SPLIT = SplitRecord(
    name="set",
    data_sha256="a" * 64,
    size=8,
    channels=1,
    class_names=("a", "b"),
    has_groups=False,
    counts={},
    indices={},
)


def result(steps: int) -> TeacherResult:
    figures = dict.fromkeys(Validation.model_fields, 0.5)
    return TeacherResult(parameters=1, steps=steps, validation=Validation(**figures))


def test_atomic_leaves_the_old_file_when_the_writer_fails(tmp_path: Path) -> None:
    write_bytes(tmp_path / "f", b"old")

    def fail_halfway() -> None:
        with atomic(tmp_path / "f") as temporary:
            temporary.write_bytes(b"half")
            raise ValueError("boom")

    with pytest.raises(ValueError, match="boom"):
        fail_halfway()
    assert (tmp_path / "f").read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["f"]


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)),
        RuntimeError("I/O error: No space left on device (os error 28)"),
    ],
)
def test_full_disk_says_so_and_loses_nothing(tmp_path: Path, error: Exception) -> None:
    write_bytes(tmp_path / "f", b"old")

    def fill() -> None:
        with disk_full_explained(tmp_path), atomic(tmp_path / "f") as temporary:
            temporary.write_bytes(b"new")
            raise error

    with pytest.raises(KRError, match="the disk is full.*run the same command again"):
        fill()
    assert (tmp_path / "f").read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["f"]


def test_other_errors_are_not_taken_for_a_full_disk(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="something else"), disk_full_explained(tmp_path):
        raise RuntimeError("something else")


def test_second_process_is_told_who_works_here(tmp_path: Path) -> None:
    script = (
        "from knowledge_recycling.storage.run_dir import SCHEME, RunDir\n"
        "from knowledge_recycling.errors import KRError\n"
        f"run = RunDir({str(tmp_path)!r})\n"
        "try:\n    run.lock().__enter__()\n"
        "except KRError as error:\n    print(error)\n"
    )
    with RunDir(tmp_path).lock():
        said = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert f"another process (number {os.getpid()}) is working on this run" in said.stdout
    with RunDir(tmp_path).lock():
        pass


def test_other_config_is_refused_with_the_field(tmp_path: Path) -> None:
    run_dir = RunDir(tmp_path)
    run_dir.adopt_config(Config.resolve("digits"))
    run_dir.adopt_config(Config.resolve("digits", settings=["runtime.threads=1"]))
    with pytest.raises(KRError, match=r"teacher\.width: 9 here, \d+ there"):
        run_dir.adopt_config(Config.resolve("digits", settings=["teacher.width=9"]))


def test_other_data_are_refused_with_both_hashes(tmp_path: Path) -> None:
    run_dir = RunDir(tmp_path)
    run_dir.adopt_split(SPLIT)
    with pytest.raises(KRError, match="a{16}.*b{16}"):
        run_dir.adopt_split(SPLIT.model_copy(update={"data_sha256": "b" * 64}))


def test_the_same_data_elsewhere_are_the_same_run(tmp_path: Path) -> None:
    run_dir = RunDir(tmp_path)
    run_dir.adopt_config(Config.resolve("/old/set.npz"))
    run_dir.adopt_config(Config.resolve("/new/set.npz"))
    assert Config.load(tmp_path / "config.yaml").data.source == "/new/set.npz"


def test_a_stage_is_done_for_its_inputs_only(tmp_path: Path) -> None:
    run_dir = RunDir(tmp_path)
    run_dir.adopt_split(SPLIT)
    config = Config.resolve("digits")
    inputs = run_dir.inputs(config, "teacher", (), ())
    assert not run_dir.is_done("teacher", inputs)
    assert not run_dir.begin("teacher", inputs)
    assert run_dir.begin("teacher", inputs), "the same inputs: work goes on"
    run_dir.write_result("teacher", result(7), seconds=1.0)
    assert run_dir.result("teacher").steps == 7
    assert run_dir.is_done("teacher", inputs)
    other = Config.resolve("digits", settings=["teacher.steps=3"])
    assert not run_dir.is_done("teacher", run_dir.inputs(other, "teacher", (), ()))
    elsewhere = Config.resolve("digits", settings=["tuning.trials=3"])
    assert run_dir.is_done("teacher", run_dir.inputs(elsewhere, "teacher", (), ()))


def test_other_inputs_clear_the_stage(tmp_path: Path) -> None:
    run_dir = RunDir(tmp_path)
    run_dir.begin("teacher", {"config": "1"})
    write_json(tmp_path / "teacher" / "leftover.json", {})
    assert not run_dir.begin("teacher", {"config": "2"})
    assert not (tmp_path / "teacher" / "leftover.json").exists()


def test_a_result_is_downstream_input_but_its_timing_is_not(tmp_path: Path) -> None:
    run_dir = RunDir(tmp_path)
    run_dir.adopt_split(SPLIT)
    config = Config.resolve("digits")

    def generator_inputs(value: int, seconds: float) -> dict[str, str]:
        run_dir.begin("teacher", {"config": "1"})
        run_dir.write_result("teacher", result(value), seconds=seconds)
        return run_dir.inputs(config, "generator", ("teacher",), ())

    assert generator_inputs(1, 1.0) == generator_inputs(1, 2.0)
    assert generator_inputs(1, 1.0) != generator_inputs(2, 1.0)


def test_missing_stage_says_which_to_run(tmp_path: Path) -> None:
    with pytest.raises(KRError, match="the stage `teacher` has not run yet"):
        RunDir(tmp_path).result("teacher")


def test_fork_needs_a_new_directory(tmp_path: Path) -> None:
    run_dir = RunDir(tmp_path / "a")
    run_dir.adopt_split(SPLIT)
    run_dir.adopt_config(Config.resolve("digits"))
    forked = run_dir.fork(tmp_path / "b")
    assert not (tmp_path / "b" / "split.json").exists(), "the split may depend on the new config"
    assert forked.path == tmp_path / "b"
    assert not (tmp_path / "b" / "config.yaml").exists()
    with pytest.raises(KRError, match="exists already"):
        run_dir.fork(tmp_path / "b")


def test_metrics_forget_what_was_lost(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    log = Metrics(path, 0)
    for step in range(5):
        log.write(step=step, loss=float(step))
    log.close()
    with path.open("a") as file:
        file.write('{"step": 5, "lo')
    again = Metrics(path, 3)
    again.write(step=3, loss=30.0)
    again.close()
    assert [row["loss"] for row in read_rows(path)] == [0.0, 1.0, 2.0, 30.0]


def test_checkpoint_saves_when_it_is_time(tmp_path: Path) -> None:
    never = Checkpoint(tmp_path / "state.pt", 3600)
    never.offer(lambda: {"step": 1})
    assert never.restore() is None
    always = Checkpoint(tmp_path / "state.pt", 0)
    always.offer(lambda: {"step": 2, "weights": torch.ones(3)})
    state = Checkpoint(tmp_path / "state.pt", 0).restore()
    assert state is not None
    assert state["step"] == 2
    assert torch.equal(state["weights"], torch.ones(3))


def test_no_run_where_none_is(tmp_path: Path) -> None:
    with pytest.raises(KRError, match="holds no run; start one with `kr run DATA -o"):
        RunDir.existing(tmp_path)


def test_a_run_of_an_older_version_is_refused_before_anything_changes(tmp_path: Path) -> None:
    """The files are those that commit 4ec71b6 wrote."""
    old = tmp_path / "run"
    shutil.copytree(HERE / "run_of_4ec71b6", old)
    config = Config.load(old / "config.yaml")
    assert config.generator.method == "biggan"
    before = {path: path.read_bytes() for path in old.rglob("*") if path.is_file()}
    for until in ("teacher", "report"):
        with pytest.raises(
            KRError, match=r"teacher/inputs\.json: this run was made by another version of kr"
        ):
            pipeline.run(config, RunDir(old), until)
    files = {path for path in old.rglob("*") if path.is_file()} - {old / ".lock"}
    assert {path: path.read_bytes() for path in files} == before


def hashes(run_dir: RunDir, *settings: str) -> str:
    config = Config.resolve("digits", settings=settings)
    return run_dir.inputs(config, "generator", (), ("distillation.shift",))["config"]


def test_a_hash_covers_what_differs_from_the_defaults(tmp_path: Path) -> None:
    run_dir = RunDir(tmp_path)
    run_dir.adopt_split(SPLIT)
    plain = hashes(run_dir)
    assert hashes(run_dir, "generator.steps=1500", "generator.method=latent") == plain
    assert hashes(run_dir, "distillation.steps=3", "tuning.trials=3") == plain
    others = [
        hashes(run_dir, "generator.steps=1501"),
        hashes(run_dir, "generator.method=biggan"),
        hashes(run_dir, "generator.method=r3gan"),
        hashes(run_dir, "distillation.shift=3"),
        hashes(run_dir, "seed=1"),
        hashes(run_dir, "precision=bf16"),
    ]
    assert len({plain, *others}) == 7


def test_a_new_field_with_a_default_leaves_finished_runs_valid(tmp_path: Path) -> None:
    class Wider(Teacher):
        new: float = 0.5

    run_dir = RunDir(tmp_path)
    run_dir.adopt_split(SPLIT)
    config = Config.resolve("digits", settings=["teacher.width=8"])
    before = run_dir.inputs(config, "teacher", (), ())
    same = config.model_copy(update={"teacher": Wider(width=8)})
    other = config.model_copy(update={"teacher": Wider(width=8, new=1.0)})
    assert run_dir.inputs(same, "teacher", (), ()) == before
    assert run_dir.inputs(other, "teacher", (), ()) != before


def test_a_changed_default_needs_a_new_scheme() -> None:
    """Fields at their defaults are not hashed: a fork would take what the old default made.

    Fields may come and go. Where a default changes, raise `SCHEME` and write the file anew.
    """
    models: dict[str, type[BaseModel]] = {
        name: type(getattr(Config(), name)) for name in pipeline.NAMES if name != "generator"
    }
    models |= {f"generator ({method})": section for method, section in METHODS.items()}
    now = {
        f"{name}.{field}": info.get_default()
        for name, model in models.items()
        for field, info in model.model_fields.items()
        if not info.is_required()
    }
    then = json.loads((HERE / "defaults.json").read_text())
    assert then["scheme"] == SCHEME
    changed = {n for n, value in then["defaults"].items() if n in now and _json(now[n]) != value}
    assert not changed


def _json(value: object) -> object:
    return json.loads(json.dumps(value))
