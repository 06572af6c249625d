"""What README and docs quote is what the committed result files say."""

from __future__ import annotations

import json
import pickle
import sys
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

import knowledge_recycling as kr
from benchmarks import (
    ablation,
    audit_limits,
    common,
    coverage,
    demo,
    intervals,
    privacy,
    private,
    private_plot,
    tradeoff,
    utility,
)
from benchmarks.speed import pages, plot
from knowledge_recycling import pipeline
from knowledge_recycling.config import Config
from knowledge_recycling.statistics.estimate import LEAST_UNITS
from knowledge_recycling.statistics.rates import LEAST_NONMEMBERS
from knowledge_recycling.synthesis.parameters import Parameters

TABLES: dict[str, Any] = {
    "utility": utility,
    "privacy": privacy,
    "private": private,
    "ablation": ablation,
    "intervals": intervals,
    "speed": pages,
}


@pytest.mark.parametrize("name", ["utility", "privacy", "private", "demo"])
def test_readme_quotes_the_result_files(name: str) -> None:
    page = common.README.read_text(encoding="utf-8")
    module = demo if name == "demo" else TABLES[name]
    assert common.quoted(page, name, module.short_table()) == page


@pytest.mark.parametrize("name", TABLES)
def test_docs_quote_the_result_files(name: str) -> None:
    assert TABLES[name].TABLE.read_text(encoding="utf-8").endswith(TABLES[name].table())


def test_the_plot_of_private_runs_shows_the_result_files() -> None:
    with Image.open(private_plot.IMAGE) as image:
        assert image.info["Results"] == private_plot.digest(private_plot.shown())
        assert image.size[0] > 800


def test_the_plot_of_speed_shows_the_result_file() -> None:
    with Image.open(plot.IMAGE) as image:
        assert image.info["Results"] == plot.digest(plot.shown())


def test_simulated_coverage_lies_between_93_and_97_percent_and_that_of_a_tpr_up_to_98() -> None:
    found = json.loads(coverage.RESULT.read_text())
    assert set(found["intervals"]) == set(coverage.INTERVALS)
    for name, interval in found["intervals"].items():
        assert interval["repeats"] >= 1000, name
        # A TPR's parts are exact binomial intervals, which are never too narrow.
        assert 0.93 <= interval["coverage"] <= (0.98 if "tpr" in name else 0.97), name


def test_no_bootstrap_holds_the_truth_more_often_than_the_intervals() -> None:
    found = json.loads(intervals.RESULT.read_text())["cells"]
    assert len(found) == len(list(intervals.cells()))
    for cell in found:
        ours, other = cell["influence"]["coverage"], cell["bootstrap"]["coverage"]
        # Too wide is no merit: coverage above the level does not count.
        assert ours >= min(other, 0.95) - cell["standard_error_of_difference"], cell
        assert ours >= 0.92, cell


def test_the_auditors_limits_are_where_intervals_hold() -> None:
    found = json.loads(audit_limits.RESULT.read_text())
    assert found["tpr_at_1%_fpr_coverage_by_nonmembers"][str(LEAST_NONMEMBERS[0.01])] >= 0.95
    assert found["auc_coverage_by_patients"][str(LEAST_UNITS)] >= 0.95
    null = found["lira_null_auc"]
    assert null["all_shadows"]["mean"] < 0.48
    assert abs(null["even_shadows"]["mean"] - 0.5) < 3 * null["even_shadows"]["standard_error"]
    seeds = found["epsilon_of_20_seeds"]["51_splits"]
    assert seeds["most"] - seeds["least"] < 0.15


SMALL = (
    "teacher.width=4",
    "teacher.steps=10",
    "generator.width=4",
    "generator.steps=20",
    "generator.snapshots=2",
    "selection.screen_steps=2",
    "selection.final_steps=2",
    "tuning.trials=1",
    "tuning.steps=2",
    "tuning.final_steps=2",
    "tuning.label_steps=3",
    "distillation.steps=10",
    "distillation.labels=soft",
)


@pytest.fixture(scope="module")
def chosen(tmp_path_factory: pytest.TempPathFactory) -> kr.RunDir:
    """A run whose choices are neither the last snapshot nor the un-tuned parameters."""
    path = tmp_path_factory.mktemp("runs") / "digits-fast-s0"
    run = kr.run("digits", path, settings=SMALL, until="tuning")
    config = Config.load(run.path / "config.yaml")
    choices: dict[str, dict[str, Any]] = {
        "selection": {"snapshot": run.result("generator").snapshots[0]},
        "tuning": {"parameters": Parameters(latent_std=1.5)},
    }
    for stage, choice in choices.items():
        pipeline.take_over(stage, config, run, run.result(stage).model_copy(update=choice))
    return run


