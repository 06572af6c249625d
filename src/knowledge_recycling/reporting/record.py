"""report.json: what the page says, as one typed record."""

from __future__ import annotations

from typing import Any

from knowledge_recycling.auditing.answer import Kind
from knowledge_recycling.auditing.figures import Estimate, Target
from knowledge_recycling.auditing.gate import Gate
from knowledge_recycling.bundle.form import Form
from knowledge_recycling.reporting.decision import hashes
from knowledge_recycling.reporting.document import Cell, Chapter, Items, Steps, Table, Text
from knowledge_recycling.reporting.front import Front, shows_private
from knowledge_recycling.reporting.judgement import Judgement
from knowledge_recycling.reporting.reader import RunResults
from knowledge_recycling.results import Record, ShadowAudit, Utility

FORMAT = 1


class Verdict(Record):
    """What could be handed out."""

    what: str
    verdict: str
    how: str
    """The command, or why not."""


class NextStep(Record):
    """Something to do."""

    text: str
    command: str


class ReportRecord(Record):
    """report/report.json; nothing about a single record, and no path."""

    format: int = FORMAT
    title: str
    date: str
    """Of the last stage, in UTC; empty where it was not recorded."""
    version: str
    """Of knowledge-recycling; empty where it was not recorded."""
    form: Form
    """What release.yaml states."""
    private_images: bool
    """Whether the page shows real images."""
    kind: Kind
    answer: str
    """The words of the band."""
    lines: tuple[str, ...]
    """What the answer rests on."""
    gate: Gate
    override: str | None
    """Why it was released although the gate is shut."""
    sentences: dict[str, str]
    """The four sentences by their titles."""
    patient: tuple[str, ...]
    verdicts: tuple[Verdict, ...]
    next_steps: tuple[NextStep, ...]
    cannot_say: tuple[str, ...]
    sha256: dict[str, str]
    """Of what was judged."""
    test_images: int | None
    """None before the evaluation, and so are the next three."""
    teacher: Utility | None
    student: Utility | None
    accuracy_gap: Estimate | None
    """In percentage points."""
    targets: dict[str, Target]
    """By release channel; empty before the audit."""
    shadows: ShadowAudit | None
    seconds: float
    """Of all stages and shadows."""


def record(
    run: RunResults,
    judgement: Judgement,
    page: Front,
    decision: dict[str, Chapter],
    show_real: bool,
) -> ReportRecord:
    """The record of a page.

    Args:
        run: the results.
        judgement: the gate's decision.
        page: the first screen.
        decision: the chapters of `decision.DECISION` by their anchors.
        show_real: whether real images may be shown.
    """
    found, audit = run.evaluation, run.audit
    return ReportRecord(
        title=page.title,
        date=run.date,
        version=run.version,
        form=judgement.form,
        private_images=shows_private(run, show_real),
        kind=judgement.kind,
        answer=judgement.answer,
        lines=page.band.lines,
        gate=judgement.gate,
        override=judgement.override,
        sentences={sentence.title: sentence.text for sentence in page.sentences},
        patient=tuple(b.text for b in decision["patient"].blocks if isinstance(b, Text)),
        verdicts=tuple(_verdict(*row) for row in _table(decision["handing-out"]).rows),
        next_steps=tuple(
            NextStep(text=step.text, command=step.command)
            for block in decision["next"].blocks
            if isinstance(block, Steps)
            for step in block.steps
        ),
        cannot_say=tuple(
            text for b in decision["open"].blocks if isinstance(b, Items) for text in b.texts
        ),
        sha256=hashes(run),
        test_images=found.images if found else None,
        teacher=found.teacher if found else None,
        student=found.student if found else None,
        accuracy_gap=found.cas_gap if found else None,
        targets=audit.targets if audit else {},
        shadows=audit.shadows if audit else None,
        seconds=run.seconds,
    )


def schema() -> dict[str, Any]:
    """The JSON Schema of report.json, by its path in the run directory."""
    return {"report/report.json": ReportRecord.model_json_schema()}


def _table(chapter: Chapter) -> Table:
    return next(block for block in chapter.blocks if isinstance(block, Table))


def _verdict(what: Cell, verdict: Cell, how: Cell) -> Verdict:
    return Verdict(what=what.text, verdict=verdict.text, how=how.text)
