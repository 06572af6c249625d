"""Runs side by side: what each column holds, what is averaged, and what is on no page."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

import knowledge_recycling as kr
from knowledge_recycling import cli
from knowledge_recycling.config import Config
from knowledge_recycling.reporting.comparison import Comparison, compare
from knowledge_recycling.reporting.comparison_rows import Entry
from knowledge_recycling.results import (
    AuditResult,
    EvaluationResult,
    Guarantee,
    TeacherResult,
    read,
)
from tests.reporting.conftest import PRIVATE, make_run, put
from tests.words import bare_auc


def entries(found: Comparison, name: str) -> tuple[Entry, ...]:
    (row,) = (row for section in found.sections for row in section.rows if row.name == name)
    return row.entries


def with_config(run: Path, **changes: object) -> Path:
    config = Config.load(run / "config.yaml")
    tree = config.model_dump(mode="json", exclude_unset=True) | changes
    (run / "config.yaml").write_text(Config.parse(tree).dump())
    return run


def with_gap(run: Path, points: float) -> Path:
    before = read(run / "evaluation" / "result.json", EvaluationResult)
    gap = type(before.cas_gap)(points, points - 1, points + 1)
    put(run, before.model_copy(update={"cas_gap": gap}))
    return run


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Three seeds of one setting, and one run of another with an audit."""
    folder = tmp_path_factory.mktemp("runs")
    made = [
        with_gap(with_config(make_run(folder / f"seed{seed}"), seed=seed), points)
        for seed, points in ((0, -1.0), (1, -2.0), (2, -4.5))
    ]
    teacher = {"steps": 700}
    return [*made, with_config(make_run(folder / "audited", shadows="weak"), teacher=teacher)]


def test_seeds_are_one_column_with_their_mean_and_t_interval(runs: list[Path]) -> None:
    found = compare(runs)
    assert found.columns == ("seed0, seed1, seed2", "audited")
    assert found.seeds == ((0, 1, 2), (7,))
    mean, alone = entries(found, "CAS gap, points")
    gaps = np.array([-1.0, -2.0, -4.5])
    low, high = stats.t.interval(0.95, 2, gaps.mean(), stats.sem(gaps))
    assert (mean.value, mean.low, mean.high) == pytest.approx((gaps.mean(), low, high))
    assert mean.text == "-2.5"
    assert mean.note == f"{low:+.1f} to {high:+.1f}, 3 runs"
    assert (alone.text, alone.note) == ("-0.9", "-2.4 to +0.6")


def test_what_was_audited_is_told_from_what_was_not(runs: list[Path]) -> None:
    found = compare(runs)
    assert [e.text for e in entries(found, "Audit")] == [
        "not audited",
        "too weak to conclude; 16 shadows, 1,290 records",
    ]
    never, once = entries(found, "Student, records: found at 1% false alarms")
    assert never == Entry("not audited")
    assert (once.text, once.note) == ("3.0%", "2.0% to 4.0%")
    assert entries(found, "Student, records: attack AUC")[1].text == "0.535"
    assert entries(found, "Student, patients: attack AUC")[1].value == 0.535
    assert entries(found, "Student, planted records: attack AUC")[1].text == "0.700"


def test_only_settings_that_differ_are_named(runs: list[Path]) -> None:
    (section,) = (s for s in compare(runs).sections if s.title.startswith("Data and settings"))
    assert {row.name: [e.text for e in row.entries] for row in section.rows} == {
        "seed": ["0; 1; 2", "7"],
        "teacher.steps": ["400", "700"],
    }


def test_one_seed_is_not_counted_twice(tmp_path: Path) -> None:
    found = compare([make_run(tmp_path / "a"), make_run(tmp_path / "b")])
    assert found.columns == ("a", "b")
    assert entries(found, "CAS gap, points")[0].note == "-2.4 to +0.6"


