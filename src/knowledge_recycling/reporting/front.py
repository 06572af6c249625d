"""The first screen: the verdict in plain words, the result table, and what to beware of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from knowledge_recycling.reporting.document import Cell, Notice, Table
from knowledge_recycling.reporting.formats import (
    NONE,
    count,
    decimal,
    difference,
    finite,
    interval,
    percent,
    signed,
)
from knowledge_recycling.reporting.results import REAL_EXAMPLES, Results
from knowledge_recycling.reporting.shadow_audit import first_words, leak_notice

MEASURES = (
    ("Accuracy", "accuracy", True),
    ("AUC, one class against the rest", "auc", False),
    ("Balanced accuracy", "balanced_accuracy", True),
    ("Macro F1", "f1_macro", False),
    ("Calibration error (ECE), less is better", "ece", False),
)
"""Label, key in evaluation/result.json, and whether it is shown in percent."""


@dataclass(frozen=True)
class GapStrip:
    """The CAS gap on a line, as positions in percent of its width; 0 stands for the Teacher."""

    zero: float
    low: float
    value: float
    high: float
    words: str


@dataclass(frozen=True)
class Front:
    """What the first screen holds; `table` and `strip` are None before the evaluation."""

    title: str
    verdict: str
    reading: str
    notices: Sequence[Notice]
    table: Table | None
    strip: GapStrip | None


def front(results: Results, show_real: bool) -> Front:
    """The first screen of a run."""
    evaluation = results.stages.get("evaluation")
    return Front(
        title=results.name,
        verdict=verdict(results),
        reading=_reading(results),
        notices=notices(results, show_real),
        table=result_table(evaluation) if evaluation else None,
        strip=gap_strip(evaluation["cas_gap"]) if evaluation else None,
    )


def verdict(results: Results) -> str:
    """What Student and Teacher reach, and the CAS gap in percentage points.

    Before all else it says where the shadow audit's controls failed.
    """
    evaluation = results.stages.get("evaluation")
    if not evaluation:
        last = list(results.stages)[-1:] or ["nothing"]
        return f"No verdict yet: this run was not evaluated (done so far: up to {last[0]})."
    gap = evaluation["cas_gap"]
    student = percent(evaluation["student"]["accuracy"])
    teacher = percent(evaluation["teacher"]["accuracy"])
    about = (results.stages.get("audit") or {}).get("shadows")
    weak = "Attack too weak to conclude what leaks. " if about and not about["powered"] else ""
    return (
        f"{weak}The Student, which never saw a real image, reaches {student} on test; its Teacher "
        f"{teacher}: a gap of {signed(gap['value'])} points "
        f"(95% interval {signed(gap['low'])} to {signed(gap['high'])})."
    )


def _reading(results: Results) -> str:
    """How far the verdict carries."""
    evaluation = results.stages.get("evaluation")
    if not evaluation:
        return "The chapters below hold what is done; run the same command again to go on."
    gap = evaluation["cas_gap"]
    if gap["high"] < 0:
        words = "The whole interval lies below zero: the Student is measurably worse."
    elif gap["low"] > 0:
        words = "The whole interval lies above zero: the Student is measurably better."
    else:
        words = "The interval contains zero: this test set does not tell the two apart."
    agreement = percent(evaluation.get("agreement"))
    leak = first_words(results.stages.get("audit") or {})
    seed = results.config.get("seed")
    return (
        f"{words} They give the same answer on {agreement} of the {count(evaluation['images'])} "
        f"test images. One run{'' if seed is None else f' (seed {seed})'}: the interval covers the "
        f"choice of test images, not of the seed. {leak} For what may leak, read the chapter "
        "Privacy."
    )


def result_table(evaluation: Mapping[str, Any]) -> Table:
    """Teacher, Student and their difference in every measure, accuracy with its interval."""
    teacher, student = evaluation["teacher"], evaluation["student"]
    rows = [_row(label, key, pct, teacher, student) for label, key, pct in MEASURES]
    gap = evaluation["cas_gap"]
    ends = f"{signed(gap['low'])} to {signed(gap['high'])}"
    rows[0][3] = Cell(f"{signed(gap['value'])} points", ends)
    caption = "On test. The difference in accuracy is the CAS gap; small print: 95% intervals."
    return Table(caption, ("Measure", "Teacher", "Student", "Difference"), rows)


def _row(
    label: str, key: str, pct: bool, teacher: Mapping[str, Any], student: Mapping[str, Any]
) -> list[Cell]:
    show = percent if pct else decimal
    apart = difference(student[key], teacher[key], scale=100 if pct else 1, digits=1 if pct else 3)
    if pct and apart != NONE:
        apart += " points"
    notes = [interval(who.get(f"{key}_interval"), as_percent=pct) for who in (teacher, student)]
    return [
        Cell(label),
        Cell(show(teacher[key]), notes[0]),
        Cell(show(student[key]), notes[1]),
        Cell(apart),
    ]


def gap_strip(gap: Mapping[str, float]) -> GapStrip:
    """Places zero and the gap's interval on a line that leaves a margin at both ends."""
    low, high = min(gap["low"], 0.0), max(gap["high"], 0.0)
    margin = max(0.18 * (high - low), 0.5)
    low, high = low - margin, high + margin
    zero, left, value, right = (
        round(100 * (x - low) / (high - low), 2)
        for x in (0.0, gap["low"], gap["value"], gap["high"])
    )
    words = f"{signed(gap['value'])} points, {signed(gap['low'])} to {signed(gap['high'])}"
    return GapStrip(zero, left, value, right, words)


