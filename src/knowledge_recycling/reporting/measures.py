"""Teacher and Student in every measure, and which classes the Student forgets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from knowledge_recycling.auditing.figures import Estimate, Target
from knowledge_recycling.reporting.document import Cell, Table
from knowledge_recycling.reporting.formats import (
    NONE,
    decimal,
    difference,
    finite,
    interval,
    percent,
    signed,
)
from knowledge_recycling.reporting.reader import RunResults
from knowledge_recycling.reporting.shadow_audit import strongest
from knowledge_recycling.results import EvaluationResult, ShadowAudit, Utility

MEASURES = (
    ("Accuracy", "accuracy", True),
    ("Diagnostic AUC, one class against the rest", "auc", False),
    ("Balanced accuracy", "balanced_accuracy", True),
    ("Macro F1", "f1_macro", False),
    ("Calibration error (ECE), less is better", "ece", False),
)
"""Label, key in evaluation/result.json, and whether it is shown in percent."""


UNDEFINED = "not defined"
"""A diagnostic AUC on a test split of one class."""
LEAST_OF_A_CLASS = 30
"""Test images of a class under which its recall is said to rest on few: the exact 95% interval of
half of 30 is 31 to 69%."""


def result_table(evaluation: EvaluationResult) -> Table:
    """Teacher, Student and their difference in every measure, accuracy with its interval."""
    teacher, student = evaluation.teacher, evaluation.student
    rows = [_row(label, key, pct, teacher, student) for label, key, pct in MEASURES]
    gap = evaluation.cas_gap
    rows[0][3] = Cell(rows[0][3].text, f"{signed(gap.low)} to {signed(gap.high)}")
    caption = (
        "On test. The difference in accuracy is the CAS gap; small print: 95% intervals. "
        "Differences are those of the figures as shown."
    )
    return Table(caption, ("Measure", "Teacher", "Student", "Difference"), rows)


def _row(label: str, key: str, pct: bool, teacher: Utility, student: Utility) -> list[Cell]:
    show = percent if pct else decimal
    values = getattr(teacher, key), getattr(student, key)
    apart = difference(values[1], values[0], scale=100 if pct else 1, digits=1 if pct else 3)
    if pct and apart != NONE:
        apart += " points"
    ends = [
        interval(who.accuracy_interval, as_percent=pct) if key == "accuracy" else ""
        for who in (teacher, student)
    ]
    both = [
        Cell(UNDEFINED if value is None else show(value), note)
        for value, note in zip(values, ends, strict=True)
    ]
    return [Cell(label), *both, Cell(apart)]


Recalls = Sequence[float | None]
"""Recall of each class."""


def forgotten(teacher: Recalls, student: Recalls) -> list[int]:
    """Classes whose recall falls below half of the Teacher's, or by more than 20 points.

    Example:
        >>> forgotten(teacher=[0.9, 0.2], student=[0.6, 0.15])
        [0]
    """
    lost = []
    for index, pair in enumerate(zip(teacher, student, strict=True)):
        t, s = map(finite, pair)
        # Counts make recalls such as 0.9 - 0.7, which in floats exceeds 0.2 by a hair.
        if t is not None and s is not None and (s < t / 2 or t - s > 0.2 + 1e-9):
            lost.append(index)
    return lost


def summary(run: Path) -> list[tuple[str, str, str, str]]:
    """The result as rows (measure, Teacher, Student, difference), for a terminal.

    Args:
        run: a run directory.

    Returns:
        One row for each measure on test, then the attack AUC of the strongest of the paper's own
        protocol and the primary attack's of the shadow audit; only the rows whose stage is done,
        so possibly none. Intervals in brackets.

    Raises:
        KRError: the run directory is missing, or a file in it cannot be read.
    """
    found = RunResults.load(run)
    rows: list[tuple[str, str, str, str]] = []
    if evaluation := found.evaluation:
        for row in result_table(evaluation).rows:
            label, teacher, student, apart = (_flat(cell) for cell in row)
            rows.append((label, teacher, student, apart))
    if audit := found.audit:
        rows.append(_attack_row(audit.targets))
        if audit.shadows:
            rows.append(_shadow_row(audit.targets, audit.shadows))
    return rows


def _flat(cell: Cell) -> str:
    return f"{cell.text} ({cell.note})" if cell.note else cell.text


def _attack_row(targets: Mapping[str, Target]) -> tuple[str, str, str, str]:
    aucs = (strongest(targets[who]).auc for who in ("teacher", "student"))
    return _auc_row("Attack AUC, strongest of the paper's protocol", *aucs)


def _shadow_row(targets: Mapping[str, Target], about: ShadowAudit) -> tuple[str, str, str, str]:
    aucs = (targets[who].attacks[about.primary].auc for who in ("teacher", "student"))
    weak = "" if about.powered else " (too weak to conclude)"
    return _auc_row(f"Attack AUC, shadow audit{weak}", *aucs)


def _auc_row(words: str, teacher: Estimate, student: Estimate) -> tuple[str, str, str, str]:
    first, second = (_flat(Cell(decimal(auc.value), interval(auc))) for auc in (teacher, student))
    return words, first, second, difference(student.value, teacher.value)
