"""Every chapter, rendered from the results that a small real run wrote."""

from __future__ import annotations

import re

import pytest

import knowledge_recycling as kr
from knowledge_recycling import reporting
from knowledge_recycling.reporting.chapters import CHAPTERS
from knowledge_recycling.reporting.document import Cell, Chapter, Table
from knowledge_recycling.reporting.reader import RunResults
from tests.small_runs import CANARIES, COUNT


@pytest.fixture(scope="module")
def run(audited: kr.Run) -> RunResults:
    return RunResults.load(audited.path)


@pytest.fixture(scope="module")
def chapters(run: RunResults) -> dict[str, Chapter]:
    return {made.anchor: made for made in (chapter(run, False) for chapter in CHAPTERS)}


def table(chapter: Chapter, caption: str) -> dict[str, list[Cell]]:
    """Rows of a table by their first cell."""
    (found,) = [b for b in chapter.blocks if isinstance(b, Table) and caption in b.caption]
    assert {len(row) for row in found.rows} == {len(found.head)}
    return {row[0].text: list(row[1:]) for row in found.rows}


def test_nothing_is_left_out(audited: kr.Run, chapters: dict[str, Chapter]) -> None:
    page = reporting.build(audited.path)["report.md"].decode()
    assert "not run" not in page
    cells = "".join(line for line in page.splitlines() if line.startswith("|"))
    assert not re.search(r"\b(None|nan|inf)\b", cells)
    pictures = {picture.name for chapter in chapters.values() for picture in chapter.pictures()}
    assert {
        *(f"synthetic_{y:03d}" for y in range(10)),
        *(f"learning_{stage}" for stage in ("teacher", "generator", "student")),
        *(f"confusion_{who}" for who in ("teacher", "student")),
        *(f"calibration_{who}" for who in ("teacher", "student")),
        *("snapshots", "tuning_latent_std", "tuning_temperature", "tuning_filter_threshold"),
        *("roc_shadows_models", "roc_shadows_images", "roc_teacher", "roc_student"),
    } == pictures


def test_the_choices_are_read_out(run: RunResults, chapters: dict[str, Chapter]) -> None:
    assert run.selection is not None
    assert run.tuning is not None
    rows = table(chapters["snapshots"], "Snapshots by Generator step")
    assert [int(step) for step in rows] == [row.snapshot for row in run.selection.table]
    for row in run.selection.table:
        assert row.screen is not None
        assert rows[str(row.snapshot)][0].text == f"{100 * row.screen.accuracy:.1f}%"
    trials = table(chapters["tuning"], "All 2 trials")
    for trial in run.tuning.table:
        cells = [cell.text for cell in trials[str(trial.trial)]]
        assert cells[0] == f"{100 * trial.accuracy:.1f}%"
        assert cells[3:5] == [f"{trial.latent_std:.3g}", trial.prior]
    assert trials["0"][3].text == "1"
    assert list(table(chapters["tuning"], "Finalists")) == [
        str(row.trial) for row in run.tuning.finalists
    ]
    kinds = table(chapters["tuning"], "Kinds of labels")
    assert list(kinds) == ["hard", "soft"]
    for look in run.tuning.labels_table:
        assert kinds[look.labels][0].text == f"{100 * look.accuracy:.1f}%"


def test_each_class_has_its_figures(run: RunResults, chapters: dict[str, Chapter]) -> None:
    assert run.evaluation is not None
    assert run.evaluation.diagnostics is not None
    assert run.split is not None
    recalls = table(chapters["classes"], "Recall on test")
    coverages = table(chapters["images"], "Each class")
    for y, name in enumerate(run.split.class_names):
        recall = run.evaluation.teacher.recall[y]
        assert recall is not None
        assert [cell.text for cell in recalls[name][:2]] == [
            str(run.split.counts["test"][y]),
            f"{100 * recall:.1f}%",
        ]
        coverage = run.evaluation.diagnostics.per_class[y].coverage
        assert coverage is not None
        assert coverages[name][0].text == f"{100 * coverage:.1f}%"


def test_each_channel_has_its_figures(run: RunResults, chapters: dict[str, Chapter]) -> None:
    assert run.audit is not None
    about = run.audit.shadows
    assert about is not None
    assert about.canaries is not None
    assert (about.count, about.canary_count) == (COUNT, CANARIES)
    titles = ["Teacher (control)", "Student", "Synthetic images", "Images with soft labels"]
    primary = table(chapters["privacy"], "95% intervals over records and pipelines")
    canaries = table(chapters["privacy"], "Attack AUC by kind of canary")
    assert list(primary) == list(canaries) == titles
    for title, channel in zip(titles, about.canaries, strict=True):
        auc = run.audit.targets[channel].attacks[about.primary].auc
        assert primary[title][0] == Cell(f"{auc.value:.3f}", f"{auc.low:.3f} to {auc.high:.3f}")
        found = about.canaries[channel]
        assert canaries[title][0].text == f"{found.attacks[about.primary].auc.value:.3f}"
        assert canaries[title][5].note.startswith(f"{found.one_run.correct} of ")
    paper = table(chapters["privacy"], "Small print: 95% intervals.")
    assert len(paper) == 8, "four attacks each on Teacher and Student"
    assert sum(row[0].note == "" for row in paper.values()) == 0


def test_what_it_took_is_read_out(run: RunResults, chapters: dict[str, Chapter]) -> None:
    costs = table(chapters["making"], "Time and peak memory of each stage")
    shadows = costs.pop("Shadows")
    assert list(costs) == [stage.title() for stage in run.done]
    assert {row[2].text.split(",")[0] for row in costs.values()} == {"cpu"}
    assert shadows[0].text
    assert "one" not in costs["Generator"][3].text
    provenance = table(chapters["making"], "What it takes to repeat")
    assert run.split is not None
    assert provenance["Data hash (SHA-256)"][0].text == run.split.data_sha256
    assert {"Preset", "Seed", "Machine", "torch version"} <= set(provenance)
