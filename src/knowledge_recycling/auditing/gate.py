"""The gate of a release: limits on what an audit found."""

from __future__ import annotations

import re
from collections.abc import Mapping

from knowledge_recycling.auditing.auditor import PRIMARY
from knowledge_recycling.auditing.figures import Audit, Figures, Target
from knowledge_recycling.errors import KRError
from knowledge_recycling.statistics.rates import LEAST_NONMEMBERS


def exceeds(targets: Mapping[str, Target], gate: str) -> bool:
    """Whether a release gate is shut: the Student's *lower* bound lies above the limit.

    Args:
        targets: of audit/result.json.
        gate: `tpr@1%=LIMIT`, `tpr@0.1%=LIMIT` or `auc=LIMIT`.

    Raises:
        KRError: the gate cannot be read, or no shadows were run.

    Example:
        >>> from knowledge_recycling.auditing.figures import Estimate, Figures
        >>> figures = Figures(Estimate(0.6, 0.55, 0.65), {})
        >>> exceeds({"student": Target({"shrunken_t": figures})}, "auc=0.5")
        True
        >>> exceeds({"student": Target({"shrunken_t": figures})}, "auc=0.57")
        False
    """
    parse(gate)
    figures = targets["student"].attacks.get(PRIMARY)
    if not figures:
        raise KRError("no gate without shadows: no shadows were run; run `kr shadows RUN` first")
    return _above(figures, gate)


def scores_exceed(audit: Audit, gate: str) -> bool:
    """The same for anybody's scores, or for the attack that conclusions on signals rest on.

    Args:
        audit: of `audit_scores` or `audit_signals`.
        gate: as in `exceeds`.

    Raises:
        KRError: the gate cannot be read, or its rate is left out.
    """
    parse(gate)
    (only, *_) = audit.attacks.values()
    return _above(audit.attacks.get(PRIMARY, only), gate)


def parse(gate: str) -> tuple[str, float]:
    """The figure that a gate limits, and the limit.

    Raises:
        KRError: the gate cannot be read.

    Example:
        >>> parse("tpr@1% = 0.03")
        ('tpr@1%', 0.03)
    """
    match = re.fullmatch(r"(auc|tpr@1%|tpr@0\.1%)=(0?\.\d+|[01](?:\.\d*)?)", gate.replace(" ", ""))
    if not match:
        raise KRError(f'{gate}: not a gate; expected "tpr@1%=0.03", "tpr@0.1%=..." or "auc=..."')
    return match[1], float(match[2])


def _above(figures: Figures, gate: str) -> bool:
    name, limit = parse(gate)
    fprs = {"tpr@1%": 0.01, "tpr@0.1%": 0.001}
    estimate = figures.auc if name == "auc" else figures.tpr_at_fpr[str(fprs[name])]
    if estimate is None:
        raise KRError(
            f"the TPR at {fprs[name]:.1%} FPR needs {LEAST_NONMEMBERS[fprs[name]]:,} non-member "
            "trials"
        )
    return estimate.low > limit
