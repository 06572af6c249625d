"""The auditor: arrays of scores or signals in, estimates with intervals out; no model, no images.

NumPy and SciPy alone, so that anybody's scores can be audited without torch.
"""

from knowledge_recycling.auditing.auditor import (
    ATTACKS,
    audit_pooled,
    audit_scores,
    audit_signals,
    audit_target,
    signal_scores,
)
from knowledge_recycling.auditing.figures import Audit, Figures
from knowledge_recycling.auditing.score_files import audit_file
from knowledge_recycling.membership.members import Membership

__all__ = [
    "ATTACKS",
    "Audit",
    "Figures",
    "Membership",
    "audit_file",
    "audit_pooled",
    "audit_scores",
    "audit_signals",
    "audit_target",
    "signal_scores",
]
