"""The answer band of the first screen: one of six answers, and what it rests on."""

from __future__ import annotations

import math
from dataclasses import dataclass

from knowledge_recycling.auditing.answer import Kind
from knowledge_recycling.auditing.gate import Check, Gate
from knowledge_recycling.reporting.frequencies import in_words, whom
from knowledge_recycling.reporting.judgement import NOBODY, Judgement
from knowledge_recycling.reporting.reader import RunResults
from knowledge_recycling.results import Guarantee

MOST = 3
"""Figures named in the band; all of them stand in the chapter Privacy."""
UNITS = {"patient": "every patient", "image": "every image (of a patient with several, less)"}


@dataclass(frozen=True)
class Band:
    """The answer and the lines below it."""

    kind: Kind
    answer: str
    lines: tuple[str, ...]


def band(run: RunResults, judgement: Judgement) -> Band:
    """The band of a run."""
    lines = _lines(run, judgement)
    if judgement.override is not None:
        lines = (*lines, f"It was released all the same. Reason given: {judgement.override}")
    return Band(judgement.kind, judgement.answer, lines)


def _lines(run: RunResults, judgement: Judgement) -> tuple[str, ...]:
    gate = judgement.gate
    own = run.teacher.guarantee if run.teacher else None
    match judgement.kind:
        case "not audited":
            return (
                "Nobody has tried to find out whom the Student gives away. Until somebody has, "
                "handle it like the private images.",
                *_outside_limit(own, run),
            )
        case "too weak":
            return (_why_weak(run, gate), *_outside_limit(own, run))
        case "outside" if gate.by_formal:
            return (gate.sentence, *_meaning(own))
        case "outside":
            return (*_named(_beyond(gate)), _limits(run, judgement))
        case "within":
            return (*_named(gate.found), _limits(run, judgement))
        case "not found":
            return (
                "An attack that finds the Teacher\u2019s leak finds none in what is handed out. "
                "A stronger attack, or more shadows, may find one.",
                _limits(run, judgement),
            )
        case "formal":
            return (*_meaning(own), *_despite(gate))


def _beyond(gate: Gate) -> list[Check]:
    """Leaks above their limits; where none is, those whose upper end is."""
    leaks = [check for check in gate.checks if check.leaks]
    return leaks or [check for check in gate.checks if check.found and not check.within]


def _named(checks: list[Check] | tuple[Check, ...]) -> tuple[str, ...]:
    more = len(checks) - MOST
    rest = (f"And {more} more, see Privacy.",) if more > 0 else ()
    return (*(in_words(check) for check in checks[:MOST]), *rest)


def _limits(run: RunResults, judgement: Judgement) -> str:
    own = run.limits != type(run.limits).load()
    which = "the run\u2019s limits.yaml" if own else "the default limits of this software"
    if judgement.set_by == NOBODY:
        return f"Limits: {which}. Who answers for them is not stated (limits_set_by)."
    return f"Limits: {which}, set by {judgement.set_by}."


def _why_weak(run: RunResults, gate: Gate) -> str:
    about = run.audit.shadows if run.audit else None
    if about and not about.control.passed:
        return (
            "A classifier that never saw the Student tells insiders from outsiders: membership was "
            "not random, and no figure of the audit is evidence."
        )
    if about and not about.powered:
        return (
            "The attack does not even find the leak of the Teacher, which was trained on the "
            "private images themselves. What it does not find in the Student means nothing."
        )
    missing = [check for check in gate.checks if check.found is None]
    if missing:
        names = "; ".join(dict.fromkeys(whom(check) for check in missing))
        return f"The limits ask for what was not measured: {names}."
    return "No leak was found, but the intervals are too wide: " + " ".join(_named(_beyond(gate)))


def _outside_limit(own: Guarantee | None, run: RunResults) -> tuple[str, ...]:
    if own is None:
        return ("No formal guarantee.",)
    asked = run.limits.formal
    limit = (
        f"the limit is epsilon {asked.epsilon:g}, delta {asked.delta:g}, per {asked.unit}"
        if asked
        else "the limits ask for none"
    )
    return (
        f"Formal guarantee: epsilon {own.epsilon:g}, delta {own.delta:g}, per {own.unit}; {limit}.",
    )


def _meaning(own: Guarantee | None) -> tuple[str, ...]:
    if own is None:
        return ()
    odds = math.exp(own.epsilon)
    rate = 100 * min(1.0, odds * 0.01 + own.delta)
    return (
        f"Differential privacy for {UNITS[own.unit]}: whatever anybody concludes about whether "
        f"one {own.unit} was among the training images, the odds change by a factor of at most "
        f"{odds:,.3g} (exp {own.epsilon:g}), but for failures of probability {own.delta:g}. "
        f"Whoever accuses wrongly 1 in 100 outsiders picks out at most {rate:.0f} in 100 insiders.",
        "It covers Teacher, Generator, synthetic images, their soft labels and Student, and what "
        "is made from them. It does not cover the figures on this page, the class names, size and "
        f"symmetry ({own.symmetry}), which the user states, and other runs on the same data, which "
        "add up.",
    )


def _despite(gate: Gate) -> tuple[str, ...]:
    if not gate.found:
        return ()
    return ("The audit finds, below that bound:", *_named(gate.found))
