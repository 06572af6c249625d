"""The whole job from Python: what is refused before anything is written, and a run that shows."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import knowledge_recycling as kr
from knowledge_recycling import pipeline, stages
from knowledge_recycling.errors import printable
from knowledge_recycling.workers import Processes
from tests.small_runs import TINIEST

PIXEL = 203
"""In every image below, and in no message."""


def image_set(n: int = 60) -> tuple[np.ndarray, np.ndarray]:
    images = np.random.default_rng(0).integers(0, 200, (n, 8, 8), dtype=np.uint8)
    images[:, 0, 0] = PIXEL
    return images, np.arange(n) % 2


IMAGES, LABELS = image_set()


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the stages that start instead of running."""
    started: list[str] = []
    monkeypatch.setattr(pipeline, "advance", lambda stage, *_: started.append(stage.name))
    return started


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> kr.Run:
    return kr.run("digits", tmp_path_factory.mktemp("runs") / "digits", settings=TINIEST)


def test_the_light_names_are_the_pipelines() -> None:
    assert stages.NAMES == pipeline.NAMES


BAD: dict[str, tuple[dict[str, Any], str]] = {
    "an array without labels": ({"data": IMAGES}, r"data: expected `digits`.*type ndarray"),
    "one element": ({"data": (IMAGES,)}, "found 1 elements"),
    "five elements": ({"data": [IMAGES] * 5}, "found 5 elements"),
    "labels first": ({"data": (LABELS, IMAGES)}, r"the order is \(images, labels\)"),
    "ragged images": ({"data": ([[[PIXEL]], [[PIXEL, 1]]], [0, 1])}, "the images are no array"),
    "fewer labels": ({"data": (IMAGES, LABELS[:9])}, "60 images but 9 labels"),
    "a gradient": ({"data": (torch.ones(4, 8, 8).requires_grad_(), [0, 1] * 2)}, "no array"),
    "a dictionary": ({"data": {"images": IMAGES}}, "data: expected .* type dict"),
    "nothing": ({"data": ""}, "data"),
    "a Config for data": ({"data": kr.Config()}, "a Config goes to config="),
    "a Config for a directory": ({"out": kr.Config()}, "out: expected a path.*goes to config="),
    "a Config for settings": ({"settings": kr.Config()}, "settings: expected a list of strings"),
    "one setting": ({"settings": "teacher.steps=3"}, "settings: expected a list of strings"),
    "an array as a setting": ({"settings": [IMAGES]}, "settings: expected text.*ndarray"),
    "an array for a directory": ({"out": IMAGES}, "out: expected a path, found .*ndarray"),
    "an array for a seed": ({"seed": IMAGES}, "seed: expected a whole number from 0 up.*ndarray"),
    "a seed below 0": ({"seed": -1}, "seed: expected a whole number from 0 up, found -1"),
    "a misspelt preset": ({"preset": "fats"}, "preset: 'fats' is not one of .*mean fast"),
    "a misspelt stage": ({"until": "distilation"}, "until: 'distilation'.*mean distillation"),
    "a stage of another type": ({"until": IMAGES}, "until: an object of type ndarray is not one"),
    "a misspelt field": ({"settings": ["teacher.step=3"]}, "did you mean teacher.steps"),
    "an unknown device": ({"device": "gpu"}, "runtime.device=gpu: expected auto, cpu"),
    "an odd number of shadows": ({"shadows": 9}, "shadows: 9 is not possible.* even number from 8"),
    "shadows too early": ({"shadows": 8, "until": "teacher"}, "until: shadows are run for the aud"),
    "canaries alone": ({"canaries": 5}, "canaries: is for shadows"),
    "choices alone": ({"reuse_choices": True}, "reuse_choices: is for shadows"),
    "no workers": ({"workers": 0}, "workers: expected a whole number from 1 up, found 0"),
    "no configuration": ({"config": 3}, "config: expected a path, found 3"),
    "fork of nothing": ({"fork": "new"}, "holds no run"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_arguments_are_refused_before_anything_is_written(
    case: str, tmp_path: Path, trained: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    replaced, message = BAD[case]
    arguments: dict[str, Any] = {"data": (IMAGES, LABELS), "out": tmp_path / "run"} | replaced
    with pytest.raises(kr.KRError, match=message) as error:
        kr.run(**arguments)
    chain: list[BaseException | None] = [error.value, error.value.__cause__]
    assert str(PIXEL) not in "".join(map(str, chain))
    assert len(str(error.value)) < 400
    left = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert [path.name for path in left if path.name != ".lock"] in ([], ["source.npz"])
    if case != "an unknown device":  # which only torch can judge
        assert not left
    assert not trained


def test_a_list_is_taken_as_a_tuple(tmp_path: Path, trained: list[str]) -> None:
    listed = kr.run([IMAGES, LABELS], str(tmp_path / "a"), until="teacher")
    given = kr.run((IMAGES, LABELS), tmp_path / "b", until="teacher")
    assert listed.split() == given.split()
    assert trained == ["teacher", "teacher"]


def test_a_home_folder_is_meant_as_a_shell_means_it(
    tmp_path: Path, trained: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "me"))
    assert kr.run((IMAGES, LABELS), "~/run", until="teacher").path == tmp_path / "me" / "run"
    assert not (tmp_path / "~").exists()


def test_a_fork_the_wrong_way_round_is_told(tmp_path: Path) -> None:
    (tmp_path / "old").mkdir()
    with pytest.raises(kr.KRError, match="the other way round"):
        kr.run("digits", tmp_path / "new", fork=tmp_path / "old")
    assert [path.name for path in tmp_path.iterdir()] == ["old"]


def test_a_fork_that_cannot_start_leaves_nothing(tmp_path: Path, trained: list[str]) -> None:
    data, run = tmp_path / "set.npz", tmp_path / "run"
    np.savez(data, images=IMAGES, labels=LABELS)
    kr.run(data, run, until="teacher")
    with pytest.raises(kr.KRError, match=r"sets.npz does not exist; did you mean .*set.npz"):
        kr.run(tmp_path / "sets.npz", run, fork=tmp_path / "new")
    assert not (tmp_path / "new").exists()
    forked = kr.run(data, run, fork=tmp_path / "new", seed=3, until="teacher")
    assert forked.path == tmp_path / "new"


def test_arrays_never_replace_those_of_a_run(tmp_path: Path, trained: list[str]) -> None:
    run = kr.run((IMAGES, LABELS), tmp_path / "run")
    kept = (run.path / "source.npz").read_bytes()
    with pytest.raises(kr.KRError, match="source.npz: holds other images or labels.*nothing was"):
        kr.run((IMAGES[::-1], LABELS), run)
    assert (run.path / "source.npz").read_bytes() == kept
    before = (run.path / "source.npz").stat().st_mtime_ns
    kr.run((IMAGES, LABELS), run)
    assert (run.path / "source.npz").stat().st_mtime_ns == before
    kr.run("digits", tmp_path / "digits")
    with pytest.raises(kr.KRError, match="not made from arrays"):
        kr.run((IMAGES, LABELS), tmp_path / "digits")
    assert not (tmp_path / "digits" / "source.npz").exists()


def test_the_same_powers_as_the_command_line(tmp_path: Path, trained: list[str]) -> None:
    (tmp_path / "c.yaml").write_text("teacher: {width: 12}\n")
    wanted: dict[str, Any] = {"device": "cpu", "seed": 3, "show_real": True, "skip_broken": True}
    run = kr.run("digits", tmp_path / "a", config=tmp_path / "c.yaml", preset="demo", **wanted)
    config = kr.Config.load(run.path / "config.yaml")
    assert (config.preset, config.teacher.width, config.teacher.steps) == ("demo", 12, 400)
    assert (config.seed, config.runtime.device) == (3, "cpu")
    assert config.report.show_real
    assert config.data.skip_broken
    given = kr.Config(preset="demo", seed=5)
    taken = kr.configuration("digits", config=given, settings=["teacher.width=12"])
    assert (taken.seed, taken.teacher.width, taken.teacher.steps) == (5, 12, 400)


def test_shadows_come_between_evaluation_and_audit(
    tmp_path: Path, trained: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def planned(run_dir: kr.RunDir, config: kr.Config, count: int, **asked: Any) -> None:
        trained.append(f"{count} shadows")
        assert asked == {"engine": Processes(2), "reuse_choices": True, "canaries": 4}

    monkeypatch.setattr("knowledge_recycling.shadow_runs.run", planned)
    kr.run("digits", tmp_path, shadows=8, workers=2, reuse_choices=True, canaries=4)
    evaluated = list(stages.NAMES[: stages.NAMES.index("evaluation") + 1])
    assert trained == [*evaluated, "8 shadows", *stages.NAMES]


def test_a_run_is_readable(finished: kr.Run) -> None:
    gap = finished.result("evaluation").cas_gap.value
    said = repr(finished)
    assert said.startswith(f"Run({finished.path}, done: teacher, generator, ")
    assert f"CAS gap: {gap:+.2f} points" in said
    table = finished._repr_html_()
    assert "<tr><td>Accuracy</td>" in table
    assert "report" in finished.done


def test_what_a_run_shows_is_escaped(tmp_path: Path, trained: list[str]) -> None:
    run = kr.run("digits", tmp_path / "<script>\x1b[2J", until="teacher")
    assert repr(run) == f"Run({tmp_path}/<script>\\x1b[2J, done: nothing)"
    assert "&lt;script&gt;" in run._repr_html_()
    assert "<script>" not in run._repr_html_()


def test_a_damaged_result_still_shows(finished: kr.Run, tmp_path: Path) -> None:
    path = tmp_path / "copy"
    shutil.copytree(finished.path, path)
    (path / "evaluation" / "result.json").write_text("{")
    assert "CAS gap" not in repr(kr.open_run(path))


@pytest.mark.parametrize("form", [str, Path, kr.open_run], ids=["text", "path", "run"])
def test_a_run_may_be_named_by_its_path(finished: kr.Run, form: Callable[[Any], Any]) -> None:
    run = form(str(finished.path))
    assert kr.predictions(run).keys() == {"labels", "teacher", "student"}
    assert kr.student(run)(torch.zeros(1, 1, 8, 8)).shape == (1, 10)
    assert kr.report(run) == finished.path / "report" / "report.html"
    assert "student" in kr.audit(run).targets
    with pytest.raises(kr.KRError, match="shadows: 7 is not possible"):
        kr.shadows(run, 7)
    with pytest.raises(kr.KRError, match="stage: 'techer' is not one of .*mean teacher"):
        kr.stage(run, "techer")


def test_what_is_no_run_is_refused(tmp_path: Path) -> None:
    for call in (kr.open_run, kr.student, kr.predictions, kr.report, kr.audit, kr.shadows):
        with pytest.raises(kr.KRError, match="holds no run"):
            call(tmp_path)
        with pytest.raises(kr.KRError, match="run: expected a path, found .* type ndarray"):
            call(IMAGES)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "raised",
    [
        MemoryError("Unable to allocate 13 GiB"),
        RuntimeError("DefaultCPUAllocator: can't allocate memory"),
        torch.OutOfMemoryError("CUDA out of memory"),
    ],
)
def test_memory_that_ran_out_is_explained(
    raised: Exception, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise raised

    monkeypatch.setattr(pipeline, "advance", full)
    with pytest.raises(kr.KRError, match=r"memory ran out.*data.size=32.*run the same again"):
        kr.run("digits", tmp_path / "run")


def test_notes_break_no_line_and_send_no_escape(
    tmp_path: Path, trained: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    names = np.array(["a\x1b]0;owned\x07", "b\nrm -rf ~", "c[red]\u202e"])[np.arange(60) % 3]
    run = kr.run((IMAGES, names), tmp_path / "run", until="teacher")
    pipeline.say(run, f"note: {' '.join(run.split().class_names)}")
    log = (run.path / "log.txt").read_text(encoding="utf-8")
    said = capsys.readouterr().err
    for text in (log, said):
        assert not {"\x1b", "\x07", "\u202e"} & set(text)
        assert r"a\x1b]0;owned\x07 b\nrm -rf ~ c[red]\u202e" in text
    assert all(line[:4].isdecimal() and line[19] == " " for line in log.splitlines())


def test_printable_can_always_be_encoded() -> None:
    assert printable("caf\udce9") == r"caf\udce9"
    assert printable("a\u00a0b\u3000ü") == "a\u00a0b\u3000ü"
    assert printable("one\ntwo\x9b", keep="\n") == "one\ntwo\\x9b"
