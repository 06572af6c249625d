r"""Exact accounting of Gaussian mechanisms: Gaussian differential privacy.

A release is mu-GDP when telling two neighbouring data sets apart from it is at least as hard as
telling N(0, 1) from N(mu, 1). Noise of standard deviation sensitivity / mu on a sum makes a
mu-GDP release (Dong, Roth and Su, arXiv:1905.02383, section 2). Releases compose exactly, also
where each is chosen by the results of those before it (section 3): mu^2 adds up. In
(epsilon, delta) (Balle and Wang, arXiv:1805.06530, theorem 8):

    delta(eps) = Phi(-eps / mu + mu / 2) - e^eps Phi(-eps / mu - mu / 2).

Epsilon is in nats. Both terms are computed as logarithms, so that neither a delta of 1e-300 nor
an epsilon of 1,000 loses digits that count.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

from scipy.optimize import brentq
from scipy.special import log_ndtr, ndtri_exp

from knowledge_recycling.errors import KRError

LEAST_EPSILON = 1e-3
"""Of `mu`: below, the difference of the two terms loses digits, and nothing useful is left."""
_MARGIN = 1e-11
"""Relative distance kept from a root, on the side that promises less."""
_NOTHING = -1e4
"""Stands for log 0: under the logarithm of every float64, and finite for the root finder."""


def delta(epsilon: float, mu: float) -> float:
    """The smallest delta for which a mu-GDP release is (epsilon, delta)-private.

    Args:
        epsilon: at least 0.
        mu: at least 0.

    Raises:
        KRError: an argument out of its range.

    Example:
        >>> round(delta(1.0, 1.0), 6)
        0.126937
    """
    _at_least_zero("epsilon", epsilon)
    _at_least_zero("mu", mu)
    return math.exp(_log_delta(epsilon, mu)) if mu > 0 else 0.0


def epsilon(delta: float, mu: float) -> float:
    """The smallest epsilon for which a mu-GDP release is (epsilon, delta)-private.

    Args:
        delta: between 0 and 1, both excluded.
        mu: at least 0; infinity gives infinity.

    Raises:
        KRError: an argument out of its range.

    Example:
        >>> round(epsilon(1e-5, 1.0), 4)
        4.3772
    """
    _probability(delta)
    if mu == math.inf:
        return math.inf
    _at_least_zero("mu", mu)
    target = math.log(delta)
    if mu == 0 or _log_delta(0.0, mu) <= target:
        return 0.0
    # Without its second term, delta(eps) is larger: its root is an upper bound.
    high = max(mu * mu / 2 - mu * float(ndtri_exp(target)), mu)
    while _log_delta(high, mu) > target:
        high *= 2
    root = brentq(lambda eps: _log_delta(eps, mu) - target, 0.0, high, xtol=1e-15, rtol=1e-14)
    return float(root) * (1 + _MARGIN)


def mu(epsilon: float, delta: float) -> float:
    """The largest mu whose releases are (epsilon, delta)-private; the inverse of `epsilon`.

    Args:
        epsilon: at least 0.001.
        delta: between 0 and 1, both excluded.

    Raises:
        KRError: an argument out of its range.

    Example:
        >>> round(mu(3.0, 1e-5), 4)
        0.7191
    """
    if not LEAST_EPSILON <= epsilon < math.inf:
        raise KRError(f"epsilon: {epsilon} is not a number of at least {LEAST_EPSILON}")
    _probability(delta)
    target = math.log(delta)
    low = high = 1.0
    while _log_delta(epsilon, low) > target:
        low /= 2
    while _log_delta(epsilon, high) < target:
        high *= 2
    root = brentq(lambda m: _log_delta(epsilon, m) - target, low, high, xtol=1e-15, rtol=1e-14)
    return float(root) * (1 - _MARGIN)


def compose(mus: Iterable[float]) -> float:
    """The mu of several releases on the same data: sqrt of the sum of mu^2.

    Args:
        mus: each at least 0; infinity stands for a release without a bound.

    Raises:
        KRError: a negative or NaN mu.

    Example:
        >>> compose([3.0, 4.0])
        5.0
    """
    values = list(mus)
    if not all(value >= 0 for value in values):
        raise KRError("mu: expected numbers of at least 0")
    return math.hypot(*values)


def sigma(sensitivity: float, mu: float, share: float = 1.0, releases: int = 1) -> float:
    """Noise of each of several equal releases that together spend a share of mu^2.

    sigma = sensitivity sqrt(releases / share) / mu: the releases compose to mu sqrt(share).

    Args:
        sensitivity: L2 distance that one unit can move the released sum.
        mu: of everything, above 0.
        share: of mu^2, in (0, 1].
        releases: at least 1.

    Returns:
        Standard deviation, in the units of `sensitivity`.

    Raises:
        KRError: an argument out of its range.

    Example:
        >>> sigma(1.0, mu=0.5, share=0.25, releases=4)
        8.0
    """
    if not (0 < sensitivity < math.inf and 0 < mu < math.inf and 0 < share <= 1 <= releases):
        raise KRError(
            "sigma: expected a sensitivity and a mu above 0, a share in (0, 1] and at least one "
            "release"
        )
    return sensitivity * math.sqrt(releases / share) / mu


def _log_delta(epsilon: float, mu: float) -> float:
    """Log of delta(epsilon) for mu > 0, or _NOTHING where it is 0 to machine precision."""
    first = float(log_ndtr(-epsilon / mu + mu / 2))
    second = epsilon + float(log_ndtr(-epsilon / mu - mu / 2))
    return first + math.log(-math.expm1(second - first)) if second < first else _NOTHING


def _at_least_zero(name: str, value: float) -> None:
    if not 0 <= value < math.inf:
        raise KRError(f"{name}: {value} is not a number of at least 0")


def _probability(delta: float) -> None:
    if not 0 < delta < 1:
        raise KRError(f"delta: {delta} is not between 0 and 1")
