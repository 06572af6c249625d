"""What an attack reads of a model's output on a record: one number, phi.

phi = log(p_y / (1 - p_y)) = z_y - logsumexp_{j != y} z_j, the logit of the probability of the
true class (Carlini et al., arXiv:2112.03570, section V). Over models it is close to Gaussian.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import expit, logsumexp

from knowledge_recycling.arrays import Floats
from knowledge_recycling.errors import KRError


def logit_margin(logits: ArrayLike, labels: ArrayLike) -> Floats:
    """Logit of p_y, phi = z_y - logsumexp_{j != y} z_j, in float64, mean over augmentations.

    Args:
        logits: (n, C) or (A, n, C) with A test-time augmentations; raw outputs, C >= 2.
        labels: (n,), classes 0..C-1.

    Returns:
        (n,), any real number; 0 means p_y = 1/2.

    Raises:
        KRError: shapes that do not fit, labels outside 0..C-1, logits that are not finite.

    Example:
        >>> logit_margin([[2.0, 5.0]], [1])
        array([3.])
    """
    z, y = as_logits(logits, labels)
    index = np.broadcast_to(y[:, None], (*z.shape[:-1], 1))
    true = np.take_along_axis(z, index, axis=-1)[..., 0]
    others = z.copy()
    np.put_along_axis(others, index, -np.inf, axis=-1)
    phi = true - logsumexp(others, axis=-1)
    return np.asarray(phi.reshape(-1, y.size).mean(axis=0))


def probability(phi: ArrayLike) -> Floats:
    """p_y of the signal: 1 / (1 + exp(-phi)), the inverse of `logit_margin`.

    Example:
        >>> probability([0.0])
        array([0.5])
    """
    return np.asarray(expit(np.asarray(phi, dtype=np.float64)))


def as_logits(logits: ArrayLike, labels: ArrayLike) -> tuple[Floats, NDArray[np.intp]]:
    """Checks and converts logits (..., n, C) to float64 and labels (n,) to integers.

    Raises:
        KRError: shapes that do not fit, labels outside 0..C-1, logits that are not finite.
    """
    z, y = np.asarray(logits, dtype=np.float64), np.asarray(labels)
    if z.ndim < 2 or y.shape != z.shape[-2:-1] or z.shape[-1] < 2:
        raise KRError(
            f"logits: expected (n, C) with C >= 2 and labels (n,), got {z.shape} and {y.shape}"
        )
    whole = np.issubdtype(y.dtype, np.integer)
    if not whole or (y < 0).any() or (y >= z.shape[-1]).any():
        raise KRError(f"labels: expected whole numbers 0 to {z.shape[-1] - 1}, one class a record")
    if not np.isfinite(z).all():
        raise KRError("logits: some are NaN or infinite; the model's outputs are not usable")
    return z, y.astype(np.intp)
