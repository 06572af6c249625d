"""Gaussian mechanisms: a clipped sum plus noise; each returns the released value and nothing else.

Each release is mu-GDP for the unit that it was clipped for (see `accountant`); what is computed
from it costs nothing more (post-processing). What mu a mechanism may spend comes from a `Budget`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
from numpy.typing import ArrayLike

from knowledge_recycling.arrays import Floats
from knowledge_recycling.errors import KRError
from knowledge_recycling.privacy.clipping import Units, clipped_outer_sum, clipped_rows, clipped_sum
from knowledge_recycling.privacy.noise import GRID_BITS, NoiseSource, grid

SLACK = 2.0**-20
"""Share of the sensitivity added for the rounding of float64 sums (see docs/private.md)."""
COUNT_COLUMN = 0.25
"""What each image adds to the count beside a mean, as a share of the clip."""


class Budget:
    """Frozen shares of one mu^2, each spent once, by name.

    Args:
        mu: of everything together, above 0.
        shares: of mu^2 by name, each above 0, adding up to at most 1.

    Raises:
        KRError: a mu or shares out of their range.

    Example:
        >>> budget = Budget(0.5, {"mean": 0.36, "head": 0.64})
        >>> budget.spend("mean"), budget.spend("head", releases=4)
        (0.3, 0.2)
    """

    def __init__(self, mu: float, shares: Mapping[str, float]) -> None:
        if not 0 < mu < math.inf:
            raise KRError(f"mu: {mu} is not a number above 0")
        if not all(share > 0 for share in shares.values()):
            raise KRError("shares: expected numbers above 0")
        if not math.fsum(shares.values()) <= 1 + 1e-12:
            raise KRError(f"shares: they add up to {math.fsum(shares.values()):g}, which is over 1")
        self.mu = mu
        self._shares = dict(shares)
        self._spent: set[str] = set()

    def spend(self, name: str, releases: int = 1) -> float:
        """Takes a share and returns the mu of each of its releases: mu sqrt(share / releases).

        Args:
            name: of the share.
            releases: equal releases that the share is divided among, at least 1.

        Raises:
            KRError: no such share, a share that was spent already, or no release.
        """
        if name not in self._shares:
            raise KRError(f"budget: no share named {name!r}; there are {', '.join(self._shares)}")
        if name in self._spent:
            raise KRError(f"budget: the share {name!r} is spent already")
        if releases < 1:
            raise KRError(f"releases: {releases} is under 1")
        self._spent.add(name)
        return self.mu * math.sqrt(self._shares[name] / releases)


def noise_scale(sensitivity: float, mu: float, size: int) -> float:
    """Standard deviation that makes a rounded float64 sum mu-GDP.

    scale = (sensitivity (1 + SLACK) + step sqrt(size)) / mu, where step, the grid of the noise, is
    at most 2^-30 scale. The two additions are for the rounding of the sum while it is made and to
    the grid; together they raise the noise by about a millionth.

    Args:
        sensitivity: L2 distance that one unit can move the sum in exact arithmetic.
        mu: of the release.
        size: numbers in the sum, d.

    Raises:
        KRError: an argument out of its range, or a mu too small for so many numbers.
    """
    if not (0 < sensitivity < math.inf and 0 < mu < math.inf):
        raise KRError(f"expected a sensitivity and a mu above 0, got {sensitivity} and {mu}")
    room = mu - math.sqrt(size) * 2.0**-GRID_BITS
    if room <= mu / 2:
        raise KRError(f"mu: {mu} is too small for a release of {size} numbers")
    return sensitivity * (1 + SLACK) / room


def gaussian_mechanism(
    total: ArrayLike, sensitivity: float, mu: float, noise: NoiseSource
) -> Floats:
    """Adds noise to a sum: `total` + N(0, scale^2), both rounded to the grid of the scale.

    Args:
        total: a sum of any shape, made in float64, such as `clipped_sum`'s.
        sensitivity: L2 (Frobenius) distance that one unit can move it.
        mu: of the release.
        noise: `noise.gaussian`, or a stub in tests.

    Returns:
        The released value, of `total`'s shape.

    Raises:
        KRError: a total that is not finite, or the errors of `noise_scale`.
    """
    values = np.asarray(total, dtype=np.float64)
    if not np.isfinite(values).all():
        raise KRError("total: expected finite numbers")
    scale = noise_scale(sensitivity, mu, values.size)
    step = grid(scale)
    # Up to 2^52 steps the addition is exact. Limiting the range moves no two totals apart.
    whole = np.clip(np.rint(values / step), -(2.0**52), 2.0**52)
    return np.asarray(whole * step + noise(values.shape, scale))


def noisy_sum(rows: ArrayLike, clip: float, units: Units, mu: float, noise: NoiseSource) -> Floats:
    """Sum of rows, each image's (and each patient's sum) clipped to an L2 norm of `clip`.

    Args:
        rows: (n, k), finite.
        clip: largest norm: the sensitivity.
        units: whose rows they are.
        mu: of the release.
        noise: the noise source.

    Returns:
        (k,).

    Raises:
        KRError: as `clipping.clipped_sum` and `gaussian_mechanism`.
    """
    return gaussian_mechanism(clipped_sum(rows, clip, units), clip, mu, noise)


def noisy_outer_sum(
    left: ArrayLike, right: ArrayLike, clip: float, units: Units, mu: float, noise: NoiseSource
) -> Floats:
    """Sum of outer products left_i right_i^T, clipped as in `noisy_sum`: gradients, class sums.

    Args:
        left: (n, k), finite.
        right: (n, c), finite; the shorter side.
        clip: largest Frobenius norm: the sensitivity.
        units: whose rows they are.
        mu: of the release.
        noise: the noise source.

    Returns:
        (k, c).

    Raises:
        KRError: as `clipping.clipped_outer_sum` and `gaussian_mechanism`.
    """
    return gaussian_mechanism(clipped_outer_sum(left, right, clip, units), clip, mu, noise)


def noisy_counts(
    labels: ArrayLike, classes: int, units: Units, mu: float, noise: NoiseSource, clip: float = 1.0
) -> Floats:
    """Number of images per class.

    Args:
        labels: (n,) integers from 0 to `classes` - 1.
        classes: the number of classes that the user states, whether or not there are images.
        units: whose images they are.
        mu: of the release.
        noise: the noise source.
        clip: at least 1: the largest L2 norm of one patient's counts, so that a patient with many
            images counts as at most `clip` of them. The sensitivity is 1 per image and `clip` per
            patient.

    Returns:
        (classes,) real numbers, which can be negative.

    Raises:
        KRError: labels of another shape, type or range, or a clip under 1.
    """
    codes = np.asarray(labels)
    if codes.ndim != 1 or (codes.size and codes.dtype.kind not in "iu"):
        raise KRError(f"labels: expected integers of shape (n,), got {codes.dtype} {codes.shape}")
    if not ((codes >= 0) & (codes < classes)).all():
        raise KRError(f"labels: expected integers from 0 to {classes - 1}")
    if clip < 1:
        raise KRError(f"clip: {clip} is under 1, the weight of a single image")
    largest = clip if units.unit == "patient" else 1.0
    return noisy_sum(codes[:, None] == np.arange(classes), largest, units, mu, noise)


def noisy_mean(rows: ArrayLike, clip: float, units: Units, mu: float, noise: NoiseSource) -> Floats:
    """Mean of rows clipped to an L2 norm of `clip`; the number of images stays private too.

    The rows get a constant column a = clip / 4, and one release holds the sum of rows and of a:
    their ratio is the mean. One image weighs sqrt(clip^2 + a^2) = 1.03 clip, the sensitivity; a
    patient's sum is clipped to that, so that a patient with many images has the weight of few.

    Args:
        rows: (n, k), finite.
        clip: largest norm of a row.
        units: whose rows they are.
        mu: of the release.
        noise: the noise source.

    Returns:
        (k,): the noisy sum over the noisy number of images, taken as at least 1.

    Raises:
        KRError: as `noisy_sum`.
    """
    clipped = clipped_rows(rows, clip)
    column = COUNT_COLUMN * clip
    beside = np.column_stack([clipped, np.full(len(clipped), column)])
    released = noisy_sum(beside, math.hypot(clip, column), units, mu, noise)
    return released[:-1] / max(float(released[-1]) / column, 1.0)
