"""How far to trust somebody's membership attack: intervals for their scores. Seconds, no torch."""

from __future__ import annotations

import numpy as np

import knowledge_recycling as kr
from knowledge_recycling.auditing.figures import Audit


def main(members: int = 1000, nonmembers: int = 1000) -> Audit:
    """Audits the scores of an attack that sees a little; higher must mean member."""
    rng = np.random.default_rng(0)
    member_scores = rng.normal(0.5, 1, members)  # the attack's score of each training record
    nonmember_scores = rng.normal(0, 1, nonmembers)  # and of each record that was held out

    # With several records per patient, give the patient of each record as well, as groups.
    found = kr.audit_scores(member_scores, nonmember_scores)
    for name, figures in found.attacks.items():
        auc, tpr = figures.auc, figures.tpr_at_fpr["0.01"]
        print(f"{name}: attack AUC {auc.value:.3f} ({auc.low:.3f} to {auc.high:.3f})")
        if tpr is not None:  # None where there are too few non-members
            print(f"{name}: TPR at 1% FPR {tpr.value:.3f} ({tpr.low:.3f} to {tpr.high:.3f})")
    print("These are lower bounds: another attack may see more.")
    return found


if __name__ == "__main__":
    main()
