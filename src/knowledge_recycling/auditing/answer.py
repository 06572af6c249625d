"""The gate's decision in the words of the report's first line."""

from __future__ import annotations

from typing import Literal

from knowledge_recycling.auditing.gate import Gate

Kind = Literal["not audited", "too weak", "outside", "within", "not found", "formal"]

RULE: tuple[tuple[str, str], ...] = (
    ("NOT AUDITED", "no shadows were run, and no formal guarantee lies within its limit."),
    (
        "AUDIT TOO WEAK",
        "the audit does not find the Teacher\u2019s leak, or its control failed, or something that "
        "the limits ask for was not measured, or no leak was found but the intervals are too wide "
        "to lie within the limits.",
    ),
    (
        "LEAK FOUND, outside the limits",
        "the lower end of an interval lies above what guessing reaches, and an upper end lies "
        "above its limit; or the audit contradicts the formal guarantee.",
    ),
    (
        "LEAK FOUND, within the limits set by X",
        "the lower end of an interval lies above what guessing reaches, and all upper ends lie "
        "within the limits.",
    ),
    (
        "NO LEAK FOUND AT THIS POWER",
        "no lower end lies above what guessing reaches, and all upper ends lie within the limits.",
    ),
    (
        "FORMAL GUARANTEE (epsilon, delta, per image or patient)",
        "differential privacy lies within its limit, and the audit, if any, does not contradict "
        "it.",
    ),
)
"""Each answer and when it is given, worst first; `kr gate` opens on the last three."""


def kind(gate: Gate) -> Kind:
    """Which of the six answers the decision is."""
    if gate.status != "within":
        return gate.status
    if gate.by_formal:
        return "formal"
    return "within" if gate.found else "not found"


def answer(gate: Gate, set_by: str) -> str:
    """The answer's words.

    Args:
        gate: the decision.
        set_by: who set the limits.

    Example:
        >>> answer(Gate("not audited", ""), "nobody")
        'NOT AUDITED'
    """
    match kind(gate):
        case "not audited":
            return "NOT AUDITED"
        case "too weak":
            return "AUDIT TOO WEAK"
        case "outside":
            return "LEAK FOUND, outside the limits"
        case "within":
            return f"LEAK FOUND, within the limits set by {set_by}"
        case "not found":
            return "NO LEAK FOUND AT THIS POWER"
        case "formal":
            assert gate.formal is not None
            found = gate.formal
            return (
                f"FORMAL GUARANTEE (epsilon {found.epsilon:g}, delta {found.delta:g}, "
                f"per {found.unit})"
            )
