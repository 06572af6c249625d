"""The chapters on utility, each a function from results to a Chapter, and their order."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from knowledge_recycling.reporting import figures, strips
from knowledge_recycling.reporting.choices import snapshots, tuning
from knowledge_recycling.reporting.document import (
    Block,
    Cell,
    Chapter,
    Gallery,
    Notice,
    Picture,
    Strip,
    Strips,
    Table,
    Text,
    cells,
    class_cell,
    not_run,
)
from knowledge_recycling.reporting.fidelity import fidelity
from knowledge_recycling.reporting.formats import count, decimal, difference, finite, percent
from knowledge_recycling.reporting.glossary import glossary
from knowledge_recycling.reporting.measures import LEAST_OF_A_CLASS, forgotten, result_table
from knowledge_recycling.reporting.privacy import privacy
from knowledge_recycling.reporting.provenance import making
from knowledge_recycling.reporting.reader import REAL_EXAMPLES, RunResults
from knowledge_recycling.results import (
    Calibration,
    EvaluationResult,
    Utility,
)

STRIP_IMAGES = 10


def images(run: RunResults, show_real: bool) -> Chapter:
    """Synthetic images by class and, only where asked for, real ones; how they compare."""
    samples = run.arrays("distillation/samples.npz")
    real = run.arrays(REAL_EXAMPLES) if show_real else {}
    if not samples:
        return not_run("images", "Synthetic images", "Distillation")
    intro = (
        "What the Student learned from, drawn as in training. The bar below an image is the "
        "probability that the Teacher gives to the class the Generator was asked for."
    )
    blocks: list[Block] = [Text(intro)]
    if show_real:
        text = "Every second row shows real images of the training split."
        missing = "Real images were asked for, but this run keeps none."
        blocks.append(Notice("Real images.", text if real else missing, "danger"))
    blocks += _tiny_classes(run, samples)
    rows = [_strip(index, name, samples, real) for index, name in enumerate(run.class_names)]
    return Chapter("images", "Synthetic images", [*blocks, Strips(rows), *fidelity(run)])


def _tiny_classes(run: RunResults, samples: Mapping[str, np.ndarray]) -> list[Block]:
    """Why the images of some classes are not shown, or what it means that they are."""
    tiny = run.generator.tiny_classes if run.generator else ()
    if not tiny:
        return []
    text = (
        f"{', '.join(tiny)}: of fewer than ten patients (images, where patients are not known) in "
        "train. A Generator cannot make images of so few without resembling each of them. The "
        "Student learned from such images all the same, and may remember these patients. "
    )
    if any(_hidden(samples, index) for index in range(len(run.class_names))):
        return [Notice("Classes that are not shown.", f"{text}Their rows are left out below.")]
    shown = f"{text}They are shown because distillation.tiny_classes=keep asked for them."
    return [Notice("Classes of very few patients.", shown, "danger")]


def _hidden(samples: Mapping[str, np.ndarray], index: int) -> bool:
    """Whether distillation left a class out: its labels are then zero, which no softmax is."""
    return not samples["soft_labels"][index].any()


def _strip(
    index: int, name: str, samples: Mapping[str, np.ndarray], real: Mapping[str, np.ndarray]
) -> Strip:
    shares = samples["soft_labels"][index, :, index]
    note = f"Teacher's mean probability {percent(shares.mean())}"
    pictures = []
    if _hidden(samples, index):
        note = "not shown: too few patients"
    else:
        row = samples["images"][index, :STRIP_IMAGES]
        alt = f"{len(row)} synthetic images of the class {name}"
        png = strips.strip(row, shares[:STRIP_IMAGES])
        pictures.append(Picture(f"synthetic_{index:03d}", png, alt))
    if real:
        row = real["images"][index, :STRIP_IMAGES]
        alt = f"{len(row)} real images of the class {name}"
        pictures.append(Picture(f"real_{index:03d}", strips.strip(row), alt, caption="real"))
    return Strip(name, note, pictures)


def learning(run: RunResults, show_real: bool) -> Chapter:
    """Learning curves of Teacher, Generator and Student."""
    pictures = [
        picture
        for stage in (_teacher_curves, _generator_curves, _student_curves)
        if (picture := stage(run))
    ]
    if not pictures and run.teacher and run.teacher.guarantee:
        words = "None: a curve of a private run would tell more of the images than it releases."
        return Chapter("learning", "Learning curves", [Text(words)])
    if not pictures:
        return not_run("learning", "Learning curves", "Teacher")
    intro = "Pale: as logged. Strong: moving mean. Dotted: the chosen snapshot."
    return Chapter("learning", "Learning curves", [Text(intro), Gallery(pictures)])


def _teacher_curves(run: RunResults) -> Picture | None:
    result, rows = run.teacher, run.metrics("teacher")
    if not result or not rows:
        return None
    names = {
        "loss": "training loss",
        "val_loss": "validation loss",
        "val_accuracy": "validation accuracy",
    }
    panels = {key: title for key, title in names.items() if any(key in row for row in rows)}
    png = figures.curves(rows, panels, figures.TEACHER)
    last = f"{percent(result.validation.accuracy)} on validation " if result.validation else ""
    caption = f"{last}after {count(result.steps)} steps."
    alt = f"Teacher's curves: {figures.curve_words(rows, panels)}."
    return Picture("learning_teacher", png, alt, "Teacher", caption)


def _generator_curves(run: RunResults) -> Picture | None:
    result, rows = run.generator, run.metrics("generator")
    if not result or not rows:
        return None
    names = dict.fromkeys(k for r in rows for k, v in r.items() if finite(v) is not None)
    panels = {name: name.replace("_", " ") for name in names if name != "step"}
    chosen = run.selection.snapshot if run.selection else None
    png = figures.curves(rows, panels, "#3a8a6f", chosen)
    caption = f"Method: {result.method}. {len(result.snapshots)} snapshots kept."
    alt = f"Generator's curves: {figures.curve_words(rows, panels)}."
    return Picture("learning_generator", png, alt, "Generator", caption)


def _student_curves(run: RunResults) -> Picture | None:
    result, rows = run.distillation, run.metrics("distillation")
    if not result or not rows:
        return None
    panels = {"loss": "distillation loss"}
    png = figures.curves(rows, panels, figures.STUDENT)
    caption = f"{count(result.synthetic_images)} synthetic images seen, no real one."
    alt = f"Student's curve: {figures.curve_words(rows, panels)}."
    return Picture("learning_student", png, alt, "Student", caption)


def classes(run: RunResults, show_real: bool) -> Chapter:
    """Recall of each class, and which classes are taken for which."""
    result = run.evaluation
    if not result:
        return not_run("classes", "Class by class", "Evaluation")
    lost = forgotten(result.teacher.recall, result.student.recall)
    rows = [_recall_row(run, result, i, i in lost) for i in range(len(run.class_names))]
    head = ("Class", "Test images", "Teacher", "Student", "Difference")
    caption = "Recall on test: the share of a class's images that are recognised."
    pictures = [_confusion(found, run.class_names, who) for who, found in _both(result)]
    words = "Confusion in percent of each true class; a row adds up to 100."
    smallest = min(map(sum, result.teacher.confusion))
    few = [Text(FEW)] if smallest < LEAST_OF_A_CLASS else []
    agreement = (
        f"Student and Teacher give the same answer on {percent(result.agreement)} of the "
        f"{count(result.images)} test images. One run: the intervals cover the choice of test "
        "images, not of the seed."
    )
    blocks: list[Block] = [
        result_table(result),
        Text(agreement),
        Table(caption, head, rows),
        *few,
        Text(words),
        Gallery(pictures),
    ]
    return Chapter("classes", "Class by class", blocks)


FEW = (
    f"Classes marked as few have under {LEAST_OF_A_CLASS} test images: their recall is known to no "
    "better than about 20 points either way, and a difference to less."
)


def _recall_row(run: RunResults, result: EvaluationResult, index: int, lost: bool) -> list[Cell]:
    teacher, student = (who.recall[index] for who in (result.teacher, result.student))
    apart = difference(student, teacher, scale=100, digits=1)
    total = sum(result.teacher.confusion[index])
    return [
        class_cell(index, run.class_names[index]),
        Cell(count(total), "few" if total < LEAST_OF_A_CLASS else ""),
        Cell(percent(teacher), share=finite(teacher)),
        Cell(percent(student), share=finite(student)),
        Cell(apart, "forgotten" if lost else "", tone="bad" if lost else ""),
    ]


def _both(result: EvaluationResult) -> tuple[tuple[str, Utility], tuple[str, Utility]]:
    return ("teacher", result.teacher), ("student", result.student)


def _confusion(found: Utility, names: Sequence[str], who: str) -> Picture:
    matrix = found.confusion
    shares = figures.normalise(matrix)
    diagonal = ", ".join(f"{name} {percent(shares[i, i])}" for i, name in enumerate(names[:10]))
    alt = f"Confusion matrix of the {who.title()}; its diagonal begins: {diagonal}."
    png = figures.confusion(matrix, names, who)
    return Picture(f"confusion_{who}", png, alt, who.title())


def calibration(run: RunResults, show_real: bool) -> Chapter:
    """Reliability diagrams of Teacher and Student, and their figures."""
    result = run.evaluation
    if not result:
        return not_run("calibration", "Calibration", "Evaluation")
    intro = (
        "Where the curve lies on the dashed line, confidence means what it says; below it, the "
        "classifier is surer than it is right. Each point stands for about equally many test "
        "images; its line is a 95% interval. Hollow: fewer than ten images, which say little."
    )
    pictures, tables = [], []
    for who, found in _both(result):
        caption = f"Expected calibration error {decimal(found.ece)}."
        curve = found.reliability or found.calibration
        png = figures.reliability(curve, who)
        alt = f"Reliability diagram of the {who.title()}. {caption} Its figures are tabled below."
        pictures.append(Picture(f"calibration_{who}", png, alt, who.title(), caption))
        tables.append(_bins(curve, who))
    return Chapter("calibration", "Calibration", [Text(intro), Gallery(pictures), *tables])


def _bins(curve: Calibration, who: str) -> Table:
    bins = zip(curve.confidence, curve.accuracy, curve.count, strict=True)
    rows = [cells(percent(c), percent(a), count(n)) for c, a, n in bins if n]
    head = ("Mean confidence", "Right", "Images")
    return Table(f"Reliability of the {who.title()}, bin by bin.", head, rows, folded=True)


CHAPTERS: tuple[Callable[[RunResults, bool], Chapter], ...] = (
    privacy,
    classes,
    images,
    calibration,
    learning,
    snapshots,
    tuning,
    making,
    glossary,
)
"""The report in order. A chapter takes the results and whether real images may be shown."""
