"""What the page says of a release: the gate's decision, and what people state in release.yaml."""

from __future__ import annotations

from dataclasses import dataclass

from knowledge_recycling.auditing.answer import Kind, answer, kind
from knowledge_recycling.auditing.gate import Formal, Gate, decide
from knowledge_recycling.bundle.form import NOT_STATED, Form
from knowledge_recycling.reporting.reader import RunResults

NOBODY = "nobody who is named"


@dataclass(frozen=True)
class Judgement:
    """The gate's decision on what is handed out.

    Args:
        gate: as `kr gate` or `kr release` decided.
        form: what `release.yaml` says.
        override: why it was released although the gate is shut.
    """

    gate: Gate
    form: Form
    override: str | None = None

    @property
    def set_by(self) -> str:
        """Who set the limits."""
        stated = self.form.limits_set_by
        return NOBODY if stated == NOT_STATED else stated

    @property
    def kind(self) -> Kind:
        """Which of the six answers it is."""
        return kind(self.gate)

    @property
    def answer(self) -> str:
        """The answer's words."""
        return answer(self.gate, self.set_by)


def judge(run: RunResults) -> Judgement:
    """As `kr gate RUN` decides, by the run's own limits.yaml where it has one."""
    return Judgement(gate_of(run, run.limits.channels), run.form)


def gate_of(run: RunResults, channels: tuple[str, ...]) -> Gate:
    """The gate's decision if these release channels were handed out."""
    own = run.teacher.guarantee if run.teacher else None
    return decide(
        run.limits.model_copy(update={"channels": channels}),
        run.audit.targets if run.audit else {},
        run.audit.shadows if run.audit else None,
        formal=Formal(own.epsilon, own.delta, own.unit) if own else None,
        patients_known=bool(run.split and run.split.has_groups),
    )
