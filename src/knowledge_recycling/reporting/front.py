"""The first screen: the verdict in plain words, the result table, and what to beware of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from knowledge_recycling.auditing.figures import Estimate, Target
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
from knowledge_recycling.reporting.guarantee import Band, band
from knowledge_recycling.reporting.reader import REAL_EXAMPLES, RunResults
from knowledge_recycling.reporting.shadow_audit import first_words, leak_notice, strongest
from knowledge_recycling.results import EvaluationResult, ShadowAudit, Utility

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
    band: Band | None


def front(run: RunResults, show_real: bool) -> Front:
    """The first screen of a run."""
    evaluation = run.evaluation
    return Front(
        title=run.name,
        verdict=verdict(run),
        reading=_reading(run),
        notices=notices(run, show_real),
        table=result_table(evaluation) if evaluation else None,
        strip=gap_strip(evaluation.cas_gap) if evaluation else None,
        band=band(run),
    )


def verdict(run: RunResults) -> str:
    """What Student and Teacher reach, and the CAS gap in percentage points.

    Before all else it says where the shadow audit's controls failed.
    """
    evaluation = run.evaluation
    if not evaluation:
        last = list(run.done)[-1:] or ["nothing"]
        return f"No verdict yet: this run was not evaluated (done so far: up to {last[0]})."
    gap = evaluation.cas_gap
    student = percent(evaluation.student.accuracy)
    teacher = percent(evaluation.teacher.accuracy)
    about = run.audit.shadows if run.audit else None
    weak = "Attack too weak to conclude what leaks. " if about and not about.powered else ""
    return (
        f"{weak}The Student, which never saw a real image, reaches {student} on test; its Teacher "
        f"{teacher}: a gap of {signed(gap.value)} points "
        f"(95% interval {signed(gap.low)} to {signed(gap.high)})."
    )


def _reading(run: RunResults) -> str:
    """How far the verdict carries."""
    evaluation = run.evaluation
    if not evaluation:
        return "The chapters below hold what is done; run the same command again to go on."
    gap = evaluation.cas_gap
    if gap.high < 0:
        words = "The whole interval lies below zero: the Student is measurably worse."
    elif gap.low > 0:
        words = "The whole interval lies above zero: the Student is measurably better."
    else:
        words = "The interval contains zero: this test set does not tell the two apart."
    agreement = percent(evaluation.agreement)
    leak = first_words(run.audit)
    seed = f" (seed {run.config.seed})" if run.config else ""
    return (
        f"{words} They give the same answer on {agreement} of the {count(evaluation.images)} "
        f"test images. One run{seed}: the interval covers the "
        f"choice of test images, not of the seed. {leak} For what may leak, read the chapter "
        "Privacy."
    )


UNDEFINED = "not defined"
"""An AUC on a test split of one class."""
LEAST_OF_A_CLASS = 30
"""Test images of a class under which its recall is said to rest on few: the exact 95% interval of
half of 30 is 31 to 69%."""


def result_table(evaluation: EvaluationResult) -> Table:
    """Teacher, Student and their difference in every measure, accuracy with its interval."""
    teacher, student = evaluation.teacher, evaluation.student
    rows = [_row(label, key, pct, teacher, student) for label, key, pct in MEASURES]
    gap = evaluation.cas_gap
    ends = f"{signed(gap.low)} to {signed(gap.high)}"
    rows[0][3] = Cell(f"{signed(gap.value)} points", ends)
    caption = "On test. The difference in accuracy is the CAS gap; small print: 95% intervals."
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


def gap_strip(gap: Estimate) -> GapStrip:
    """Places zero and the gap's interval on a line that leaves a margin at both ends."""
    low, high = min(gap.low, 0.0), max(gap.high, 0.0)
    margin = max(0.18 * (high - low), 0.5)
    low, high = low - margin, high + margin
    zero, left, value, right = (
        round(100 * (x - low) / (high - low), 2) for x in (0.0, gap.low, gap.value, gap.high)
    )
    words = f"{signed(gap.value)} points, {signed(gap.low)} to {signed(gap.high)}"
    return GapStrip(zero, left, value, right, words)


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


def _lost(evaluation: EvaluationResult) -> list[int]:
    return forgotten(evaluation.teacher.recall, evaluation.student.recall)


def notices(run: RunResults, show_real: bool) -> list[Notice]:
    """The boxes of the first screen, gravest first."""
    boxes = []
    if show_real and run.arrays(REAL_EXAMPLES):
        text = "It was made with real images shown. Treat this file like the images themselves."
        boxes.append(Notice("This report holds private images.", text, "danger"))
    if leak := leak_notice(run.audit):
        boxes.append(leak)
    evaluation = run.evaluation
    if evaluation and (lost := _lost(evaluation)):
        boxes.append(_forgotten_notice(run, evaluation, lost))
    if run.generator and run.generator.warning:
        boxes.append(Notice("The Generator stage warns.", run.generator.warning))
    return boxes


def _forgotten_notice(run: RunResults, evaluation: EvaluationResult, lost: list[int]) -> Notice:
    teacher, student = evaluation.teacher.recall, evaluation.student.recall
    names = run.class_names
    totals = [sum(row) for row in evaluation.teacher.confusion]
    listed = "; ".join(
        f"{names[i]}: recall {percent(student[i])}, the Teacher's {percent(teacher[i])}"
        + (f", on {totals[i]} images only" if totals[i] < LEAST_OF_A_CLASS else "")
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
    return _auc_row("Strongest attack's AUC, paper's protocol", *aucs)


def _shadow_row(targets: Mapping[str, Target], about: ShadowAudit) -> tuple[str, str, str, str]:
    aucs = (targets[who].attacks[about.primary].auc for who in ("teacher", "student"))
    weak = "" if about.powered else " (too weak to conclude)"
    return _auc_row(f"Shadow audit's AUC{weak}", *aucs)


def _auc_row(words: str, teacher: Estimate, student: Estimate) -> tuple[str, str, str, str]:
    first, second = (_flat(Cell(decimal(auc.value), interval(auc))) for auc in (teacher, student))
    return words, first, second, difference(student.value, teacher.value)
