"""The gate of a release: limits on what an audit found."""

from __future__ import annotations

import re
from collections.abc import Mapping

from knowledge_recycling.auditing.figures import Target
from knowledge_recycling.auditing.verdict import PRIMARY
from knowledge_recycling.errors import KRError


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
    match = re.fullmatch(r"(auc|tpr@1%|tpr@0\.1%)=(0?\.\d+|[01](?:\.\d*)?)", gate.replace(" ", ""))
    if not match:
        raise KRError(f'{gate}: not a gate; expected "tpr@1%=0.03", "tpr@0.1%=..." or "auc=..."')
    figures = targets["student"].attacks.get(PRIMARY)
    if not figures:
        raise KRError("no gate without shadows: no shadows were run; run `kr shadows RUN` first")
    name, limit = match[1], float(match[2])
    rates = {"tpr@1%": "0.01", "tpr@0.1%": "0.001"}
    estimate = figures.auc if name == "auc" else figures.tpr_at_fpr[rates[name]]
    if estimate is None:
        raise KRError("the TPR at 0.1% FPR needs 10,000 non-member trials")
    return estimate.low > limit
