"""The gate opens on upper bounds of a powered audit, or on a formal guarantee; else it is shut."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from knowledge_recycling.auditing.figures import (
    Audit,
    CanaryArm,
    Copies,
    Epsilon,
    Estimate,
    Figures,
    OneRun,
    Target,
)
from knowledge_recycling.auditing.gate import Formal, Gate, decide, decide_scores
from knowledge_recycling.auditing.limits import Limit, Limits
from knowledge_recycling.errors import KRError

CHANNELS = ("student", "synthetic", "soft_labels")


def figures(high: float = 0.51, low: float = 0.49, rate: float = 0.02) -> Figures:
    return Figures(
        Estimate(0.5, low, high),
        {"0.01": Estimate(0.01, 0.005, rate), "0.001": None},
        protocol="shadows",
    )


AT_CHANCE = Estimate(0.5, 0.4, 0.6)


@dataclass(frozen=True)
class FakeShadows:
    powered: bool = True
    patients: int | None = None
    excess: float = 0.005
    least: float = -0.01
    canary: Estimate | None = AT_CHANCE
    primary: str = "shrunken_t"

    @property
    def copies(self) -> Copies:
        one = Estimate(0.0, self.least, self.excess)
        return Copies(one, one, one)

    @property
    def canaries(self) -> dict[str, CanaryArm] | None:
        if not self.canary:
            return None
        kinds = {"mislabelled": Estimate(0.5, 0.4, 0.6), "outlier": self.canary}
        one_run = OneRun(0.0, 1, 2, 3, 0.0)
        arm = CanaryArm({"shrunken_t": figures()}, kinds, one_run)
        return dict.fromkeys(CHANNELS, arm)


def targets(found: Figures | None = None, groups: Figures | None = None) -> dict[str, Target]:
    attacks = {"shrunken_t": found or figures()}
    return {c: Target(attacks, {"shrunken_t": groups} if groups else None) for c in CHANNELS}


LIMITS = Limits.load()


def test_within() -> None:
    gate = decide(LIMITS, targets(), FakeShadows())
    assert (gate.status, gate.exit_code) == ("within", 0)
    assert gate.sentence == "Within the limits: all 5 upper bounds that were asked for."
    assert all(row["within"] for row in gate.tree()["checks"])


def shut(gate: Gate, status: str, code: int, words: str) -> None:
    assert (gate.status, gate.exit_code) == (status, code)
    assert words in gate.sentence


def test_the_upper_bound_counts_and_not_the_lower() -> None:
    wide = decide(LIMITS, targets(figures(high=0.7)), FakeShadows())
    shut(
        wide,
        "too weak",
        4,
        "Audit too weak: no leak found, but not shown to lie within the limits: student, records, "
        "attack AUC: 0.490 to 0.700",
    )
    half = decide(LIMITS, targets(figures(low=0.51, high=0.7)), FakeShadows())
    shut(half, "outside", 3, "Leak found, not shown to lie within the limits: student, records")
    leak = decide(LIMITS, targets(figures(low=0.6, high=0.7)), FakeShadows())
    shut(leak, "outside", 3, "Leak found, outside the limits: student, records, attack AUC")


@pytest.mark.parametrize(
    ("shadows", "words"),
    [
        (FakeShadows(excess=0.02, least=0.005), "synthetic, copies"),
        (FakeShadows(canary=Estimate(0.91, 0.8, 0.97)), "canaries of the kind outlier"),
    ],
)
def test_every_part_can_shut_it(shadows: FakeShadows, words: str) -> None:
    shut(decide(LIMITS, targets(), shadows), "outside", 3, words)


def test_patients_are_judged_where_they_are_known() -> None:
    known = FakeShadows(patients=40)
    shut(decide(LIMITS, targets(), known), "too weak", 4, "not measured (student, patients, TPR")
    bad = decide(LIMITS, targets(groups=figures(rate=0.2)), known)
    shut(bad, "too weak", 4, "student, patients, TPR at 1% FPR: 0.005 to 0.200, limit 0.050")
    assert decide(LIMITS, targets(groups=figures()), known).status == "within"


def test_a_weak_audit_opens_nothing() -> None:
    shut(
        decide(LIMITS, targets(), FakeShadows(powered=False)), "too weak", 4, "leak of the Teacher"
    )
    shut(decide(LIMITS, targets(), FakeShadows(canary=None)), "too weak", 4, "canaries, attack AUC")
    shut(decide(LIMITS, {}, None), "not audited", 4, "no shadows were run")


def test_a_leak_that_a_weak_audit_found_is_still_a_leak() -> None:
    found = decide(LIMITS, targets(figures(low=0.6, high=0.9)), FakeShadows(powered=False))
    shut(found, "outside", 3, "Leak found")


def test_canaries_of_hard_labels_are_those_of_soft_labels() -> None:
    limits = Limits(channels=("hard_labels",), canaries=Limit(auc=0.75))
    gate = decide(limits, targets(), FakeShadows())
    assert {check.channel for check in gate.checks} == {"soft_labels"}
    assert gate.status == "within"


def test_a_formal_guarantee_opens_it_without_an_audit() -> None:
    gate = decide(LIMITS, {}, None, formal=Formal(2.0, 1e-6, "image"))
    assert gate.exit_code == 0
    assert gate.sentence == (
        "Formal guarantee within its limit: epsilon 2, delta 1e-06, per image."
    )
    per_image = decide(LIMITS, {}, None, formal=Formal(2.0, 1e-6, "image"), patients_known=True)
    assert per_image.exit_code == 4
    assert decide(LIMITS, {}, None, formal=Formal(9.0, 1e-6, "patient")).exit_code == 4
    assert decide(LIMITS, {}, None, formal=Formal(2.0, 1e-3, "patient")).exit_code == 4


def test_an_audit_that_contradicts_the_guarantee_shuts_it() -> None:
    epsilon = Epsilon(2.6, 2.4, None, 0.0, 1.0, 0.5, 0.01)
    found = replace(figures(), epsilon=epsilon)
    gate = decide(LIMITS, targets(found), FakeShadows(), formal=Formal(2.0, 1e-6, "patient"))
    shut(gate, "outside", 3, "Guarantee contradicted: formal epsilon 2, delta 1e-06, per patient")


def test_every_attack_of_a_file_of_scores_counts() -> None:
    fine, bad = figures(), figures(high=0.8)
    assert decide_scores(LIMITS, Audit({"threshold": fine})).exit_code == 0
    gate = decide_scores(LIMITS, Audit({"threshold": fine, "lira": bad}))
    shut(gate, "too weak", 4, "lira, records, attack AUC: 0.490 to 0.800")
    bad = figures(low=0.52, high=0.8)
    shut(decide_scores(LIMITS, Audit({"lira": bad})), "outside", 3, "lira, records, attack AUC")
    with pytest.raises(KRError, match="ask for nothing of records"):
        decide_scores(Limits(copies=0.1), Audit({"threshold": fine}))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("records: {tpr: 0.1}", "records.tpr: Extra inputs are not permitted"),
        ("records: {auc: 2}", "records.auc: Input should be less than or equal to 1"),
        ("channels: [student]", "asks for nothing"),
        ("a: [", "is no YAML file"),
        ("", "Input should be a valid dictionary"),
    ],
)
def test_a_bad_limits_file_is_named(text: str, words: str, tmp_path: Path) -> None:
    path = tmp_path / "limits.yaml"
    path.write_text(text)
    with pytest.raises(KRError, match=r"limits\.yaml: ") as error:
        Limits.load(path)
    assert words in str(error.value)


def test_the_default_limits_are_never_called_safe() -> None:
    text = (Path(__file__).parents[2] / "src/knowledge_recycling/auditing/limits.yaml").read_text()
    assert "safe" not in text.lower()
