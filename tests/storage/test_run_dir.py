from __future__ import annotations

import errno
import json
import os
import shutil
import stat
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
from knowledge_recycling.storage.files import (
    atomic,
    disk_full_explained,
    read_table,
    write_bytes,
    write_json,
)
from knowledge_recycling.storage.manifest import MARKER
from knowledge_recycling.storage.metrics_log import Metrics, read_rows
from knowledge_recycling.storage.run_dir import SCHEME, RunDir
from knowledge_recycling.storage.verification import verify
from knowledge_recycling.training.checkpoint import MAGIC, Checkpoint

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
CONFIG = Config.resolve("digits")


def result(steps: int) -> TeacherResult:
    figures = dict.fromkeys(Validation.model_fields, 0.5)
    return TeacherResult(parameters=1, steps=steps, validation=Validation(**figures))


@pytest.fixture
def run_dir(tmp_path: Path) -> RunDir:
    run_dir = RunDir(tmp_path / "run")
    with run_dir.lock():
        run_dir.adopt(CONFIG, SPLIT)
    return run_dir


def finish(run_dir: RunDir, stage: str = "teacher", inputs: dict[str, str] | None = None) -> None:
    with run_dir.lock():
        run_dir.begin(stage, inputs or {"config": "1"})
        write_json(run_dir.path / stage / "network.json", {})
        run_dir.write_result(stage, result(7), seconds=1.0)


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


def test_atomic_replaces_a_link_and_leaves_its_target_alone(tmp_path: Path) -> None:
    (tmp_path / "target").write_text("theirs")
    (tmp_path / "f").symlink_to(tmp_path / "target")
    (tmp_path / f".f.{os.getpid()}.tmp").symlink_to(tmp_path / "target")
    write_bytes(tmp_path / "f", b"ours")
    assert (tmp_path / "target").read_text() == "theirs"
    assert (tmp_path / "f").read_bytes() == b"ours"
    assert not (tmp_path / "f").is_symlink()


def test_atomic_waits_for_the_disk_before_and_after_the_file_moves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[str] = []
    fsync, replace = os.fsync, os.replace

    def synced(descriptor: int) -> None:
        done.append("folder" if stat.S_ISDIR(os.fstat(descriptor).st_mode) else "file")
        fsync(descriptor)

    def moved(source: Path, target: Path) -> None:
        done.append("move")
        replace(source, target)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(os, "replace", moved)
    write_bytes(tmp_path / "f", b"x")
    assert done == ["file", "move", "folder"]


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


def test_other_config_is_refused_with_the_field_and_nothing_is_written(run_dir: RunDir) -> None:
    before = (run_dir.path / "config.yaml").read_bytes()
    with pytest.raises(KRError, match=r"teacher\.width: 9 here, \d+ there"):
        run_dir.adopt(Config.resolve("/new/set", settings=["teacher.width=9"]), SPLIT)
    assert (run_dir.path / "config.yaml").read_bytes() == before
    run_dir.adopt(Config.resolve("digits", settings=["runtime.threads=1"]), SPLIT)


def test_other_data_are_refused_with_both_hashes_and_nothing_is_written(run_dir: RunDir) -> None:
    before = (run_dir.path / "config.yaml").read_bytes()
    other = SPLIT.model_copy(update={"data_sha256": "b" * 64})
    with pytest.raises(KRError, match="a{16}.*b{16}"):
        run_dir.adopt(Config.resolve("/new/set.npz"), other)
    assert (run_dir.path / "config.yaml").read_bytes() == before


def test_the_same_data_elsewhere_are_the_same_run(run_dir: RunDir) -> None:
    run_dir.adopt(Config.resolve("/new/set.npz"), SPLIT)
    assert Config.load(run_dir.path / "config.yaml").data.source == "/new/set.npz"


def test_a_runs_own_copy_of_the_data_moves_with_it(run_dir: RunDir) -> None:
    write_bytes(run_dir.path / "source.npz", b"arrays")
    run_dir.adopt(Config.resolve(str(run_dir.path / "source.npz")), SPLIT)
    assert "source: source.npz" in (run_dir.path / "config.yaml").read_text()
    moved = run_dir.path.rename(run_dir.path.with_name("moved"))
    assert Config.load(moved / "config.yaml").data.source == str(moved / "source.npz")


def test_a_run_of_the_first_version_that_was_moved_finds_its_data(run_dir: RunDir) -> None:
    write_bytes(run_dir.path / "source.npz", b"arrays")
    old = CONFIG.model_copy(
        update={"data": CONFIG.data.model_copy(update={"source": "/gone/source.npz"})}
    )
    write_bytes(run_dir.path / "config.yaml", old.dump().encode())
    found = Config.load(run_dir.path / "config.yaml").data.source
    assert found == str(run_dir.path / "source.npz")


def test_a_stage_is_done_for_its_inputs_only(run_dir: RunDir) -> None:
    inputs = run_dir.inputs(CONFIG, "teacher", (), ())
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


