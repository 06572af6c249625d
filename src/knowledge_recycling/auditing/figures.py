"""What an audit finds, as types; `dataclasses.asdict` gives their shape in JSON."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from knowledge_recycling.statistics.binomial import Power
from knowledge_recycling.statistics.epsilon import Epsilon, OneRun
from knowledge_recycling.statistics.estimate import Estimate

__all__ = [
    "Audit",
    "CanaryArm",
    "Control",
    "Copies",
    "Epsilon",
    "Estimate",
    "Figures",
    "OneRun",
    "Power",
    "Single",
    "Target",
]


@dataclass(frozen=True)
class Figures:
    """What one attack found.

    Attributes:
        auc: area under the ROC curve; 0.5 is chance.
        tpr_at_fpr: true-positive rate at the false-positive rates "0.01" and "0.001"; None where
            there are too few non-members to place the threshold.
        epsilon: empirical lower bound; None where it was not asked for.
        aop: accuracy over privacy; only of the paper's protocol.
        protocol: `paper` or `shadows` in a run's audit; None for anybody's scores.
    """

    auc: Estimate
    tpr_at_fpr: dict[str, Estimate | None]
    epsilon: Epsilon | None = None
    aop: float | None = None
    protocol: Literal["paper", "shadows"] | None = None


@dataclass(frozen=True)
class Audit:
    """Figures of each attack by its name.

    Attributes:
        attacks: over records.
        groups: the same for whole patients; None where patients are not known.
        notes: what a reader must know of these figures, in plain words.
    """

    attacks: dict[str, Figures]
    groups: dict[str, Figures] | None = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Single:
    """One target at a threshold fixed on its shadows."""

    tpr: Estimate
    fpr: Estimate


@dataclass(frozen=True)
class Target(Audit):
    """What was found of one release channel of a run.

    Attributes:
        single: of the primary attack; None without shadows.
        aop: of the strongest attack of the paper's protocol; None for other channels.
        strongest: that attack's name.
    """

    single: Single | None = None
    aop: float | None = None
    strongest: str | None = None


@dataclass(frozen=True)
class Control:
    """Blind baseline: its AUC with a 99% interval, and whether 0.5 lies within."""

    auc: Estimate
    passed: bool


@dataclass(frozen=True)
class CanaryArm:
    """What was found of the canaries in one release channel.

    Attributes:
        attacks: figures over all canaries.
        kinds: the primary attack's AUC by kind of canary.
        one_run: epsilon that the first pipeline's guesses allow.
    """

    attacks: dict[str, Figures]
    kinds: dict[str, Estimate]
    one_run: OneRun


@dataclass(frozen=True)
class Copies:
    """Shares of records with a synthetic image nearer than any record of the other side."""

    members: Estimate
    nonmembers: Estimate
    excess: Estimate
    """`members` less `nonmembers`."""