@pytest.mark.parametrize("key", ablation.VARIANTS)
def test_a_variant_of_the_ablation_is_what_its_row_says(chosen: kr.RunDir, key: str) -> None:
    _, fields, selected = ablation.VARIANTS[key]
    of = ablation.variant(chosen, key).result("distillation")
    snapshots = chosen.result("generator").snapshots
    assert of.snapshot == snapshots[0 if selected else -1]
    assert of.synthesis == Parameters()
    assert of.labels == fields.get("labels", "soft")
    assert of.regeneration_period == fields.get("regeneration_period", 4)


def test_the_ablation_pairs_each_gain_within_the_sets(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gaps = {"one": [-4.0, -2.0], "two": [-1.0]}
    for name, values in gaps.items():
        for seed, value in enumerate(values):
            # each idea is worth a point, on either set and with each seed
            variants = {
                key: {
                    "cas_gap": {"value": value + place, "low": value - 9, "high": value + 9},
                    "student": {"auc": 0.8 + place / 100},
                    "seconds": 90,
                }
                for place, key in enumerate(ablation.WORDS)
            }
            result = {"dataset": name, "preset": "fast", "seed": seed, "variants": variants}
            (tmp_path / f"{name}-{seed}.json").write_text(json.dumps(result))
    monkeypatch.setattr(ablation, "RESULTS", tmp_path)
    rows = ablation.table().splitlines()
    assert rows[2] == "| seeds | 2 | 1 |  |  |  |"
    assert rows[3].split(" | ")[2] == "-1.0 (-10.0 to +8.0), 0.800"
    assert rows[3].split(" | ")[3].startswith("-2.0 (")
    gain = "| +1.0 (+1.0 to +1.0), +0.010 (+0.010 to +0.010) | 1.5 |"
    assert all(row.endswith(gain) for row in rows[4:])
    assert len(rows) == 3 + len(ablation.WORDS)


def test_with_the_last_snapshot_chosen_no_student_is_trained_for_it(
    chosen: kr.RunDir,
) -> None:
    assert ablation.other_choice(chosen)
    last = ablation.variant(chosen, "features")
    assert not ablation.other_choice(last)
    assert ablation.variant(last, "d").path == ablation.variant(last, "features").path


@pytest.mark.parametrize("engine", ["processes", "ray"])
def test_a_run_is_made_where_the_engine_is_and_what_comes_home_is_what_its_file_says(
    engine: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An engine with a file system of its own gets the set's bytes, and keeps nothing of them."""
    (tmp_path / "breastmnist.npz").write_bytes(b"the set")
    ran: list[tuple[Path, Path]] = []

    def run(source: Path, path: Path, **asked: Any) -> Path:
        assert source.read_bytes() == b"the set"
        assert asked["settings"] == ["teacher.horizontal_flip=true", "runtime.threads=3"]
        ran.append((source, path))
        return path

    class Engine:
        def map(self, work: Any, shared: Any, tasks: Any, threads: int | None) -> Any:
            home = pickle.loads(pickle.dumps(shared))
            return (work(home, task, 3) for task in tasks)

    def record(run: Path, name: str, preset: str, seed: int) -> dict[str, Any]:
        return {"dataset": name, "preset": preset, "seed": seed}

    monkeypatch.setattr(kr, "run", run)
    monkeypatch.setattr(utility, "record", record)
    monkeypatch.setattr(utility, "RESULTS", tmp_path / "results")
    monkeypatch.setattr(common, "engine_of", lambda arguments: Engine())
    for page in ("TABLE", "table", "short_table"):
        monkeypatch.setattr(utility, page, tmp_path / "page.md" if page == "TABLE" else str)
    monkeypatch.setattr(common, "README", tmp_path / "README.md")
    common.README.write_text("<!-- utility table -->\n<!-- end of utility table -->")
    asked = ["--data", str(tmp_path), "--sets", "breastmnist", "--seeds", "2", "--engine", engine]
    monkeypatch.setattr(sys, "argv", ["utility", *asked, "--runs", str(tmp_path / "runs")])
    (tmp_path / "results").mkdir()
    (tmp_path / "results" / "breastmnist-fast-s0.json").write_text("{}")
    utility.main()
    found = json.loads((tmp_path / "results" / "breastmnist-fast-s1.json").read_text())
    assert (found["dataset"], found["seed"]) == ("breastmnist", 1)
    ((source, path),) = ran
    there = engine == "processes"
    assert source.is_relative_to(tmp_path) == path.is_relative_to(tmp_path) == there
    assert source.exists() == there


def test_the_plot_of_utility_against_leak_shows_the_result_files() -> None:
    with Image.open(tradeoff.IMAGE) as image:
        assert image.info["Results"] == private_plot.digest(tradeoff.shown())
