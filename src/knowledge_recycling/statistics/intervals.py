"""Intervals from a variance: of an AUC on the logit, of a rate at an estimated threshold."""

from __future__ import annotations

import math

from scipy.special import expit, logit, stdtrit

from knowledge_recycling.statistics.estimate import ALPHA, LEAST_UNITS, Estimate


def logit_interval(value: float, variance: float, units: int) -> Estimate:
    """expit(logit(A) -+ t sqrt(V) / (A (1 - A))), with Student's t of `units` - 1.

    On the logit the interval stays within 0 and 1 and is skewed as an AUC is (Pepe 2003, The
    Statistical Evaluation of Medical Tests, section 5.2). At 0 and 1 the variance is 0, which is
    not certainty: there the exact binomial end for `units` independent pairs stands in.

    Args:
        value: A, in [0, 1].
        variance: V, of A.
        units: independent records, or patients, of the smaller side; fewer than `LEAST_UNITS` say
            nothing.

    Example:
        >>> found = logit_interval(0.9, 0.03**2, 100)
        >>> round(found.low, 3), round(found.high, 3)
        (0.823, 0.946)
    """
    if units < LEAST_UNITS:
        return Estimate(value, 0.0, 1.0)
    edge = (ALPHA / 2) ** (1 / units)
    if not 0 < value < 1:
        return Estimate(value, edge if value else 0.0, 1.0 if value else 1 - edge)
    half = stdtrit(units - 1, 1 - ALPHA / 2) * math.sqrt(variance) / (value * (1 - value))
    return Estimate(value, float(expit(logit(value) - half)), float(expit(logit(value) + half)))


def combined(own: Estimate, through: Estimate, correlation: float) -> Estimate:
    """Interval of a rate above a threshold that is itself estimated.

    The distances of the ends add up as standard errors do, on each side apart (Zou and Donner 2008,
    Statistics in Medicine 27:1693):

        high = p + sqrt(a^2 + b^2 - 2 r a b),  a = own.high - p,  b = through.high - p.

    Args:
        own: the rate p and its interval with the threshold as it is.
        through: the rate, and what it is at the two ends of the threshold's interval.
        correlation: r, of the members' and the non-members' share above the threshold. A record
            that is above it as a member and as a non-member moves the threshold too.

    Example:
        >>> combined(Estimate(0.5, 0.46, 0.54), Estimate(0.5, 0.47, 0.53), 0.0).high
        0.55
    """
    p = own.value
    low, high = (
        math.sqrt(max(a * a + b * b - 2 * correlation * a * b, 0.0))
        for a, b in ((p - own.low, p - through.low), (own.high - p, through.high - p))
    )
    return Estimate(p, max(0.0, p - low), min(1.0, p + high))
