"""Likelihood ratio for few shadows: shrunken variances and Student's t.

With 8 to 32 shadows a record's own variance is too noisy and the pooled one too rough. The
empirical-Bayes variance of Smyth (2004, Stat. Appl. Genet. Mol. Biol. 3:3, section 6.2) lies
between them, as far towards the pooled one as the records resemble each other:

    s~^2 = (d0 s0^2 + d s^2) / (d0 + d),
    score = log t_{d0 + d}(phi; mu, s~^2 (1 + 1/n)), IN minus OUT.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import digamma, poch, polygamma

from knowledge_recycling.arrays import Floats
from knowledge_recycling.attacks.leave_pair_out import Moments, as_signals, moments
from knowledge_recycling.errors import KRError
from knowledge_recycling.membership.members import Membership


def online(signals: ArrayLike, membership: Membership) -> Floats:
    """Log t of the IN shadows minus log t of the OUT shadows.

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
    ratio = _log_t(phi, inside) - _log_t(phi, outside)
    return np.where((inside.count > 0) & (outside.count > 0), ratio, 0.0)


def prior(variances: ArrayLike, freedom: ArrayLike) -> tuple[float, float]:
    """Fits s^2 ~ s0^2 F(d, d0) to many variances by the moments of log s^2.

    Args:
        variances: (G,) sample variances; those under 1e-5 of the median count as that.
        freedom: (G,) degrees of freedom d of each, at least 1.

    Returns:
        (d0, s0^2); d0 is infinite, and s0^2 the pooled variance, where the variances differ no
        more than chance explains.

    Raises:
        KRError: fewer than 2 variances.
    """
    s2, d = np.asarray(variances, dtype=np.float64), np.asarray(freedom, dtype=np.float64)
    if s2.size < 2:
        raise KRError("signals: too few records or shadows for a variance; run more pipelines")
    s2 = np.maximum(s2, max(1e-5 * float(np.median(s2)), 1e-12))
    # d repeats a few whole numbers, and digamma is the slow part.
    half, where = np.unique(d / 2, return_inverse=True)
    centred = np.log(s2) - (digamma(half) - np.log(half))[where]
    excess = centred.var(ddof=1) - polygamma(1, half)[where].mean()
    if excess <= 0:
        return np.inf, float((d * s2).sum() / d.sum())
    d0 = 2 * inverse_trigamma(float(excess))
    return d0, float(np.exp(centred.mean() + digamma(d0 / 2) - np.log(d0 / 2)))


def inverse_trigamma(y: float) -> float:
    """Solves trigamma(x) = y for y > 0 by Newton's method on 1 / trigamma (Smyth 2004, appendix).

    Example:
        >>> round(inverse_trigamma(float(polygamma(1, 3.0))), 9)
        3.0
    """
    if y > 1e7:
        return float(y**-0.5)
    if y < 1e-6:
        return 1 / y
    x = 0.5 + 1 / y
    for _ in range(50):
        value = float(polygamma(1, x))
        step = value * (1 - value / y) / float(polygamma(2, x))
        x += step
        if abs(step) < 1e-12 * x:
            break
    return x


def shrunken_variance(freedom: Floats, square: Floats) -> tuple[Floats, Floats]:
    """Degrees of freedom d0 + d and variances s~^2 of one target's records.

    Args:
        freedom: (N,) degrees of freedom d, 0 or more.
        square: (N,) sums of squared distances from the mean, d s^2.

    Returns:
        (N,) and (N,); the first infinite and the second the pooled variance where the records'
        variances differ no more than chance explains.
    """
    some = freedom > 0
    d0, s02 = prior(square[some] / freedom[some], freedom[some])
    # Infinite d0 would make inf / inf of the weighted mean; its limit is s0^2.
    if np.isinf(d0):
        return np.full_like(freedom, np.inf), np.full_like(freedom, s02)
    return d0 + freedom, (d0 * s02 + square) / (d0 + freedom)


def log_t(phi: Floats, freedom: Floats, centre: Floats, variance: Floats) -> Floats:
    """Log density of Student's t, of the Gaussian where the degrees of freedom are infinite.

    log G((v + 1) / 2) / G(v / 2) - (v + 1) / 2 log(1 + x^2 / v) - log(v pi s^2) / 2.
    """
    square = (phi - centre) ** 2 / variance
    if np.isinf(freedom).any():
        return -(square + np.log(2 * np.pi * variance)) / 2
    height = np.log(poch(freedom / 2, 0.5)) - np.log(np.pi * freedom * variance) / 2
    return np.asarray(height - (freedom + 1) / 2 * np.log1p(square / freedom))


def _log_t(phi: Floats, shadows: Moments) -> Floats:
    """Log t density of each target's signals under its shadows; (K, N)."""
    return np.stack([_log_t_row(phi[k], shadows.row(k)) for k in range(len(phi))])


def _log_t_row(phi: Floats, shadows: Moments) -> Floats:
    freedom, variance = shrunken_variance(np.maximum(shadows.count - 1, 0.0), shadows.square)
    return log_t(phi, freedom, shadows.mean, variance * (1 + 1 / np.maximum(shadows.count, 1.0)))
