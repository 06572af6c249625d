"""The first screen: what it is, the answer, four sentences, and what to beware of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from knowledge_recycling.bundle.form import NOT_STATED
from knowledge_recycling.reporting.band import Band, band
from knowledge_recycling.reporting.document import Notice
from knowledge_recycling.reporting.formats import percent
from knowledge_recycling.reporting.judgement import Judgement
from knowledge_recycling.reporting.measures import LEAST_OF_A_CLASS, forgotten
from knowledge_recycling.reporting.reader import REAL_EXAMPLES, RunResults
from knowledge_recycling.reporting.sentences import Sentence, sentences
from knowledge_recycling.results import EvaluationResult

NOT_RECORDED = "not recorded"


@dataclass(frozen=True)
class Front:
    """What the first screen holds, in its order."""

    title: str
    identity: Sequence[tuple[str, str]]
    band: Band
    sentences: Sequence[Sentence]
    notices: Sequence[Notice]


def front(run: RunResults, judgement: Judgement, show_real: bool) -> Front:
    """The first screen of a run."""
    form = judgement.form
    return Front(
        title=run.name if form.name == NOT_STATED else form.name,
        identity=(
            ("Date", run.date or NOT_RECORDED),
            ("Version", run.version or NOT_RECORDED),
            ("Owner", form.owner),
            ("Contact", form.contact),
            ("Private images on this page", _images(run, show_real)),
        ),
        band=band(run, judgement),
        sentences=sentences(run),
        notices=notices(run, show_real),
    )


def shows_private(run: RunResults, show_real: bool) -> bool:
    """Whether real images, or those of classes of very few patients, are on the page."""
    tiny = run.generator.tiny_classes if run.generator else ()
    kept = run.config is not None and run.config.distillation.tiny_classes == "keep"
    return bool((show_real and run.arrays(REAL_EXAMPLES)) or (tiny and kept))


def _images(run: RunResults, show_real: bool) -> str:
    if shows_private(run, show_real):
        return "YES: handle this file like the images themselves"
    return "none"


def notices(run: RunResults, show_real: bool) -> list[Notice]:
    """The boxes of the first screen, gravest first."""
    boxes = []
    if show_real and run.arrays(REAL_EXAMPLES):
        text = "It was made with real images shown. Treat this file like the images themselves."
        boxes.append(Notice("This report holds private images.", text, "danger"))
    evaluation = run.evaluation
    if evaluation and (lost := _lost(evaluation)):
        boxes.append(_forgotten_notice(run, evaluation, lost))
    if run.teacher and run.teacher.warning:
        boxes.append(Notice("The Teacher stage warns.", run.teacher.warning))
    if run.generator and run.generator.warning:
        boxes.append(Notice("The Generator stage warns.", run.generator.warning))
    return boxes


def _lost(evaluation: EvaluationResult) -> list[int]:
    return forgotten(evaluation.teacher.recall, evaluation.student.recall)


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
