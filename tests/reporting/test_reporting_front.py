from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from knowledge_recycling import reporting
from knowledge_recycling.reporting.chapters import classes
from knowledge_recycling.reporting.document import Table
from knowledge_recycling.reporting.front import Front, front, shows_private
from knowledge_recycling.reporting.judgement import judge
from knowledge_recycling.reporting.measures import forgotten, result_table
from knowledge_recycling.reporting.reader import RunResults, withhold
from knowledge_recycling.reporting.sentences import sentences


def load(new_run: Any, **options: Any) -> RunResults:
    return RunResults.load(new_run(**options))


def first(run: RunResults, show_real: bool = False) -> Front:
    return front(run, judge(run), show_real)


def test_the_first_screen_says_what_it_is(new_run: Any) -> None:
    assert dict(first(load(new_run)).identity) == {
        "Date": "2026-11-20",
        "Version": "0.1.0",
        "Owner": "not stated",
        "Contact": "not stated",
        "Private images on this page": "none",
    }
    shown = dict(first(load(new_run), show_real=True).identity)
    assert shown["Private images on this page"].startswith("YES")


def test_release_yaml_of_the_run_is_read(new_run: Any) -> None:
    run = new_run()
    (run / "release.yaml").write_text("name: Owls\nowner: Zoo\ncontact: zoo@example.org\n")
    page = first(RunResults.load(run))
    assert page.title == "Owls"
    assert dict(page.identity)["Owner"] == "Zoo"
    assert dict(page.identity)["Contact"] == "zoo@example.org"


def test_who_labelled_is_said_as_it_was(new_run: Any) -> None:
    run = load(new_run)
    assert run.distillation
    hard = replace(run, distillation=run.distillation.model_copy(update={"labels": "hard"}))
    assert "that the Teacher labelled" in sentences(run)[0].text
    assert "with the class that was asked for" in sentences(hard)[0].text


def test_a_class_of_very_few_patients_that_is_shown_counts_as_private(new_run: Any) -> None:
    run = load(new_run)
    assert run.generator
    assert run.config
    tiny = replace(run, generator=run.generator.model_copy(update={"tiny_classes": ("dog",)}))
    assert not shows_private(tiny, False)
    kept = run.config.distillation.model_copy(update={"tiny_classes": "keep"})
    config = run.config.model_copy(update={"distillation": kept})
    assert shows_private(replace(tiny, config=config), False)


@pytest.mark.parametrize(
    ("teacher", "student", "lost"),
    [
        (0.90, 0.70, False),  # 20 points under, not more
        (0.90, 0.69, True),
        (0.30, 0.15, False),  # half, not less
        (0.30, 0.14, True),
        (0.10, 0.90, False),
        (None, 0.5, False),
        (0.9, float("nan"), False),
    ],
)
def test_a_forgotten_class(teacher: float | None, student: float, lost: bool) -> None:
    assert forgotten([teacher], [student]) == ([0] if lost else [])


def test_forgotten_class_is_named_on_the_first_screen(new_run: Any) -> None:
    boxes = first(load(new_run, student_recall=[0.9, 0.3, 0.85])).notices
    assert [box.title for box in boxes] == ["The Student forgets a class."]
    assert boxes[0].text.startswith("dog: recall 30.0%, the Teacher's 88.0%")


@pytest.mark.parametrize(("images", "few"), [(29, True), (30, False)])
def test_recalls_of_few_images_say_so(new_run: Any, images: int, few: bool) -> None:
    run = load(new_run, smallest=images, student_recall=[0.3, 0.88, 0.85])
    (box,) = first(run).notices
    assert (", on 29 images only" in box.text) == few
    _, _, table, *others = classes(run, False).blocks
    assert isinstance(table, Table)
    assert [row[1].note for row in table.rows] == ["few" if few else "", "", ""]
    assert any("under 30 test images" in getattr(b, "text", "") for b in others) == few


def test_the_auc_of_a_test_split_of_one_class_is_not_defined(new_run: Any) -> None:
    evaluation = load(new_run).evaluation
    assert evaluation
    none = evaluation.teacher.model_copy(update={"auc": None})
    row = result_table(evaluation.model_copy(update={"teacher": none})).rows[1]
    assert [cell.text for cell in row] == [
        "Diagnostic AUC, one class against the rest",
        "not defined",
        "0.971",
        "n/a",
    ]


def test_generator_warning_is_on_the_first_screen(new_run: Any) -> None:
    boxes = first(load(new_run, warning="The images collapsed at step 5.")).notices
    assert [box.text for box in boxes] == ["The images collapsed at step 5."]
    assert not first(load(new_run)).notices


def test_summary_rows(new_run: Any) -> None:
    rows = reporting.summary(new_run())
    assert [row[0].split(",")[0] for row in rows] == [
        "Accuracy",
        "Diagnostic AUC",
        "Balanced accuracy",
        "Macro F1",
        "Calibration error (ECE)",
        "Attack AUC",
    ]
    assert rows[0][1:] == (
        "89.0% (86.9 to 91.1)",
        "88.1% (86.0 to 90.2)",
        "-0.9 points (-2.4 to +0.6)",
    )
    assert rows[-1][1:] == ("0.576 (0.556 to 0.596)", "0.511 (0.491 to 0.531)", "-0.065")


def test_summary_of_an_unfinished_run_is_empty(new_run: Any) -> None:
    assert reporting.summary(new_run(until="tuning")) == []


def test_metrics_of_a_killed_run(tmp_path: Path) -> None:
    (tmp_path / "teacher").mkdir()
    lines = '{"step": 1, "loss": 3}\n{"step": 2, "loss": 2}\n{"step": 3, "lo'
    (tmp_path / "teacher" / "metrics.jsonl").write_text(lines)
    rows = RunResults.load(tmp_path).metrics("teacher")
    assert rows == [{"step": 1, "loss": 3}, {"step": 2, "loss": 2}]


def test_a_plain_data_name_is_not_taken_for_a_path() -> None:
    assert withhold({"name": "digits of digits"}, ["digits"]) == {"name": "digits of digits"}


def test_relative_source_is_withheld_in_its_absolute_form() -> None:
    note = f"skipped {Path('scans').absolute()}/a.png"
    assert withhold([note], ["scans"]) == ["skipped (path withheld)"]


def test_differences_are_those_of_the_figures_shown(new_run: Any) -> None:
    """99.4 less 99.2 is not 0.3."""
    evaluation = load(new_run).evaluation
    assert evaluation
    student = evaluation.student.model_copy(update={"accuracy": 0.99444})
    teacher = evaluation.teacher.model_copy(update={"accuracy": 0.99165})
    gap = replace(evaluation.cas_gap, value=0.279)
    changed = {"student": student, "teacher": teacher, "cas_gap": gap}
    row = result_table(evaluation.model_copy(update=changed)).rows[0]
    assert [cell.text for cell in row[1:]] == ["99.2%", "99.4%", "+0.2 points"]
