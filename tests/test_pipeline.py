"""The whole pipeline, small, on scikit-learn's digits."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from torch import Tensor

import knowledge_recycling as kr
from knowledge_recycling import data, generators, pipeline
from knowledge_recycling.config import Config, Distillation
from knowledge_recycling.generators.latent import LatentGenerator, LatentTraining
from knowledge_recycling.results import Sizes, Validation
from knowledge_recycling.stages import audit
from knowledge_recycling.storage.metrics_log import read_rows
from knowledge_recycling.storage.run_dir import RunDir
from knowledge_recycling.synthesis.source import SyntheticSet
from knowledge_recycling.training import precision

SMALL = (
    "teacher.width=8",
    "teacher.blocks=[1, 1]",
    "teacher.steps=150",
    "teacher.evaluations=4",
    "generator.width=8",
    "generator.latent_channels=[4, 6]",
    "generator.steps=100",
    "generator.snapshots=2",
    "selection.screen_steps=8",
    "selection.final_steps=12",
    "tuning.trials=3",
    "tuning.steps=9",
    "tuning.finalists=1",
    "tuning.final_steps=9",
    "tuning.label_steps=3",
    "distillation.steps=150",
    "evaluation.bootstrap_draws=1000",
    "runtime.threads=1",
)


def test_probes_depend_on_all_that_they_take_from_the_students_section() -> None:
    of_the_student_alone = {
        "steps",
        "labels",
        "regeneration_period",
        "size_multiple",
        "tiny_classes",
    }
    taken = {f"distillation.{name}" for name in set(Distillation.model_fields)}
    assert set(pipeline.PROBE) == taken - {f"distillation.{n}" for n in of_the_student_alone}


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> kr.RunDir:
    return kr.run("digits", tmp_path_factory.mktemp("runs") / "digits", settings=SMALL)


def artefacts(run: Path) -> dict[str, Any]:
    """Everything that two equal runs have in common: networks, choices, figures."""
    found = {}
    for stage in pipeline.NAMES[:-1]:
        result = json.loads((run / stage / "result.json").read_text())
        for name in ("seconds", "finished", "peak_memory_bytes", "resumed", "inputs"):
            result.pop(name)
        found[stage] = result
    return found


def test_the_results_have_what_is_promised(finished: kr.RunDir) -> None:
    evaluation = finished.result("evaluation")
    for role in ("teacher", "student"):
        found = getattr(evaluation, role)
        assert all(0 <= getattr(found, name) <= 1 for name in Validation.model_fields)
    gap = evaluation.cas_gap
    difference = evaluation.student.accuracy - evaluation.teacher.accuracy
    assert gap.value == pytest.approx(100 * difference)
    assert gap.low <= gap.value <= gap.high
    audit = finished.result("audit")
    assert (audit.protocols, audit.shadows) == (("paper",), None)
    for target in audit.targets.values():
        assert target.aop is not None
        assert 0 <= target.aop <= 1
        for attack in target.attacks.values():
            assert attack.auc.low <= attack.auc.value <= attack.auc.high
    for stage in pipeline.NAMES:
        result = finished.result(stage)
        assert result.seconds > 0
        assert result.peak_memory_bytes > 0


def test_even_this_small_the_networks_learn(finished: kr.RunDir) -> None:
    evaluation = finished.result("evaluation")
    assert evaluation.teacher.accuracy > 0.6
    assert evaluation.student.accuracy > 0.3, "a Student at chance has 0.1"


def test_the_figures_follow_from_the_predictions(finished: kr.RunDir) -> None:
    predictions = kr.predictions(finished)
    evaluation = finished.result("evaluation")
    for role in ("teacher", "student"):
        right = predictions[role].argmax(1) == predictions["labels"]
        assert right.mean() == pytest.approx(getattr(evaluation, role).accuracy)


def test_the_synthetic_images_are_compared_with_test_images(finished: kr.RunDir) -> None:
    evaluation, split = finished.result("evaluation"), finished.split()
    found = evaluation.diagnostics
    assert found is not None
    assert (found.space, found.reference) == ("teacher penultimate features", "test")
    assert found.images == Sizes(reference=evaluation.images, synthetic=500)
    sizes = [row.images for row in found.per_class]
    assert tuple(size.reference for size in sizes) == split.counts["test"]
    assert sum(size.synthetic for size in sizes) == 500
    for likeness in (found.overall, found.yardstick.real, *found.per_class):
        figures = likeness.tree()
        assert figures["fid"] > 0
        assert all(0 <= figures[name] <= 1 for name in ("precision", "recall", "coverage"))
    real, synthetic = (side.tree() for side in (found.yardstick.real, found.yardstick.synthetic))
    assert real["coverage"] == pytest.approx(real["expected_coverage"], abs=0.03)
    assert real["fid"] < synthetic["fid"]


def test_of_a_large_test_set_a_sample_is_the_reference(
    finished: kr.RunDir, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("knowledge_recycling.stages.evaluation.MOST_REFERENCES", 100)
    forked = finished.fork(tmp_path / "fork")
    settings = (*SMALL, "evaluation.calibration_bins=10")
    run = kr.run("digits", forked.path, settings=settings, until="evaluation")
    found = run.result("evaluation").diagnostics
    assert found is not None
    assert found.images == Sizes(reference=100, synthetic=500)
    assert sum(row.images.reference for row in found.per_class) == 100


def test_the_default_is_the_first_trial(finished: kr.RunDir) -> None:
    tuning = finished.result("tuning")
    assert tuning.table[0].parameters == tuning.default
    assert len(tuning.table) == 3
    assert tuning.finalists[0].trial == 0
    assert sum(row.chosen for row in tuning.finalists) == 1


def test_the_report_is_there(finished: kr.RunDir) -> None:
    page = (finished.path / "report" / "report.html").read_text()
    assert "<h1>digits</h1>" in page
    found = finished.result("evaluation")
    assert f"The Student is right on {100 * found.student.accuracy:.0f} of 100 new images" in page
    assert "real images shown" not in page
    assert not (finished.path / "real_examples.npz").exists()
    assert not list((finished.path / "report" / "figures").glob("real_*"))


def test_the_student_can_be_used(finished: kr.RunDir) -> None:
    images = load_digits().images[:300] / 8 - 1
    logits = kr.student(finished)(torch.tensor(images[:, None], dtype=torch.float32))
    right = logits.argmax(1).numpy() == load_digits().target[:300]
    assert right.mean() > 0.3


def test_metrics_and_log_are_kept(finished: kr.RunDir) -> None:
    for stage in ("teacher", "generator", "distillation"):
        steps = [row["step"] for row in read_rows(finished.path / stage / "metrics.jsonl")]
        assert steps == sorted(set(steps))
        assert len(steps) > 10
    assert "distillation: done" in (finished.path / "log.txt").read_text()
    assert not list(finished.path.rglob("state.pt"))


def test_run_again_does_nothing(finished: kr.RunDir) -> None:
    before = {p: p.stat().st_mtime_ns for p in finished.path.rglob("result.json")}
    kr.run("digits", finished.path, settings=SMALL)
    after = {p: p.stat().st_mtime_ns for p in finished.path.rglob("result.json")}
    changed = {p.parent.name for p in after if before[p] != after[p]}
    assert changed == {"report"}


def test_a_fork_redoes_only_what_differs(finished: kr.RunDir, tmp_path: Path) -> None:
    forked = finished.fork(tmp_path / "fork")
    settings = (*SMALL, "distillation.labels=hard", "distillation.regeneration_period=0")
    kr.run("digits", forked.path, settings=settings)
    ours, theirs = artefacts(finished.path), artefacts(forked.path)
    for stage in ("teacher", "generator", "selection", "tuning"):
        assert ours[stage] == theirs[stage]
    assert theirs["distillation"]["labels"] == "hard"
    assert theirs["distillation"]["synthetic_images"] < ours["distillation"]["synthetic_images"]
    assert ours["distillation"]["artefacts"] != theirs["distillation"]["artefacts"]


def test_labels_are_chosen_once_and_taken_over_by_no_fork_that_lacks_them(
    finished: kr.RunDir, tmp_path: Path
) -> None:
    tuning = finished.result("tuning")
    assert [row.labels for row in tuning.labels_table] == ["hard", "soft"]
    assert finished.result("distillation").labels == tuning.labels
    soft = finished.fork(tmp_path / "soft")
    asked = (*SMALL, "distillation.labels=soft", "tuning.trials=1", "distillation.steps=3")
    kr.run("digits", soft.path, settings=asked, until="distillation")
    assert not soft.result("tuning").labels_table
    open_again = soft.fork(tmp_path / "open")
    settings = (*SMALL, "tuning.trials=1", "distillation.steps=3")
    with pytest.raises(kr.KRError, match="tuning compared no kinds of labels"):
        kr.run("digits", open_again.path, settings=settings, until="distillation")


def test_other_config_in_the_same_directory_is_refused(finished: kr.RunDir) -> None:
    with pytest.raises(kr.KRError, match=r"distillation\.labels: hard here, auto there"):
        kr.run("digits", finished.path, settings=(*SMALL, "distillation.labels=hard"))


def test_killed_again_and_again_it_ends_where_it_would_have(
    finished: kr.RunDir, tmp_path: Path
) -> None:
    run = tmp_path / "killed"
    settings = [f"--set={setting}" for setting in (*SMALL, "runtime.checkpoint_seconds=0")]
    command = [sys.executable, "-c", "from knowledge_recycling.cli import main; main()", "run"]
    command += ["digits", "-o", str(run), *settings]
    reached = (
        run / "teacher" / "state.pt",
        run / "generator" / "snapshots" / "000075.json",
        run / "selection" / "probes.json",
        run / "tuning" / "trials.json",
        run / "tuning" / "finals.json",
        run / "distillation" / "state.pt",
    )
    for path in reached:
        process = subprocess.Popen(command, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        wait_for(path, process)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        assert not (path.parent / "result.json").exists(), f"killed too late for {path}"
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "report.html" in done.stdout
    assert artefacts(run) == artefacts(finished.path)


def wait_for(path: Path, process: subprocess.Popen[bytes]) -> None:
    for _ in range(12_000):
        if path.exists():
            return
        assert process.poll() is None, f"ended before {path} appeared"
        time.sleep(0.01)
    raise AssertionError(f"{path} never appeared")


def test_arrays_from_python(tmp_path: Path) -> None:
    digits = load_digits()
    few = digits.target < 3
    images = np.repeat(digits.images[few][..., None] / 16, 3, axis=3)
    names = np.array(["none", "one", "two"])[digits.target[few]]
    run = kr.run((images, names), tmp_path / "run", settings=SMALL, until="generator")
    assert run.result("generator").snapshots == (75, 100)
    split = run.split()
    assert (split.channels, split.class_names) == (3, ("none", "one", "two"))


def test_each_number_of_latent_channels_makes_a_generator(finished: kr.RunDir) -> None:
    mixture = generators.load(finished.path / "generator" / "snapshots" / "000100")
    made = [g for g in mixture.generators if isinstance(g, LatentGenerator)]
    assert [g.spec["latent_channels"] for g in made] == [4, 6]
    assert finished.result("generator").count == 2
    labels = torch.arange(10)
    first, second = (g(torch.zeros(10, g.latent_dim), labels) for g in made)
    assert not torch.allclose(first, second, atol=0.05)


def test_a_generator_that_makes_one_image_is_noticed(
    finished: kr.RunDir, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    honest = LatentTraining.snapshot

    def collapsed(self: LatentTraining, images: Tensor, labels: Tensor) -> LatentGenerator:
        made = honest(self, images, labels)
        made.factor.zero_()
        return made

    monkeypatch.setattr(LatentTraining, "snapshot", collapsed)
    forked = finished.fork(tmp_path / "fork")
    settings = (*SMALL, "generator.averaging=0.98")
    with pytest.raises(kr.KRError, match="had collapsed.*choose another generator.method"):
        kr.run("digits", forked.path, settings=settings)


def test_a_loss_that_is_no_number_keeps_the_last_good_snapshot(
    finished: kr.RunDir, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    honest = LatentTraining.step

    def broken(self: LatentTraining, images: Tensor, labels: Tensor, progress: float) -> Any:
        losses = honest(self, images, labels, progress)
        return losses if progress < 0.8 else {"reconstruction": torch.tensor(torch.nan)}

    monkeypatch.setattr(LatentTraining, "step", broken)
    forked = finished.fork(tmp_path / "fork")
    settings = (*SMALL, "generator.averaging=0.98")
    run = kr.run("digits", forked.path, settings=settings, until="selection")
    assert run.result("generator").snapshots == (75,)
    assert "no longer a number at step 81" in str(run.result("generator").warning)
    assert run.result("selection").snapshot == 75
    assert "warning: A loss was no longer a number" in (run.path / "log.txt").read_text()


@pytest.mark.parametrize("method", ["biggan", "r3gan"])
def test_adversarial_methods_go_through_the_same_stages(tmp_path: Path, method: str) -> None:
    steps = ("generator.steps=12", "generator.batch_size=16")
    shared = [s for s in SMALL if not s.startswith("generator.latent_channels")]
    settings = (*shared, f"generator.method={method}", *steps)
    run = kr.run("digits", tmp_path / "run", settings=settings, until="selection")
    assert run.result("generator").method == method
    assert run.result("selection").snapshot in run.result("generator").snapshots


def test_a_network_of_the_users_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "users_network.py").write_text(
        "from torch import nn\n"
        "def make(channels, classes, size):\n"
        "    return nn.Sequential(nn.Flatten(), nn.Linear(channels * size**2, classes))\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    settings = (*SMALL, "teacher.network=users_network:make", "generator.snapshots=1")
    run = kr.run("digits", tmp_path / "run", settings=settings, until="evaluation")
    assert run.result("teacher").parameters == 65 * 10
    assert run.result("distillation").parameters == 65 * 10
    evaluation = run.result("evaluation")
    assert evaluation.teacher.accuracy > 0.2, "chance is 0.1"
    assert evaluation.diagnostics is not None
    assert evaluation.diagnostics.space == "teacher logits"


QUICK = (
    *SMALL,
    "teacher.steps=10",
    "generator.steps=10",
    "generator.snapshots=1",
    "tuning.trials=1",
    "distillation.steps=10",
)


def test_a_teacher_that_diverges_ends_in_a_sentence(tmp_path: Path) -> None:
    settings = (*QUICK, "teacher.learning_rate=1e30", "precision=fp32")
    with pytest.raises(kr.KRError, match=r"^Teacher: .* at step \d+\. Lower the learning rate"):
        kr.run("digits", tmp_path / "run", settings=settings, until="teacher")


def test_precision_is_decided_once_and_kept_by_resumptions_and_forks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def decide(device: torch.device) -> dict[str, Any]:
        return {"precision": next(answers), "device": "cpu", "gain": 2.0}

    answers = iter(["bf16", "fp32"])
    monkeypatch.setattr(precision, "decide", decide)
    run = kr.run("digits", tmp_path / "run", settings=QUICK, until="teacher")
    assert json.loads((run.path / "precision.json").read_text())["precision"] == "bf16"
    kr.run("digits", run.path, settings=QUICK, until="generator")
    forked = run.fork(tmp_path / "fork")
    longer = (*QUICK, "generator.steps=11")
    kr.run("digits", forked.path, settings=longer, until="generator")
    found = [r.result(s).precision for r in (run, forked) for s in ("teacher", "generator")]
    assert found == ["bf16"] * 4
    assert next(answers) == "fp32", "nothing was decided a second time"


def test_a_precision_that_was_asked_for_is_not_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def decide(device: torch.device) -> dict[str, Any]:
        raise AssertionError

    monkeypatch.setattr(precision, "decide", decide)
    settings = (*QUICK, "precision=fp32")
    run = kr.run("digits", tmp_path / "run", settings=settings, until="teacher")
    assert run.result("teacher").precision == "fp32"
    assert not (run.path / "precision.json").exists()


def test_threads_are_set_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    called: list[int] = []
    monkeypatch.setattr(torch, "set_num_threads", called.append)
    kr.run("digits", tmp_path / "run", settings=QUICK, until="distillation")
    assert called == [1]


@pytest.mark.parametrize("choice", ["leave_out", "keep"])
def test_a_tiny_class_is_named_and_shown_only_where_asked(tmp_path: Path, choice: str) -> None:
    digits = load_digits()
    keep = np.flatnonzero(digits.target < 3)
    keep = np.concatenate([keep, np.flatnonzero(digits.target == 3)[:10]])  # 6 or 7 in train
    arrays = (digits.images[keep] / 16, np.array(["a", "b", "c", "rare"])[digits.target[keep]])
    settings = (*QUICK, f"distillation.tiny_classes={choice}")
    run = kr.run(arrays, tmp_path / "run", settings=settings, until="distillation")
    log = (run.path / "log.txt").read_text()
    assert "note: fewer than 10 patients" in log
    assert "in train of: rare." in log
    assert run.result("generator").tiny_classes == ("rare",)
    with np.load(run.path / "distillation" / "samples.npz") as samples:
        shown = samples["images"].any(axis=(1, 2, 3, 4))
        assert shown.tolist() == [True, True, True, choice == "keep"]
        assert np.allclose(samples["soft_labels"].sum((1, 2)), 8 * shown, atol=1e-4)


def test_every_run_looks_for_copies(finished: kr.RunDir, monkeypatch: pytest.MonkeyPatch) -> None:
    found = finished.result("audit").copies
    assert found is not None
    assert (found.images, found.found) == (1000, round(1000 * found.share.value))
    assert found.sentence() in (finished.path / "report" / "report.md").read_text()
    run_dir = RunDir(finished.path)
    config = Config.load(run_dir.path / "config.yaml")
    train, validation = data.load(config.data, run_dir.split(), "train", "val")
    planted = torch.from_numpy(train.images[:400]).permute(0, 3, 1, 2)

    class Copier:
        def draw(self, count: int, seed: int) -> SyntheticSet:
            none = torch.zeros(400)
            return SyntheticSet(planted, none, none, 1.0)

    monkeypatch.setattr("knowledge_recycling.artefacts.source", lambda *of: Copier())
    found = audit._copies(config, run_dir, train, validation)
    assert (found.found, found.too_many) == (400, True)


def test_show_real_only_where_asked(finished: kr.RunDir, tmp_path: Path) -> None:
    forked = finished.fork(tmp_path / "fork")
    kr.run("digits", forked.path, settings=(*SMALL, "report.show_real=true"))
    assert (forked.path / "real_examples.npz").exists()
    page = (forked.path / "report" / "report.html").read_text()
    assert "This report holds private images." in page
    assert page.count('alt="8 real images of the class') == 10
    assert len(list((forked.path / "report" / "figures").glob("real_*.png"))) == 10
