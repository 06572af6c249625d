"""The gate of a release: opens only where upper bounds, or a formal guarantee, lie within limits.

An audit that could not have seen a leak opens nothing: with fewer shadows the upper bounds rise,
and without the positive control (the Teacher, whose leak must be seen) they mean nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal, Protocol

from knowledge_recycling.auditing.figures import (
    Audit,
    CanaryArm,
    Copies,
    Estimate,
    Figures,
    Target,
)
from knowledge_recycling.auditing.limits import FormalLimit, Limit, Limits
from knowledge_recycling.errors import KRError

EXIT = {"within": 0, "outside": 3, "not audited": 4, "too weak": 4}
"""Exit status of `kr gate`."""
STAND_IN = {name: "soft_labels" for name in ("hard_labels", "tempered_labels", "rounded_labels")}
"""Channels without a canary arm -> the channel that they are made from, judged in their place."""
Status = Literal["within", "outside", "not audited", "too weak"]
CHANCE = Limit(tpr_at_1_fpr=0.01, auc=0.5)
"""What guessing reaches."""


class Shadows(Protocol):
    """What the gate reads of `results.ShadowAudit`."""

    @property
    def primary(self) -> str: ...  # noqa: D102
    @property
    def powered(self) -> bool: ...  # noqa: D102
    @property
    def patients(self) -> int | None: ...  # noqa: D102
    @property
    def copies(self) -> Copies: ...  # noqa: D102
    @property
    def canaries(self) -> dict[str, CanaryArm] | None: ...  # noqa: D102


@dataclass(frozen=True)
class Formal:
    """A formal guarantee of what is handed out: (epsilon, delta) per unit."""

    epsilon: float
    delta: float
    unit: Literal["patient", "image"]


@dataclass(frozen=True)
class Check:
    """One figure beside its limit; `found` is None where it was not measured."""

    channel: str
    what: str
    limit: float
    found: Estimate | None

    @property
    def within(self) -> bool:
        """Whether the upper bound lies within the limit."""
        return self.found is not None and self.found.high <= self.limit

    @property
    def leaks(self) -> bool:
        """Whether even the lower bound lies above the limit."""
        return self.found is not None and self.found.low > self.limit


@dataclass(frozen=True)
class Gate:
    """The decision, in one sentence, with what it was made from."""

    status: Status
    sentence: str
    checks: tuple[Check, ...] = ()
    formal: Formal | None = None
    found: tuple[Check, ...] = ()
    """Figures whose lower bound lies above what guessing reaches, whatever the limits ask for."""
    by_formal: bool = False
    """Whether the formal guarantee decided, and not the audit."""

    @property
    def exit_code(self) -> int:
        """0 within limits, 3 outside, 4 not audited or too weak."""
        return EXIT[self.status]

    def tree(self) -> dict[str, Any]:
        """Plain values for JSON."""
        checks = [asdict(check) | {"within": check.within} for check in self.checks]
        return asdict(self) | {"checks": checks, "exit_code": self.exit_code}


def decide(
    limits: Limits,
    targets: Mapping[str, Target],
    shadows: Shadows | None,
    *,
    formal: Formal | None = None,
    patients_known: bool = False,
) -> Gate:
    """Whether what is handed out lies within the limits.

    Args:
        limits: see `Limits`.
        targets: of audit/result.json; empty where no audit exists.
        shadows: of audit/result.json; None without shadows.
        formal: the guarantee of the run; None where it has none.
        patients_known: whether it is known which images are of one patient.

    Returns:
        `within` where a formal guarantee lies within its limit and the audit does not contradict
        it, or where a powered audit has all upper bounds within limits.
    """
    checks = tuple(_checks(limits, targets, shadows, patients_known)) if shadows else ()
    found = _found(limits, targets, shadows, patients_known) if shadows else ()
    if formal and limits.formal and _formal_within(limits.formal, formal, patients_known):
        status, sentence = _formal(formal, _strongest_epsilon(limits, targets, shadows))
        return Gate(status, sentence, checks, formal, found, by_formal=True)
    if not shadows:
        sentence = "Not audited: no shadows were run, and no formal guarantee lies within limits."
        return Gate("not audited", sentence, (), formal)
    return Gate(*_of_audit(checks, found, shadows), checks, formal, found)


def decide_scores(limits: Limits, audit: Audit) -> Gate:
    """The same for anybody's attack scores: every attack within the limits on records, patients.

    A file of scores has no positive control: that its attacks had power is for its maker to show.

    Args:
        limits: `canaries`, `copies` and `formal` are not looked at.
        audit: figures by attack.

    Raises:
        KRError: the limits ask for nothing that a file of scores can have.
    """
    checks = tuple(_of_scores(limits, audit))
    if not checks:
        raise KRError("the limits ask for nothing of records, which is all that scores can show")
    chance = Limits(records=CHANCE, patients=CHANCE)
    found = tuple(check for check in _of_scores(chance, audit) if check.leaks)
    return Gate(*_of_checks(checks, found), checks, found=found)


def _of_scores(limits: Limits, audit: Audit) -> Iterator[Check]:
    for who, limit, attacks in (
        ("records", limits.records, audit.attacks),
        ("patients", limits.patients, audit.groups or {}),
    ):
        for name, figures in attacks.items():
            yield from _compare(name, who, limit, figures)


def _of_audit(
    checks: tuple[Check, ...], found: tuple[Check, ...], shadows: Shadows
) -> tuple[Status, str]:
    leaks = [check for check in checks if check.leaks]
    if not leaks and not shadows.powered:
        return "too weak", (
            "Audit too weak: it does not find the leak of the Teacher, or its control failed, so "
            "that its upper bounds mean nothing; run more shadows."
        )
    return _of_checks(checks, found)


def _of_checks(checks: tuple[Check, ...], found: tuple[Check, ...]) -> tuple[Status, str]:
    leaks = [check for check in checks if check.leaks]
    if leaks:
        return "outside", f"Leak found, outside the limits: {_words(leaks)}."
    missing = [check for check in checks if check.found is None]
    if missing or not checks:
        names = "; ".join(f"{c.channel}, {c.what}" for c in missing) or "any limit"
        return "too weak", f"Audit too weak: the limits ask for what was not measured ({names})."
    wide = [check for check in checks if not check.within]
    if wide and found:
        return "outside", f"Leak found, not shown to lie within the limits: {_words(wide)}."
    if wide:
        return "too weak", (
            f"Audit too weak: no leak found, but not shown to lie within the limits: "
            f"{_words(wide)}. More shadows narrow the intervals."
        )
    return "within", f"Within the limits: all {len(checks)} upper bounds that were asked for."


def _found(
    limits: Limits, targets: Mapping[str, Target], shadows: Shadows, patients_known: bool
) -> tuple[Check, ...]:
    """Every leak that was found in what is handed out, also where no limit asks for it."""
    chance = Limits(
        channels=limits.channels, records=CHANCE, patients=CHANCE, canaries=CHANCE, copies=0
    )
    return tuple(c for c in _checks(chance, targets, shadows, patients_known) if c.leaks)


def _checks(
    limits: Limits, targets: Mapping[str, Target], shadows: Shadows, patients_known: bool
) -> Iterator[Check]:
    for channel in limits.channels:
        target = targets.get(channel, Target({}))
        primary = shadows.primary
        yield from _compare(channel, "records", limits.records, target.attacks.get(primary))
        if patients_known or shadows.patients is not None:
            figures = (target.groups or {}).get(primary)
            yield from _compare(channel, "patients", limits.patients, figures)
        if limits.canaries:
            yield from _canaries(channel, limits.canaries, shadows)
    if limits.copies is not None:
        yield Check("synthetic", "copies", limits.copies, shadows.copies.excess)


def _compare(
    channel: str, who: str, limit: Limit | None, figures: Figures | None
) -> Iterator[Check]:
    if limit and limit.tpr_at_1_fpr is not None:
        rate = figures.tpr_at_fpr.get("0.01") if figures else None
        yield Check(channel, f"{who}, TPR at 1% FPR", limit.tpr_at_1_fpr, rate)
    if limit and limit.auc is not None:
        yield Check(channel, f"{who}, attack AUC", limit.auc, figures.auc if figures else None)


def _canaries(channel: str, limit: Limit, shadows: Shadows) -> Iterator[Check]:
    arms = shadows.canaries or {}
    judged = channel if channel in arms else STAND_IN.get(channel, channel)
    arm = arms.get(judged)
    if limit.tpr_at_1_fpr is not None:
        figures = arm.attacks.get(shadows.primary) if arm else None
        yield from _compare(judged, "canaries", Limit(tpr_at_1_fpr=limit.tpr_at_1_fpr), figures)
    if limit.auc is None:
        return
    if not arm:
        yield Check(judged, "canaries, attack AUC", limit.auc, None)
        return
    for kind, found in arm.kinds.items():
        yield Check(judged, f"canaries of the kind {kind}, attack AUC", limit.auc, found)


def _formal_within(limit: FormalLimit, formal: Formal, patients_known: bool) -> bool:
    if patients_known and limit.unit == "patient" and formal.unit == "image":
        return False
    return formal.epsilon <= limit.epsilon and formal.delta <= limit.delta


def _strongest_epsilon(
    limits: Limits, targets: Mapping[str, Target], shadows: Shadows | None
) -> float:
    """The largest lower bound on epsilon that the audit found in what is handed out."""
    figures = [
        attack.epsilon.low
        for channel in limits.channels
        for attack in targets.get(channel, Target({})).attacks.values()
        if shadows and attack.protocol != "paper" and attack.epsilon
    ]
    return max(figures, default=0.0)


def _formal(formal: Formal, empirical: float) -> tuple[Status, str]:
    claim = f"epsilon {formal.epsilon:.3g}, delta {formal.delta:.3g}, per {formal.unit}"
    if empirical > formal.epsilon:
        return (
            "outside",
            f"Guarantee contradicted: formal {claim}; the audit found {empirical:.3g}.",
        )
    return "within", f"Formal guarantee within its limit: {claim}."


def _words(checks: list[Check]) -> str:
    return "; ".join(
        f"{c.channel}, {c.what}: {c.found.low:.3f} to {c.found.high:.3f}, limit {c.limit:.3f}"
        for c in checks
        if c.found
    )