def test_hashes_of_16_digits_still_count(run_dir: RunDir) -> None:
    finish(run_dir, inputs={"config": "ab" * 8})
    assert run_dir.is_done("teacher", {"config": "ab" * 32})
    assert not run_dir.is_done("teacher", {"config": "ac" * 32})


def test_other_inputs_clear_the_stage_but_not_what_a_user_put_there(run_dir: RunDir) -> None:
    finish(run_dir)
    folder = run_dir.path / "teacher"
    write_json(folder / "leftover.json", {})
    (folder / "notes.txt").write_text("mine")
    (folder / "pictures").mkdir()
    (folder / "pictures" / "x.png").write_text("mine")
    assert not run_dir.begin("teacher", {"config": "2"})
    left = sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*"))
    assert left == ["inputs.json", "notes.txt", "pictures", "pictures/x.png"]


def test_the_result_comes_before_the_state_goes(
    run_dir: RunDir, monkeypatch: pytest.MonkeyPatch
) -> None:
    inputs = {"config": "1"}
    run_dir.begin("teacher", inputs)
    state = run_dir.path / "teacher" / "state.pt"
    write_bytes(state, b"state")

    def killed(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Path, "unlink", killed)
        with pytest.raises(KeyboardInterrupt):
            run_dir.write_result("teacher", result(7))
    assert state.exists()
    assert not run_dir.is_done("teacher", {"config": "2"})
    run_dir.write_result("teacher", result(7))
    write_bytes(state, b"state")
    assert run_dir.is_done("teacher", inputs)
    assert not state.exists()


def test_a_result_is_downstream_input_but_its_timing_is_not(run_dir: RunDir) -> None:
    def generator_inputs(value: int, seconds: float) -> dict[str, str]:
        run_dir.begin("teacher", {"config": "1"})
        run_dir.write_result("teacher", result(value), seconds=seconds)
        return run_dir.inputs(CONFIG, "generator", ("teacher",), ())

    assert generator_inputs(1, 1.0) == generator_inputs(1, 2.0)
    assert generator_inputs(1, 1.0) != generator_inputs(2, 1.0)


def test_missing_stage_says_which_to_run(tmp_path: Path) -> None:
    with pytest.raises(KRError, match="the stage `teacher` has not run yet"):
        RunDir(tmp_path).result("teacher")


def test_a_fork_takes_what_is_done_and_neither_split_nor_report(
    run_dir: RunDir, tmp_path: Path
) -> None:
    finish(run_dir)
    finish(run_dir, "report")
    write_bytes(run_dir.path / "real_examples.npz", b"real images")
    write_bytes(run_dir.path / "report" / "report.html", b"real images")
    (run_dir.path / "generator").mkdir()
    write_bytes(run_dir.path / "generator" / "inputs.json", b"{}")
    forked = run_dir.fork(tmp_path / "b")
    found = {p.relative_to(forked.path).as_posix() for p in forked.path.rglob("*") if p.is_file()}
    wanted = {"result.json", "inputs.json", "network.json"}
    assert found == {".kr-run", ".lock", ".owner"} | {f"teacher/{name}" for name in wanted}
    assert forked.is_done("teacher", {"config": "1"})


def test_a_fork_given_twice_is_gone_on_with(run_dir: RunDir, tmp_path: Path) -> None:
    finish(run_dir)
    forked = run_dir.fork(tmp_path / "b")
    finish(run_dir, "generator")
    assert run_dir.fork(tmp_path / "b").is_done("generator", {"config": "1"}), "made anew"
    with forked.lock():
        forked.adopt(CONFIG, SPLIT)
    finish(run_dir, "selection")
    again = run_dir.fork(tmp_path / "b")
    assert not (again.path / "selection").exists(), "it has a life of its own now"


