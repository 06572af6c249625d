"""Gaussian noise for differential privacy: from the operating system's entropy, never from a seed.

Who can derive the noise can subtract it, so there is no seed, no state, and nothing is stored.

Floating point. Added naively, the set of float64 values that `value + noise` can reach depends
on `value`, and its lowest bits can give it away (Mironov 2012, doi:10.1145/2382196.2382264). Two
things are done about it:

- Noise and sum are both rounded to one grid, a power of two that depends on the scale alone (see
  `grid`; `mechanisms.gaussian_mechanism` rounds the sum). Their addition is then exact, so every
  release can reach the same values. Rounding the noise is post-processing; rounding the sum adds
  at most one grid step per coordinate to the sensitivity, which the mechanism accounts for.
- A normal is the sum of four independent ones divided by two, as in Holohan and Braghin
  (arXiv:2107.10138): the inexactness of one draw's tail and of its inverse CDF is blurred by
  the others, so that there are no holes between the grid's values.

What this does not give: a proof that the result is a rounded Gaussian to the last bit. The only
exact samplers known, such as the discrete Gaussian of Canonne, Kamath and Steinke
(arXiv:2004.00010), are far slower. Time and memory traffic are not hidden either.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable

import numpy as np
from scipy.special import ndtri

from knowledge_recycling.arrays import Floats
from knowledge_recycling.errors import KRError

NoiseSource = Callable[[tuple[int, ...], float], Floats]
"""Noise of a shape and a standard deviation, in multiples of `grid(scale)`. Tests pass a stub."""

GRID_BITS = 30
"""A standard deviation is between 2^30 and 2^31 grid steps."""
DRAWS = 4


def grid(scale: float) -> float:
    """Spacing of the values that noise of this scale takes: a power of two near 2^-30 scale.

    Args:
        scale: standard deviation, between 1e-100 and 1e100.

    Raises:
        KRError: a scale outside that range.

    Example:
        >>> grid(1.0) == grid(1.9) == 2.0**-30
        True
    """
    if not 1e-100 <= scale <= 1e100:
        raise KRError(f"scale: {scale} is not a standard deviation between 1e-100 and 1e100")
    return math.ldexp(1.0, math.frexp(scale)[1] - 1 - GRID_BITS)


def gaussian(shape: tuple[int, ...], scale: float) -> Floats:
    """Independent N(0, scale^2), rounded to `grid(scale)`; no two calls are related.

    Args:
        shape: of the result.
        scale: standard deviation, between 1e-100 and 1e100.

    Raises:
        KRError: a scale outside that range.
    """
    step = grid(scale)
    total = _standard_normal((DRAWS, *shape)).sum(axis=0)
    return np.rint(total * (scale / step / math.sqrt(DRAWS))) * step


def _standard_normal(shape: tuple[int, ...]) -> Floats:
    """N(0, 1) by the inverse CDF at 63 random bits and a random sign.

    The lower half of the CDF alone is inverted, where float64 is dense near 0: the tail reaches
    9.1 standard deviations, where a uniform number in (0, 1) would end at 8.2.
    """
    size = math.prod(shape)
    bits = np.frombuffer(os.urandom(8 * size), dtype=np.uint64)
    lower = ndtri(((bits >> np.uint64(1)) + 0.5) * 2.0**-64)
    return np.where(bits & np.uint64(1), lower, -lower).reshape(shape)