def test_runs_of_two_versions_are_two_columns(tmp_path: Path) -> None:
    runs = [with_config(make_run(tmp_path / name), seed=i) for i, name in enumerate("ab")]
    assert compare(runs).columns == ("a, b",)
    before = read(runs[1] / "audit" / "result.json", AuditResult)
    later = {"knowledge-recycling": "0.2.0, commit 0123456789ab"}
    put(runs[1], before.model_copy(update={"versions": later}))
    found = compare(runs)
    assert found.columns == ("a", "b")
    versions = [e.text for e in entries(found, "version")]
    assert versions == ["0.1.0", "0.2.0, commit 0123456789ab"]


def test_formal_guarantees_and_that_they_add_up(tmp_path: Path) -> None:
    runs = [make_run(tmp_path / name) for name in "ab"]
    for run, epsilon in zip(runs, (1.0, 3.0), strict=True):
        before = read(run / "teacher" / "result.json", TeacherResult)
        promise = Guarantee(
            epsilon=epsilon, delta=1e-5, unit="patient", symmetry="none", mu=0.5, entry="e"
        )
        put(run, before.model_copy(update={"guarantee": promise}))
        with_config(run, teacher={"steps": 100 * int(epsilon)})
    found = compare(runs)
    assert [e.text for e in entries(found, "Formal, per run")] == [
        "epsilon 1, delta 1e-05, per patient",
        "epsilon 3, delta 1e-05, per patient",
    ]
    assert found.notes[0].startswith("Several of these runs are private and of the same data.")


def test_other_data_are_said_to_be_other(tmp_path: Path) -> None:
    runs = [make_run(tmp_path / "a"), make_run(tmp_path / "b", channels=3)]
    found = compare(runs)
    assert found.notes[0].startswith("These runs are not of the same data or image size")
    assert [e.text for e in entries(found, "Student, accuracy")] == ["88.1%", "88.1%"]


def test_the_page_loads_nothing_and_names_no_path_and_no_record(runs: list[Path]) -> None:
    page = compare(runs).html().decode()
    assert not re.search(r"(src|href)=|url\(|<script|@import", page)
    assert bare_auc(page) == []
    assert PRIVATE not in page
    assert str(runs[0].parent) not in page
    assert "123456789" not in page, "an index of split.json"
    assert "seed0, seed1, seed2" in page
    assert page.count('<th scope="col">') == 3 * page.count("<table")
    assert "-2.5<small>" in page


def test_names_of_folders_are_no_markup(tmp_path: Path) -> None:
    found = compare([make_run(tmp_path / "<b>a"), make_run(tmp_path / "b")])
    assert "<b>a" not in found.html().decode()


def test_from_python_and_the_command_line(
    audited: kr.Run,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    other = tmp_path / "other"
    shutil.copytree(audited.path, other, ignore=shutil.ignore_patterns("shadows"))
    (other / "config.yaml").write_text(
        (audited.path / "config.yaml").read_text().replace("seed: 0", "seed: 1")
    )
    page = tmp_path / "page.html"
    found = kr.compare(audited, other, out=page)
    assert found.columns == ("digits, other",)
    assert page.read_bytes() == found.html()
    asked = ["kr", "compare", str(audited.path), str(other)]
    monkeypatch.setattr("sys.argv", [*asked, "--json"])
    with pytest.raises(SystemExit):
        cli.main()
    assert json.loads(capsys.readouterr().out) == json.loads(json.dumps(found.tree()))
    monkeypatch.setattr("sys.argv", asked)
    with pytest.raises(SystemExit):
        cli.main()
    said = capsys.readouterr().out
    gap = audited.result("evaluation").cas_gap.value
    assert f"{gap:+.1f}" in said
    assert "Utility on test" in said
    with pytest.raises(kr.KRError, match=r"runs: give two or more to compare"):
        kr.compare(audited)
    with pytest.raises(kr.KRError, match="is given twice"):
        kr.compare(audited, audited.path)
    with (other / "evaluation" / "result.json").open("a") as file:
        file.write(" ")
    with pytest.raises(kr.KRError, match=r"evaluation/result\.json"):
        kr.compare(audited, other)
