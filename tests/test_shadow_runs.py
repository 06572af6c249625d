"""Shadows of the whole pipeline, small, on scikit-learn's digits."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from sklearn.datasets import load_digits

import knowledge_recycling as kr
from knowledge_recycling import cli, pipeline, shadow_runs
from knowledge_recycling.auditing.verdict import CHANNELS, PRIMARY
from knowledge_recycling.config import Config
from knowledge_recycling.membership import plan
from tests.small_runs import CANARIES, COUNT, TINY
from tests.workers.watch import alive, children, wait_until


def planned(run: kr.RunDir) -> dict[str, np.ndarray]:
    with np.load(run.path / "shadows" / "plan.npz", allow_pickle=False) as arrays:
        return dict(arrays)


def test_each_pipeline_trains_on_its_half_of_train_and_never_on_test(audited: kr.RunDir) -> None:
    whole, found = audited.split().indices, planned(audited)
    for k in range(COUNT):
        own = audited.shadow(k).split()
        assert own.indices["train"] == tuple(found["indices"][found["membership"][k]])
        records = len(load_digits().target)
        real = {i for i in own.indices["train"] if i < records}
        assert real < set(whole["train"])
        assert len(real) < len(own.indices["train"]), "some canaries are in"
        assert own.indices["val"] == whole["val"]
        assert own.indices["test"] == ()
        assert sum(own.counts["train"]) == len(own.indices["train"])


def test_pipelines_differ_and_models_are_dropped(audited: kr.RunDir) -> None:
    stored = []
    for k in range(COUNT):
        folder = audited.shadow(k).path
        assert not list(folder.rglob("*.safetensors"))
        with np.load(folder / "signals.npz", allow_pickle=False) as arrays:
            stored.append(arrays["teacher"])
            assert arrays["student"].shape == (5, len(planned(audited)["labels"]), 10)
    assert not any(np.array_equal(a, stored[0]) for a in stored[1:])
    seeds = {Config.load(audited.shadow(k).path / "config.yaml").seed for k in range(COUNT)}
    assert len(seeds) == COUNT
    assert all(audited.shadow(k).result("tuning").taken_over for k in range(COUNT))


def test_the_audit_has_every_channel_in_one_shape(audited: kr.RunDir) -> None:
    audit = audited.result("audit")
    assert audit.protocols == ("paper", "shadows")
    assert set(audit.targets) == set(CHANNELS)
    for target in audit.targets.values():
        figures = target.attacks[PRIMARY]
        assert figures.protocol == "shadows"
        assert figures.auc.low <= figures.auc.value <= figures.auc.high
        assert set(figures.tpr_at_fpr) == {"0.01", "0.001"}
        assert figures.epsilon is not None
    assert audit.targets["student"].attacks["loss"].protocol == "paper"
    assert audit.shadows is not None
    assert audit.shadows.count == COUNT
    assert audit.shadows.reuse_choices
    assert set(audit.shadows.canaries or ()) == {"teacher", "student", "synthetic", "soft_labels"}


def test_the_report_reads_them_out_and_names_no_record(audited: kr.RunDir) -> None:
    page = (audited.path / "report" / "report.md").read_text()
    assert f"{COUNT} whole pipelines on complementary random halves" in page
    assert "taken over from the run" in page
    assert "Shadow audit: not run" not in page
    about = audited.result("audit").shadows
    assert about is not None
    weak = not about.powered
    shadow_part = page.split("Whole-pipeline shadows")[1]
    assert ("too weak to conclude" in shadow_part) == weak
    exposed = audited.path / "audit" / "exposed_records_private.json"
    assert len(json.loads(exposed.read_text())["positions_in_source"]) == 50
    assert "positions_in_source" not in page


def test_only_what_is_missing_is_run_again(audited: kr.RunDir) -> None:
    config = Config.load(audited.path / "config.yaml")
    files = [audited.shadow(k).path / "signals.npz" for k in range(COUNT)]
    before = [file.stat().st_mtime_ns for file in files]
    content = files[2].read_bytes()
    files[2].unlink()
    with pytest.raises(kr.KRError, match="missing; run the same `kr shadows` command again"):
        pipeline.run_stage("audit", config, audited)
    for stage in ("teacher", "generator", "distillation"):
        (audited.shadow(2).path / stage / "result.json").unlink()
    shadow_runs.run(audited, config, COUNT, reuse_choices=True, canaries=CANARIES)
    after = [file.stat().st_mtime_ns for file in files]
    assert [a == b for a, b in zip(before, after, strict=True)] == [k != 2 for k in range(COUNT)]
    assert files[2].read_bytes() == content, "the same seed gives the same pipeline"
    pipeline.run(config, audited)


def test_other_shadows_are_not_mixed_in(audited: kr.RunDir) -> None:
    config = Config.load(audited.path / "config.yaml")
    with pytest.raises(kr.KRError, match="holds other shadows.*Move that folder away first"):
        shadow_runs.run(audited, config, 10, reuse_choices=True, canaries=CANARIES)


def test_shadows_of_another_pipeline_are_refused(audited: kr.RunDir, tmp_path: Path) -> None:
    run = kr.RunDir(tmp_path / "run")
    shutil.copytree(audited.path, run.path, dirs_exist_ok=True)
    config = Config.load(run.path / "config.yaml")
    tuning = run.path / "tuning" / "result.json"
    tree = json.loads(tuning.read_text())
    other = tree | {"parameters": tree["parameters"] | {"latent_std": 1.7}}
    run.keep("tuning/result.json", json.dumps(other).encode())
    (run.path / "audit" / "result.json").unlink()
    with pytest.raises(kr.KRError, match="not of this run's pipeline .tuning: the run has chosen"):
        pipeline.run_stage("audit", config, run)
    run.keep("tuning/result.json", json.dumps(tree).encode())
    path = run.shadow(3).path / "config.yaml"
    path.write_text(path.read_text().replace("steps: 40", "steps: 41"))
    with pytest.raises(kr.KRError) as refusal:
        pipeline.run_stage("audit", config, run)
    assert str(refusal.value) == (
        f"{run.shadows}: these shadows are not of this run's pipeline (generator.steps: 40 here, "
        "41 there). Move that folder away and run `kr shadows` again."
    )


def test_the_gate_judges_a_run(
    audited: kr.RunDir, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def status(*arguments: str) -> int:
        monkeypatch.setattr("sys.argv", ["kr", "gate", str(audited.path), *arguments])
        with pytest.raises(SystemExit) as end:
            cli.main()
        return int(str(end.value.code or 0))

    gate = kr.gate(audited.path)
    assert status() == gate.exit_code != 0, "a run of 20 steps opens nothing"
    assert capsys.readouterr().out == f"{gate.sentence}\n"
    assert status("--json") == gate.exit_code
    assert json.loads(capsys.readouterr().out) == json.loads(json.dumps(gate.tree()))


def test_choices_are_made_in_each_pipeline_unless_reused(tmp_path: Path) -> None:
    run = kr.run("digits", tmp_path / "run", settings=TINY, until="distillation")
    config = Config.load(run.path / "config.yaml")
    plan.draw(run.shadows, run.split(), config, COUNT, reuse_choices=False, canary_count=0)
    shadow_runs.one(run, 1, 1, keep_models=True)
    own = run.shadow(1)
    assert not own.result("tuning").taken_over
    assert (own.path / "distillation" / "network.safetensors").exists()


def test_workers_end_with_a_killed_command_and_the_same_command_goes_on(
    audited: kr.RunDir, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    shutil.copytree(audited.path, run, ignore=shutil.ignore_patterns("shadows"))
    options = ["-n", str(COUNT), "--reuse-choices", "--workers", "2"]
    main = "from knowledge_recycling.cli import main; main()"
    command = [sys.executable, "-c", main, "shadows", str(run), *options]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    first = run / "shadows" / "00" / "log.txt"
    wait_until(first.exists)
    workers = children(process.pid)
    assert len(workers) >= 2
    process.kill()
    process.wait()
    wait_until(lambda: not any(alive(pid) for pid in workers))
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    assert (run / "shadows" / f"{COUNT - 1:02d}" / "signals.npz").exists()
    about = kr.RunDir(run).result("audit").shadows
    assert about is not None
    assert about.count == COUNT