def forgotten(evaluation: Mapping[str, Any]) -> list[int]:
    """Classes whose recall falls below half of the Teacher's, or by more than 20 points.

    Example:
        >>> forgotten({"teacher": {"recall": [0.9, 0.2]}, "student": {"recall": [0.6, 0.15]}})
        [0]
    """
    pairs = zip(evaluation["teacher"]["recall"], evaluation["student"]["recall"], strict=True)
    lost = []
    for index, (teacher, student) in enumerate(pairs):
        t, s = finite(teacher), finite(student)
        # Counts make recalls such as 0.9 - 0.7, which in floats exceeds 0.2 by a hair.
        if t is not None and s is not None and (s < t / 2 or t - s > 0.2 + 1e-9):
            lost.append(index)
    return lost


def notices(results: Results, show_real: bool) -> list[Notice]:
    """The boxes of the first screen, gravest first."""
    boxes = []
    if show_real and results.arrays(REAL_EXAMPLES):
        text = "It was made with real images shown. Treat this file like the images themselves."
        boxes.append(Notice("This report holds private images.", text, "danger"))
    if leak := leak_notice(results.stages.get("audit") or {}):
        boxes.append(leak)
    evaluation = results.stages.get("evaluation")
    if evaluation and (lost := forgotten(evaluation)):
        boxes.append(_forgotten_notice(results, evaluation, lost))
    warning = results.stages.get("generator", {}).get("warning")
    if warning:
        boxes.append(Notice("The Generator stage warns.", str(warning)))
    return boxes


def _forgotten_notice(results: Results, evaluation: Mapping[str, Any], lost: list[int]) -> Notice:
    teacher, student = evaluation["teacher"]["recall"], evaluation["student"]["recall"]
    names = results.class_names
    listed = "; ".join(
        f"{names[i]}: recall {percent(student[i])}, the Teacher's {percent(teacher[i])}"
        for i in lost
    )
    what = "a class" if len(lost) == 1 else f"{len(lost)} classes"
    return Notice(f"The Student forgets {what}.", f"{listed}. The overall accuracy may hide it.")


def summary(run: Path) -> list[tuple[str, str, str, str]]:
    """The result as rows (measure, Teacher, Student, difference), for a terminal.

    Args:
        run: a run directory.

    Returns:
        One row for each measure on test, then the strongest attack's AUC of the paper's own
        protocol and the primary attack's of the shadow audit; only the rows whose stage is done,
        so possibly none. Intervals in brackets.

    Raises:
        KRError: the run directory is missing, or a file in it cannot be read.
    """
    results = Results.load(run)
    rows: list[tuple[str, str, str, str]] = []
    if evaluation := results.stages.get("evaluation"):
        for row in result_table(evaluation).rows:
            label, teacher, student, apart = (_flat(cell) for cell in row)
            rows.append((label, teacher, student, apart))
    if audit := results.stages.get("audit"):
        rows.append(_attack_row(audit["targets"]))
        if about := audit.get("shadows"):
            rows.append(_shadow_row(audit["targets"], about))
    return rows


def _flat(cell: Cell) -> str:
    return f"{cell.text} ({cell.note})" if cell.note else cell.text


def _attack_row(targets: Mapping[str, Any]) -> tuple[str, str, str, str]:
    def strongest(name: str) -> Mapping[str, Any]:
        target = targets.get(name)
        return target["attacks"][target["strongest"]]["auc"] if target else {}

    words = "Strongest attack's AUC, paper's protocol"
    return _auc_row(words, strongest("teacher"), strongest("student"))


def _shadow_row(targets: Mapping[str, Any], about: Mapping[str, Any]) -> tuple[str, str, str, str]:
    aucs = (targets[who]["attacks"][about["primary"]]["auc"] for who in ("teacher", "student"))
    weak = "" if about["powered"] else " (too weak to conclude)"
    return _auc_row(f"Shadow audit's AUC{weak}", *aucs)


def _auc_row(
    words: str, teacher: Mapping[str, Any], student: Mapping[str, Any]
) -> tuple[str, str, str, str]:
    teacher_cell, student_cell = (
        _flat(Cell(decimal(auc.get("value")), interval(auc))) for auc in (teacher, student)
    )
    return words, teacher_cell, student_cell, difference(student.get("value"), teacher.get("value"))
