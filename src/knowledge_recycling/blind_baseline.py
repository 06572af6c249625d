"""Control of an audit: members and non-members must look alike to who never saw the target."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import rankdata
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedGroupKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from knowledge_recycling.errors import KRError
from knowledge_recycling.resampling import group_codes
from knowledge_recycling.statistics import auc_estimate


def blind_baseline(
    features: ArrayLike,
    membership: ArrayLike,
    *,
    groups: ArrayLike | None = None,
    folds: int = 5,
    draws: int = 1000,
    seed: int = 0,
) -> dict[str, Any]:
    """The control: can a classifier that never saw the target tell members from non-members?

    Cross-validated logistic regression on the records alone (Das et al., arXiv:2406.16201). If
    it can, the split is not random, and an attack's success shows no leak.

    Args:
        features: (n, d), such as pixels or fixed features of the images.
        membership: (n,) bool.
        groups: (n,), the patient of each record, kept in one fold; None: each is its own.
        folds: of the cross-validation.
        draws: bootstrap draws.
        seed: of folds and draws.

    Returns:
        `auc` with `value`, `low` and `high`, and `passed`: whether 0.5 lies within.

    Raises:
        KRError: shapes that do not fit, or too few records (patients) of a side for the folds.
    """
    x, member = np.asarray(features, dtype=np.float64), np.asarray(membership, dtype=bool)
    if x.ndim != 2 or member.shape != x.shape[:1]:
        raise KRError(
            f"features and membership: expected (n, d) and (n,), got {x.shape} and {member.shape}"
        )
    unit = group_codes(groups, member.size, "groups")
    least = min(np.unique(unit[member == side]).size for side in (True, False))
    if least < folds:
        raise KRError(f"blind baseline: {least} members or non-members are too few; need {folds}")
    scores = np.empty(member.size)
    splitter = StratifiedGroupKFold(folds, shuffle=True, random_state=seed)
    for train, test in splitter.split(x, member, unit):
        model = make_pipeline(StandardScaler(), LogisticRegression(C=0.01, max_iter=200))
        values = model.fit(x[train], member[train]).decision_function(x[test])
        # Ranks within the fold: each fold's classifier has its own scale.
        scores[test] = rankdata(values) / test.size
    estimate = auc_estimate(
        scores[member],
        scores[~member],
        member_groups=unit[member],
        nonmember_groups=unit[~member],
        draws=draws,
        seed=seed,
    )
    return {"auc": estimate.as_dict(), "passed": estimate.low <= 0.5 <= estimate.high}
