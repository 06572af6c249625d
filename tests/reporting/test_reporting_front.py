from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from knowledge_recycling import reporting
from knowledge_recycling.auditing.figures import Estimate
from knowledge_recycling.reporting.chapters import classes
from knowledge_recycling.reporting.document import Table
from knowledge_recycling.reporting.front import forgotten, front, gap_strip, result_table, verdict
from knowledge_recycling.reporting.reader import RunResults, withhold


def load(new_run: Any, **options: Any) -> RunResults:
    return RunResults.load(new_run(**options))


def test_verdict_of_a_negative_gap(new_run: Any) -> None:
    assert verdict(load(new_run, gap=-0.009)) == (
        "The Student, which never saw a real image, reaches 88.1% on test; its Teacher 89.0%: "
        "a gap of -0.9 points (95% interval -2.4 to +0.6)."
    )


def test_verdict_of_a_positive_gap(new_run: Any) -> None:
    words = verdict(load(new_run, gap=0.02))
    assert "reaches 91.0% on test; its Teacher 89.0%: a gap of +2.0 points" in words
    assert words.endswith("(95% interval +0.5 to +3.5).")


@pytest.mark.parametrize(
    ("gap", "words"),
    [
        (-0.04, "The whole interval lies below zero: the Student is measurably worse."),
        (-0.01, "The interval contains zero: this test set does not tell the two apart."),
        (0.04, "The whole interval lies above zero: the Student is measurably better."),
    ],
)
def test_reading_follows_the_interval(new_run: Any, gap: float, words: str) -> None:
    assert front(load(new_run, gap=gap), False).reading.startswith(words)


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
    boxes = front(load(new_run, student_recall=[0.9, 0.3, 0.85]), False).notices
    assert [box.title for box in boxes] == ["The Student forgets a class."]
    assert boxes[0].text.startswith("dog: recall 30.0%, the Teacher's 88.0%")


@pytest.mark.parametrize(("images", "few"), [(29, True), (30, False)])
def test_recalls_of_few_images_say_so(new_run: Any, images: int, few: bool) -> None:
    run = load(new_run, smallest=images, student_recall=[0.3, 0.88, 0.85])
    (box,) = front(run, False).notices
    assert (", on 29 images only" in box.text) == few
    table, *others = classes(run, False).blocks
    assert isinstance(table, Table)
    assert [row[1].note for row in table.rows] == ["few" if few else "", "", ""]
    assert any("under 30 test images" in getattr(b, "text", "") for b in others) == few


def test_the_auc_of_a_test_split_of_one_class_is_not_defined(new_run: Any) -> None:
    evaluation = load(new_run).evaluation
    assert evaluation
    none = evaluation.teacher.model_copy(update={"auc": None})
    row = result_table(evaluation.model_copy(update={"teacher": none})).rows[1]
    assert [cell.text for cell in row] == [
        "AUC, one class against the rest",
        "not defined",
        "0.971",
        "n/a",
    ]


def test_generator_warning_is_on_the_first_screen(new_run: Any) -> None:
    boxes = front(load(new_run, warning="The images collapsed at step 5."), False).notices
    assert [box.text for box in boxes] == ["The images collapsed at step 5."]
    assert not front(load(new_run), False).notices


def test_gap_strip_keeps_order_and_margins() -> None:
    for low, value, high in ((-2.4, -0.9, 0.6), (1.0, 2.0, 3.0), (-9.0, -8.0, -7.0), (0, 0, 0)):
        strip = gap_strip(Estimate(value, low, high))
        assert 0 < strip.low <= strip.value <= strip.high < 100
        assert (strip.zero < strip.low) == (low > 0)
        assert (strip.zero > strip.high) == (high < 0)


def test_summary_rows(new_run: Any) -> None:
    rows = reporting.summary(new_run())
    assert [row[0].split(",")[0] for row in rows] == [
        "Accuracy",
        "AUC",
        "Balanced accuracy",
        "Macro F1",
        "Calibration error (ECE)",
        "Strongest attack's AUC",
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
