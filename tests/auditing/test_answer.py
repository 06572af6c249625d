"""The six answers, each from the gate's own decision."""

from __future__ import annotations

from dataclasses import replace

import pytest

from knowledge_recycling.auditing.answer import RULE, answer, kind
from knowledge_recycling.auditing.figures import Epsilon, Estimate, Target
from knowledge_recycling.auditing.gate import Formal, Gate, decide
from knowledge_recycling.auditing.limits import Limit, Limits
from tests.auditing.test_gate import LIMITS, FakeShadows, figures, targets

FORMAL = Formal(2.0, 1e-6, "image")
CONTRADICTION = replace(figures(), epsilon=Epsilon(2.6, 2.4, None, 0.0, 1.0, 0.5, 0.01))


@pytest.mark.parametrize(
    ("gate", "words", "code"),
    [
        (decide(LIMITS, {}, None), "NOT AUDITED", 4),
        (decide(LIMITS, targets(), FakeShadows(powered=False)), "AUDIT TOO WEAK", 4),
        (decide(LIMITS, targets(), FakeShadows(canary=None)), "AUDIT TOO WEAK", 4),
        (decide(LIMITS, targets(figures(high=0.7)), FakeShadows()), "AUDIT TOO WEAK", 4),
        (
            decide(LIMITS, targets(figures(low=0.6, high=0.7)), FakeShadows()),
            "LEAK FOUND, outside the limits",
            3,
        ),
        (
            decide(LIMITS, targets(figures(low=0.51, high=0.54)), FakeShadows()),
            "LEAK FOUND, within the limits set by the board",
            0,
        ),
        (decide(LIMITS, targets(), FakeShadows()), "NO LEAK FOUND AT THIS POWER", 0),
        (
            decide(LIMITS, {}, None, formal=FORMAL),
            "FORMAL GUARANTEE (epsilon 2, delta 1e-06, per image)",
            0,
        ),
        (
            decide(LIMITS, targets(CONTRADICTION), FakeShadows(), formal=FORMAL),
            "LEAK FOUND, outside the limits",
            3,
        ),
        (decide(LIMITS, {}, None, formal=Formal(9.0, 1e-6, "image")), "NOT AUDITED", 4),
    ],
)
def test_each_answer_goes_with_the_gates_exit_status(gate: Gate, words: str, code: int) -> None:
    assert (answer(gate, "the board"), gate.exit_code) == (words, code)


def test_a_leak_that_no_limit_asks_for_is_a_leak() -> None:
    """Limits on the copies alone do not make the records' leak go away."""
    gate = decide(Limits(copies=0.1), targets(figures(low=0.6, high=0.9)), FakeShadows())
    assert gate.exit_code == 0
    assert kind(gate) == "within"
    assert [check.what for check in gate.found] == ["records, attack AUC"]


@pytest.mark.parametrize("what", ["patients", "canaries", "copies"])
def test_a_leak_is_looked_for_everywhere(what: str) -> None:
    bad = figures(low=0.6, high=0.9)
    found = {
        "patients": (targets(groups=bad), FakeShadows(patients=40)),
        "canaries": (targets(), FakeShadows(canary=Estimate(0.8, 0.6, 0.9))),
        "copies": (targets(), FakeShadows(excess=0.02, least=0.01)),
    }
    gate = decide(Limits(records=Limit(auc=0.55)), *found[what])
    assert [check.what.split(",")[0].split(" ")[0] for check in gate.found] == [what]
    assert kind(gate) == "within"


def test_a_leak_in_what_is_not_handed_out_is_none_of_the_gates() -> None:
    leaky = targets() | {"teacher": Target({"shrunken_t": figures(low=0.8, high=0.9)})}
    assert kind(decide(LIMITS, leaky, FakeShadows())) == "not found"


def test_the_rule_names_the_answers_in_order_and_promises_nothing() -> None:
    assert [words.split(",")[0].split(" (")[0] for words, _ in RULE] == [
        "NOT AUDITED",
        "AUDIT TOO WEAK",
        "LEAK FOUND",
        "LEAK FOUND",
        "NO LEAK FOUND AT THIS POWER",
        "FORMAL GUARANTEE",
    ]
    text = " ".join(f"{words} {when}" for words, when in RULE).lower()
    assert "safe" not in text
    assert "anonym" not in text
