"""Likelihood ratio for few shadows and small leaks: shrunken variances and shrunken shifts.

With K shadows a record's own shift d = mean_in - mean_out is known no better than
v = s_in^2 / n_in + s_out^2 / n_out, which hides a leak that is small but there for most records.
The records tell each other how large shifts are. With shift ~ N(delta, tau^2) over the records,
fitted by moments (DerSimonian and Laird 1986, Control. Clin. Trials 7:177), each is pulled towards
delta as far as its own evidence is weak:

    shift~ = delta + tau^2 / (tau^2 + v) (d - delta),     var = tau^2 v / (tau^2 + v).

For the same reason a record has one variance, shrunken as in `student_t.py`, on both sides, but
for one ratio of IN to OUT variance that all records share.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from knowledge_recycling.arrays import Floats
from knowledge_recycling.attacks.leave_pair_out import Moments, as_signals, moments
from knowledge_recycling.attacks.student_t import log_t, shrunken_variance
from knowledge_recycling.membership.members import Membership


def online(signals: ArrayLike, membership: Membership) -> Floats:
    """Log t under IN minus log t under OUT, the two centres a shrunken shift apart.

    Args:
        signals: (K, N), as in `student_t.online`.
        membership: likewise.

    Returns:
        (K, N) scores of each pipeline as the target, higher means member, standardised within
        each; a record that has no IN or no OUT shadow counts as undecided.

    Raises:
        KRError: shapes or values that do not fit, or too few shadows for a variance.
    """
    phi, member = as_signals(signals, membership), membership.mask
    inside, outside = moments(phi, member, membership), moments(phi, ~member, membership)
    scores = np.stack([_row(phi[k], inside.row(k), outside.row(k)) for k in range(len(phi))])
    return _standardised(scores)


def _standardised(scores: Floats) -> Floats:
    """Each target's scores with mean 0 and standard deviation 1, so that targets can be pooled.

    A target whose shadows show a larger shift by chance has the more widely spread scores, and
    shows a smaller one itself: pooled as they are, targets without a leak fall below AUC 0.5.
    """
    spread = scores.std(axis=1, keepdims=True)
    centred = scores - scores.mean(axis=1, keepdims=True)
    return np.asarray(centred / np.where(spread > 0, spread, 1.0))


def _row(phi: Floats, inside: Moments, outside: Moments) -> Floats:
    known = (inside.count > 0) & (outside.count > 0)
    freedom, variance = (values[known] for values in _variance(inside, outside))
    ratio = _ratio(inside, outside)
    # Evidence in the IN and in the OUT shadows on the record's centre, as 1 / variance.
    weight_in = inside.count[known] / (ratio * variance)
    weight_out = outside.count[known] / variance
    weight = weight_in + weight_out
    apart = (inside.mean - outside.mean)[known]
    shift, spread = _shrunken(apart, 1 / weight_in + 1 / weight_out)
    centre = (weight_in * inside.mean[known] + weight_out * outside.mean[known]) / weight
    near, far = weight_out / weight, weight_in / weight
    score = np.zeros_like(phi)
    score[known] = log_t(
        phi[known],
        freedom,
        centre + near * shift,
        ratio * variance + 1 / weight + near**2 * spread,
    ) - log_t(
        phi[known],
        freedom,
        centre - far * shift,
        variance + 1 / weight + far**2 * spread,
    )
    return score


def _ratio(inside: Moments, outside: Moments) -> float:
    """IN to OUT variance, pooled over the records; 1 where a side has none."""
    pooled = [
        side.square.sum() / max(np.maximum(side.count - 1, 0).sum(), 1.0)
        for side in (inside, outside)
    ]
    return float(pooled[0] / pooled[1]) if min(pooled) > 0 else 1.0


def _variance(inside: Moments, outside: Moments) -> tuple[Floats, Floats]:
    """Degrees of freedom and OUT variance of each record, from both sides."""
    d = np.maximum(inside.count - 1, 0) + np.maximum(outside.count - 1, 0)
    square = inside.square / _ratio(inside, outside) + outside.square
    return shrunken_variance(d, square)


def _shrunken(apart: Floats, noise: Floats) -> tuple[Floats, Floats]:
    """Posterior mean and variance of each record's shift, from d and its variance v."""
    weight = 1 / noise
    mean = np.average(apart, weights=weight)
    excess = (weight * (apart - mean) ** 2).sum() - (apart.size - 1)
    scale = weight.sum() - (weight**2).sum() / weight.sum()
    tau2 = max(0.0, excess / scale) if scale > 0 else 0.0
    delta = np.average(apart, weights=1 / (noise + tau2))
    share = tau2 / (tau2 + noise)
    return delta + share * (apart - delta), share * noise
