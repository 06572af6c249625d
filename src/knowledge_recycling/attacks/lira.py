"""Likelihood-ratio attack (LiRA): Carlini et al., arXiv:2112.03570.

Of each record, Gaussians are fitted to the signals of the shadows that trained on it (IN) and of
those that did not (OUT); the target's signal is scored by their likelihood ratio.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import log_ndtr

from knowledge_recycling.arrays import Floats
from knowledge_recycling.attacks.leave_pair_out import Moments, as_signals, moments
from knowledge_recycling.errors import KRError
from knowledge_recycling.membership.members import Membership

PER_RECORD_FROM = 32
"""IN and OUT shadows from which a record's own variance is used."""
_LEAST_VARIANCE = 1e-12


def online(signals: ArrayLike, membership: Membership) -> Floats:
    """Log N(phi; mu_in, s_in^2) - log N(phi; mu_out, s_out^2), Algorithm 1.

    The variances are each record's own from 32 IN and 32 OUT shadows up. Below, they are pooled:
    the mean over records of the variance *within* a record, not the variance of all signals,
    which would hold the spread between easy and hard records too.

    Args:
        signals: (K, N), phi of record n under pipeline k (see `signals.logit_margin`).
        membership: which records trained which pipeline.

    Returns:
        (K, N) scores of each pipeline as the target, higher means member; 0 for a record that
        has no IN or no OUT shadow.

    Raises:
        KRError: shapes or values that do not fit, or too few shadows for a variance.
    """
    phi, member = as_signals(signals, membership), membership.mask
    inside, outside = moments(phi, member, membership), moments(phi, ~member, membership)
    many = np.minimum(inside.count, outside.count) >= PER_RECORD_FROM
    ratio = _log_normal(phi, inside, many) - _log_normal(phi, outside, many)
    return np.where((inside.count > 0) & (outside.count > 0), ratio, 0.0)


def offline(signals: ArrayLike, membership: Membership) -> Floats:
    """Log Phi((phi - mu_out) / s_out): one-sided, from the OUT shadows alone (section V-C).

    The logarithm keeps the order of Phi and keeps apart the most exposed records, whose Phi all
    rounds to 1. Variances, arguments and errors as in `online`.

    Returns:
        (K, N) scores, at most 0, higher means member; log 1/2 for a record with no OUT shadow.
    """
    phi = as_signals(signals, membership)
    outside = moments(phi, ~membership.mask, membership)
    distance = phi - outside.mean
    deviation = np.sqrt(_variance(outside, outside.count >= PER_RECORD_FROM))
    return np.asarray(log_ndtr(np.where(outside.count > 0, distance / deviation, 0.0)))


def _variance(shadows: Moments, per_record: NDArray[np.bool_]) -> Floats:
    """Each record's own variance where asked for, else the target's pooled one; (K, N)."""
    freedom = np.maximum(shadows.count - 1, 0.0)
    total = freedom.sum(axis=1, keepdims=True)
    if (total == 0).any():
        raise KRError("signals: too few shadows for a variance; run more pipelines (8 at least)")
    pooled = shadows.square.sum(axis=1, keepdims=True) / total
    own = shadows.square / np.maximum(freedom, 1.0)
    return np.maximum(np.where(per_record, own, pooled), _LEAST_VARIANCE)


def _log_normal(phi: Floats, shadows: Moments, per_record: NDArray[np.bool_]) -> Floats:
    """Log density without the constant, which cancels in the ratio."""
    variance = _variance(shadows, per_record)
    return np.asarray(-0.5 * ((phi - shadows.mean) ** 2 / variance + np.log(variance)))
