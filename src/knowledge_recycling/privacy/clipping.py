"""Sums that one unit can move by at most `clip` in L2 norm.

Adjacency is add/remove: two data sets are neighbours when one has one unit more than the other.
The unit is an image, or a patient with all of his or her images. Per image, a contribution x
becomes x min(1, clip / |x|). Per patient, the clipped contributions are summed and the sum is
clipped again. A clipped sum is a projection onto a ball, which moves no two points apart: so a
sum per patient also moves by at most `clip` when a single *image* is added to a known patient.

Sums are made in float64: their rounding must stay far under `clip` (see docs/private.md).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.sparse import csr_array

from knowledge_recycling.arrays import Floats
from knowledge_recycling.errors import KRError

Unit = Literal["image", "patient"]

LARGEST = 1e100
"""Larger values are refused like infinity: their squares would overflow."""


@dataclass(frozen=True, eq=False)
class Units:
    """Whom the guarantee is for, and which images are whose.

    Args:
        unit: "image" or "patient".
        codes: (n,) integers, the patient of each image; None for images. Kept as 0 to m - 1.

    Raises:
        KRError: patients without codes, images with codes, or codes that are not integers (n,).

    Example:
        >>> Units("patient", np.array([7, 3, 7])).codes
        array([1, 0, 1])
    """

    unit: Unit = "image"
    codes: NDArray[np.intp] | None = None

    def __post_init__(self) -> None:
        if self.unit not in ("image", "patient"):
            raise KRError(f"unit: {self.unit!r} is neither 'image' nor 'patient'")
        if (self.unit == "patient") != (self.codes is not None):
            raise KRError("codes: give the patient of each image where the unit is a patient only")
        if self.codes is not None:
            codes = np.asarray(self.codes)
            if codes.ndim != 1 or (codes.size and codes.dtype.kind not in "iu"):
                raise KRError(
                    f"codes: expected integers of shape (n,), got {codes.dtype} of shape "
                    f"{codes.shape}"
                )
            object.__setattr__(self, "codes", np.unique(codes, return_inverse=True)[1])

    def check(self, n: int) -> None:
        """Raises KRError unless there is a code for each of n images."""
        if self.codes is not None and self.codes.size != n:
            raise KRError(f"codes: {self.codes.size} patients' codes for {n} images")


def clip_weights(norms: ArrayLike, clip: float) -> Floats:
    """What to multiply contributions with, given their norms: min(1, clip / norm).

    Args:
        norms: (n,) L2 norms, at least 0.
        clip: largest norm wanted, between 1e-50 and 1e50.

    Returns:
        (n,) in (0, 1].

    Raises:
        KRError: a norm that is negative, NaN or infinite, or a clip out of its range.

    Example:
        >>> clip_weights([0.0, 1.0, 4.0], clip=2.0)
        array([1. , 1. , 0.5])
    """
    if not 1e-50 <= clip <= 1e50:
        raise KRError(f"clip: {clip} is not between 1e-50 and 1e50")
    values = np.asarray(norms, dtype=np.float64)
    if not ((values >= 0) & (values < np.inf)).all():
        raise KRError("norms: expected finite numbers of at least 0")
    return clip / np.maximum(values, clip)


def row_norms(rows: Floats) -> Floats:
    """L2 norm of each row; (n, k) to (n,)."""
    return np.sqrt(np.einsum("nk,nk->n", rows, rows))


def clipped_rows(rows: ArrayLike, clip: float) -> Floats:
    """Rows scaled to an L2 norm of at most `clip`.

    Args:
        rows: (n, k), finite.
        clip: largest norm.

    Returns:
        (n, k) float64.

    Raises:
        KRError: rows of another shape, or not finite.
    """
    values = as_rows(rows, "rows")
    return values * clip_weights(row_norms(values), clip)[:, None]


def clipped_sum(rows: ArrayLike, clip: float, units: Units) -> Floats:
    """Sum of rows that one unit moves by at most `clip`.

    Args:
        rows: (n, k), finite; n may be 0.
        clip: largest L2 norm of an image's row and of a patient's sum.
        units: whose rows they are.

    Returns:
        (k,) float64.

    Raises:
        KRError: rows of another shape or not finite, or codes for another number of images.

    Example:
        >>> clipped_sum([[3.0, 4.0], [0.0, 0.5]], clip=1.0, units=Units())
        array([0.6, 1.3])
        >>> clipped_sum([[3.0, 0.0], [3.0, 0.0]], 1.0, Units("patient", np.array([8, 8])))
        array([1., 0.])
    """
    values = as_rows(rows, "rows")
    units.check(len(values))
    weights = clip_weights(row_norms(values), clip)
    if units.codes is None:
        return np.asarray(weights @ values)
    n, patients = len(values), int(units.codes.max(initial=-1)) + 1
    owner = csr_array((weights, units.codes, np.arange(n + 1)), shape=(n, patients))
    sums = np.asarray(owner.T @ values)
    return np.asarray(clip_weights(row_norms(sums), clip) @ sums)


def clipped_outer_sum(left: ArrayLike, right: ArrayLike, clip: float, units: Units) -> Floats:
    """Sum of the outer products left_i right_i^T that one unit moves by at most `clip`.

    The gradient of a linear layer is of this form, as are sums per class (`left` one-hot). The
    norm of an outer product is the product of the norms, so no (n, k, c) array is made; of the
    patients with several images, one (k, c) sum is held at a time.

    Args:
        left: (n, k), finite.
        right: (n, c), finite; copied, so give the shorter rows here.
        clip: largest Frobenius norm of an image's product and of a patient's sum.
        units: whose rows they are.

    Returns:
        (k, c) float64.

    Raises:
        KRError: rows of other shapes or not finite, or codes for another number of images.

    Example:
        >>> clipped_outer_sum([[2.0, 0.0]], [[0.0, 2.0, 0.0]], clip=1.0, units=Units())
        array([[0., 1., 0.],
               [0., 0., 0.]])
    """
    a, b = as_rows(left, "left"), as_rows(right, "right")
    if len(a) != len(b):
        raise KRError(f"left has {len(a)} rows and right {len(b)}; expected as many")
    units.check(len(a))
    weights = clip_weights(row_norms(a) * row_norms(b), clip)
    if units.codes is not None:
        weights *= _patient_weights(a, b * weights[:, None], clip, units.codes)
    return np.asarray(a.T @ (b * weights[:, None]))


def _patient_weights(a: Floats, b: Floats, clip: float, codes: NDArray[np.intp]) -> Floats:
    """The second clip's weight of each image, of patients' sums of a_i b_i^T; (n,)."""
    weights = np.ones(len(a))
    several = np.flatnonzero(np.bincount(codes)[codes] > 1)
    order = several[np.argsort(codes[several], kind="stable")]
    starts = np.flatnonzero(np.diff(codes[order])) + 1
    for images in np.split(order, starts) if order.size else []:
        weights[images] = clip_weights(np.linalg.norm(a[images].T @ b[images]), clip)
    return weights


def as_rows(rows: ArrayLike, name: str) -> Floats:
    """Contributions as a checked float64 array.

    A refusal depends on the data. It releases nothing, and its message is for their holder.

    Args:
        rows: (n, k).
        name: of the argument, for the message.

    Raises:
        KRError: another shape, or rows with NaN, infinity or values beyond 1e100.
    """
    values = np.asarray(rows, dtype=np.float64)
    if values.ndim != 2:
        raise KRError(f"{name}: expected an array of shape (n, k), got shape {values.shape}")
    # Most arrays are fine, and the extremes are found without a copy; NaN fails the comparison.
    if values.size and not -LARGEST <= values.min() <= values.max() <= LARGEST:
        bad = ~(np.abs(values) <= LARGEST).all(axis=1)
        raise KRError(
            f"{name}: {int(bad.sum())} of {len(values)} rows hold NaN, infinity or values beyond "
            f"{LARGEST:g}; look for damaged images"
        )
    return values
