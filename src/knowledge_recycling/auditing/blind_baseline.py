"""Control of an audit: members and non-members must look alike to who never saw the target."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import rankdata
from sklearn.model_selection import GroupKFold
from sklearn.preprocessing import StandardScaler

from knowledge_recycling.arrays import Bools, Floats
from knowledge_recycling.auditing.figures import Control
from knowledge_recycling.errors import KRError
from knowledge_recycling.membership.members import Membership
from knowledge_recycling.statistics.estimate import Estimate, group_codes

LEVEL = 0.99
"""Of the control: at 95%, one sound audit in twenty would be thrown away."""


def blind_baseline(
    features: ArrayLike,
    membership: Membership,
    *,
    strata: ArrayLike | None = None,
    folds: int = 5,
    draws: int = 1000,
    seed: int = 0,
) -> Control:
    """The control: can a classifier that never saw the target tell members from non-members?

    Cross-validated ridge regression on the records alone (Das et al., arXiv:2406.16201). If it
    can, the split is not random, and an attack's success shows no leak. What it scores by chance
    is measured: membership is drawn anew, in the same way, `draws` times. A bootstrap over the
    records would not do, for the folds' classifiers depend on the membership too.

    Args:
        features: (n, d), such as pixels or fixed features of the images.
        membership: halves of the n records, of which one of each pair is looked at: its
            complement is the same split. Patients are kept in one fold.
        strata: (n,), such as classes, within which the halves were drawn; None: no strata.
        folds: of the cross-validation.
        draws: of the membership.
        seed: of folds and draws.

    Returns:
        The AUC: its value is the mean over the halves less the bias that chance shows, its ends
        are the value less the middle 99% of chance.

    Raises:
        KRError: shapes that do not fit, or too few records (patients) of a side for the folds.
    """
    x = np.asarray(features, dtype=np.float64)
    member, unit = membership.mask[membership.one_of_each_pair], membership.cluster
    if x.ndim != 2 or member.shape[1:] != x.shape[:1]:
        raise KRError(
            f"features and membership: expected (n, d) and (n,), got {x.shape} and "
            f"{member.shape[1:]}"
        )
    least = min(np.unique(unit[row == side]).size for row in member for side in (True, False))
    if least < folds:
        raise KRError(f"blind baseline: {least} members or non-members are too few; need {folds}")
    rng = np.random.default_rng(seed)
    stratum = np.zeros(len(x), np.intp) if strata is None else group_codes(strata, len(x), "strata")
    by_chance = _redrawn(unit, stratum, draws, rng)
    areas = _areas(x, np.concatenate([member, by_chance]), unit, folds, seed)
    chance = rng.choice(areas[len(member) :], (draws, len(member))).mean(axis=1)
    # Of balanced halves, what a fold lacks the others have more of: chance lies under 0.5.
    bias = chance.mean() - 0.5
    value = float(areas[: len(member)].mean() - bias)
    below, above = np.quantile(chance - chance.mean(), [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    low, high = float(value - above), float(value - below)
    return Control(Estimate(value, low, high), passed=low <= 0.5 <= high)


def _redrawn(
    unit: NDArray[np.intp], stratum: NDArray[np.intp], draws: int, rng: np.random.Generator
) -> Bools:
    """(draws, n) halves of the units of each stratum; a unit's is its records' commonest."""
    votes = np.zeros((unit.max() + 1, stratum.max() + 1), dtype=np.intp)
    np.add.at(votes, (unit, stratum), 1)
    of_unit = votes.argmax(axis=1)
    inside = np.zeros((draws, len(of_unit)), dtype=bool)
    for y in np.unique(of_unit):
        places = np.flatnonzero(of_unit == y)
        order = rng.random((draws, len(places))).argsort(axis=1)
        extra = rng.integers(2, size=(draws, 1))
        inside[:, places] = order < (len(places) + extra) // 2
    return inside[:, unit]


def _areas(x: Floats, member: Bools, unit: NDArray[np.intp], folds: int, seed: int) -> Floats:
    """Cross-validated AUC of each row of membership; the features are factorised once a fold."""
    wanted = member.T.astype(np.float64)
    scores = np.empty_like(wanted)
    for train, test in GroupKFold(folds, shuffle=True, random_state=seed).split(x, groups=unit):
        scaler = StandardScaler().fit(x[train])
        seen, held = scaler.transform(x[train]), scaler.transform(x[test])
        gram = seen.T @ seen + len(train) * np.eye(x.shape[1])
        centred = wanted[train] - wanted[train].mean(axis=0)
        values = held @ np.linalg.solve(gram, seen.T @ centred)
        # Ranks within the fold: each fold's classifier has its own scale.
        scores[test] = rankdata(values, axis=0) / test.size
    ranks = rankdata(scores, axis=0)
    inside = wanted.sum(axis=0)
    total = (ranks * wanted).sum(axis=0) - inside * (inside + 1) / 2
    return np.asarray(total / (inside * (len(x) - inside)))