def test_a_fork_that_was_cut_short_is_made_anew(
    run_dir: RunDir, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    finish(run_dir)

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("shutil.copyfile", killed)
        with pytest.raises(KeyboardInterrupt):
            run_dir.fork(tmp_path / "b")
    assert read_table(tmp_path / "b" / MARKER)["copied"] is False
    assert run_dir.fork(tmp_path / "b").is_done("teacher", {"config": "1"})


def test_a_fork_does_not_touch_what_is_no_fork(run_dir: RunDir, tmp_path: Path) -> None:
    other = RunDir(tmp_path / "other")
    with other.lock():
        other.adopt(CONFIG, SPLIT)
    with pytest.raises(KRError, match="exists already; --fork needs a new directory"):
        run_dir.fork(other.path)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("mine")
    with pytest.raises(KRError, match="is not empty and holds no run"):
        run_dir.fork(tmp_path / "mine")
    with pytest.raises(KRError, match="lies in the run that is to be forked"):
        run_dir.fork(run_dir.path / "fork")


def test_metrics_forget_what_was_lost(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    log = Metrics(path, 0)
    for step in range(5):
        log.write(step=step, loss=float(step))
    log.close()
    with path.open("a") as file:
        file.write('[1]\n{"step": "x"}\n{"step": 5, "lo')
    again = Metrics(path, 3)
    again.write(step=3, loss=30.0)
    again.close()
    assert [row["loss"] for row in read_rows(path)] == [0.0, 1.0, 2.0, 30.0]


def test_checkpoint_saves_when_it_is_time(tmp_path: Path) -> None:
    never = Checkpoint(tmp_path / "state.pt", 3600)
    never.offer(lambda: {"step": 1, "learner": {}})
    assert never.restore() is None
    always = Checkpoint(tmp_path / "state.pt", 0)
    always.offer(lambda: {"step": 2, "learner": {"weights": torch.ones(3)}})
    state = Checkpoint(tmp_path / "state.pt", 0).restore()
    assert state is not None
    assert state["step"] == 2
    assert torch.equal(state["learner"]["weights"], torch.ones(3))


@pytest.mark.parametrize("damage", [b"", b"text", MAGIC, MAGIC + b"x" * 500])
def test_a_damaged_state_is_told_of_and_left_aside(
    tmp_path: Path, damage: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "teacher" / "state.pt"
    write_bytes(path, damage)
    assert Checkpoint(path, 0).restore() is None
    said = " ".join(capsys.readouterr().err.split())
    assert "is damaged; the stage `teacher` starts anew" in said


def test_no_run_where_none_is(tmp_path: Path) -> None:
    with pytest.raises(KRError, match="holds no run; start one with `kr run DATA -o"):
        RunDir.existing(tmp_path)


@pytest.mark.parametrize("change", ["edit", "empty", "delete"])
@pytest.mark.parametrize("name", ["teacher/network.json", "teacher/result.json", "split.json"])
def test_what_was_changed_is_named(run_dir: RunDir, name: str, change: str) -> None:
    finish(run_dir)
    assert verify(run_dir) == 3
    path = run_dir.path / name
    if change == "delete":
        path.unlink()
    else:
        path.write_text("{}\n \n" if change == "edit" else "")
    if name.endswith("result.json") and change == "delete":
        assert not run_dir.is_done("teacher", {"config": "1"})
        return
    with pytest.raises(KRError, match=name):
        verify(run_dir)
    if name.startswith("teacher"):
        with pytest.raises(KRError, match=f"{name}.*Bring the file back from a copy, or delete"):
            run_dir.is_done("teacher", {"config": "1"})


def test_a_configuration_that_cannot_be_read_is_found(run_dir: RunDir) -> None:
    path = run_dir.path / "config.yaml"
    path.write_text("a: &a [1, 2]\nb: [*a, *a]\n")
    with pytest.raises(KRError, match=r"config.yaml: cannot be read as YAML: it refers to itself"):
        verify(run_dir)


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
    files = {path for path in old.rglob("*") if path.is_file()}
    assert {path: path.read_bytes() for path in files} == before


def hashes(run_dir: RunDir, *settings: str) -> str:
    config = Config.resolve("digits", settings=settings)
    return run_dir.inputs(config, "generator", (), ("distillation.shift",))["config"]


def test_a_hash_covers_what_differs_from_the_defaults(run_dir: RunDir) -> None:
    plain = hashes(run_dir)
    assert hashes(run_dir, "generator.steps=1000", "generator.method=latent") == plain
    assert hashes(run_dir, "distillation.steps=3", "tuning.trials=3") == plain
    others = [
        hashes(run_dir, "generator.steps=1001"),
        hashes(run_dir, "generator.method=biggan"),
        hashes(run_dir, "generator.method=r3gan"),
        hashes(run_dir, "distillation.shift=3"),
        hashes(run_dir, "seed=1"),
        hashes(run_dir, "precision=bf16"),
    ]
    assert len({plain, *others}) == 7


def test_a_new_field_with_a_default_leaves_finished_runs_valid(run_dir: RunDir) -> None:
    class Wider(Teacher):
        new: float = 0.5

    config = Config.resolve("digits", settings=["teacher.width=8"])
    before = run_dir.inputs(config, "teacher", (), ())
    same = config.model_copy(update={"teacher": Wider(width=8)})
    other = config.model_copy(update={"teacher": Wider(width=8, new=1.0)})
    assert run_dir.inputs(same, "teacher", (), ()) == before
    assert run_dir.inputs(other, "teacher", (), ()) != before


@pytest.mark.parametrize("damaged", [b"{}", b"", b"[1]", b'{"x": 1}'])
def test_damaged_inputs_of_a_stage_are_no_other_version(run_dir: RunDir, damaged: bytes) -> None:
    inputs = {"scheme": SCHEME, "config": "a"}
    with run_dir.lock():
        run_dir.begin("teacher", inputs)
        assert run_dir.begin("teacher", inputs)
        (run_dir.path / "teacher" / "inputs.json").write_bytes(damaged)
        run_dir.check_scheme()
        assert not run_dir.begin("teacher", inputs), "it starts anew"


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
