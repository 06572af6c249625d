"""The four sentences of the first screen, in natural frequencies."""

from __future__ import annotations

from dataclasses import dataclass

from knowledge_recycling.auditing.figures import Estimate, Figures
from knowledge_recycling.reporting.formats import count
from knowledge_recycling.reporting.frequencies import KINDS, in_100, pairs, picks, right
from knowledge_recycling.reporting.reader import RunResults
from knowledge_recycling.results import EvaluationResult, ShadowAudit

NUMBERS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")


@dataclass(frozen=True)
class Sentence:
    """One finding under a short title."""

    title: str
    text: str


def sentences(run: RunResults) -> tuple[Sentence, ...]:
    """What was trained on what, how often it is right, who is recognised, and the worst case."""
    about = run.audit.shadows if run.audit else None
    return (
        Sentence("Trained on", _trained(run)),
        Sentence("Right and wrong", _right(run.evaluation)),
        Sentence("Recognised", _recognised(run, about)),
        Sentence("Unusual images", _unusual(about)),
    )


def _trained(run: RunResults) -> str:
    if not run.split:
        return "Not known: this run has no split yet."
    split = run.split
    colour = "grey" if split.channels == 1 else "colour"
    screened = run.teacher.screening if run.teacher else None
    dropped = sum(screened.dropped) if screened else 0
    images = count(sum(split.counts["train"]) - dropped)
    vote = f" A vote of four other Teachers had left out {count(dropped)} more for their labels."
    teacher = (
        f"The Teacher was trained on {images} private images ({_patients(run)}) of "
        f"{len(split.class_names)} classes, {split.size} by {split.size} pixels, {colour}"
    )
    if not run.distillation:
        return f"{teacher}. The Student is not trained yet.{vote if screened else ''}"
    made = count(run.distillation.synthetic_images)
    hard = run.distillation.labels == "hard"
    labels = "with the class that was asked for" if hard else "that the Teacher labelled"
    student = f"the Student on {made} synthetic images {labels}"
    return f"{teacher}; {student}.{vote if screened else ''}"


def _patients(run: RunResults) -> str:
    if run.audit and run.audit.shadows and run.audit.shadows.patients:
        return f"{count(run.audit.shadows.patients)} patients in the audited pool"
    if run.split and run.split.has_groups:
        return "grouped by patient"
    return "of how many patients is not known"


def _right(found: EvaluationResult | None) -> str:
    if not found:
        return "Not measured: the Student was not evaluated."
    n = found.images
    student, teacher = (round(n * who.accuracy) for who in (found.student, found.teacher))
    return (
        f"The Student is right on {right(student, n)} new images; "
        f"{_apart(teacher - student, n)}: {_chance(found.cas_gap)}."
    )


def _apart(fewer: int, total: int) -> str:
    """The Teacher's mistakes beside the Student's, in whole images.

    Example:
        >>> print(_apart(1, 359), _apart(-3, 359), _apart(0, 359), sep=", ")
        its Teacher made one mistake fewer in 359, its Teacher made three mistakes more in 359, its Teacher made as many mistakes in 359 images
    """  # noqa: E501
    if not fewer:
        return f"its Teacher made as many mistakes in {count(total)} images"
    number = NUMBERS[abs(fewer)] if abs(fewer) < len(NUMBERS) else count(abs(fewer))
    word = "mistake" if abs(fewer) == 1 else "mistakes"
    return f"its Teacher made {number} {word} {'fewer' if fewer > 0 else 'more'} in {count(total)}"


def _chance(gap: Estimate) -> str:
    return "within chance" if gap.low <= 0 <= gap.high else "more than chance explains"


def _recognised(run: RunResults, about: ShadowAudit | None) -> str:
    if not about or not run.audit:
        return (
            "Not audited: how many of the people in the training images an attack on the Student "
            "would pick out is not known."
        )
    student = run.audit.targets["student"]
    of_images = _attack(student.attacks[about.primary], "insiders")
    if not student.groups:
        return f"{_weak(about)}An attack on the Student: {of_images}."
    of_patients = _attack(student.groups[about.primary], "patients")
    return f"{_weak(about)}An attack on the Student: {of_images}. By whole patients: {of_patients}."


def _weak(about: ShadowAudit) -> str:
    return "" if about.powered else "The audit is too weak to rely on what follows. "


def _attack(found: Figures, whom: str) -> str:
    rate = found.tpr_at_fpr.get("0.01")
    return picks(rate, whom) if rate else pairs(found.auc)


def _unusual(about: ShadowAudit | None) -> str:
    if not about:
        return "Not measured: neither planted images nor copies were looked for."
    copies = (
        f"Copies: {in_100(about.copies.members)} training images have a synthetic image nearer "
        f"than any unseen real one; of unseen images {in_100(about.copies.nonmembers)}."
    )
    arm = about.canaries["student"] if about.canaries else None
    if not arm:
        return f"None were planted, so the worst case was not measured. {copies}"
    rate = arm.attacks[about.primary].tpr_at_fpr.get("0.01")
    many = f"Of unusual images, which we planted, it picks out {in_100(rate)}. " if rate else ""
    return f"{many}{worst(about)} {copies}"


def worst(about: ShadowAudit) -> str:
    """The kind of planted image that the Student gives away most; empty without any."""
    arm = about.canaries["student"] if about.canaries else None
    if not arm:
        return ""
    kind, found = max(arm.kinds.items(), key=lambda item: item[1].value)
    return f"Worst of those that we planted: images {KINDS.get(kind, kind)}; {pairs(found)}."
