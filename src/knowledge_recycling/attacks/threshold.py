"""Threshold attacks on a released model: no shadows, one score for each record.

The audit of the Knowledge Recycling paper (arXiv:2407.15526): the model's own output on a record
is the score. Modified entropy is from Song and Mittal, arXiv:2003.10595, eq. 6. Accuracy over
privacy (AOP) is from arXiv:2306.03054.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import entr, expit, log_expit, softmax

from knowledge_recycling.arrays import Floats
from knowledge_recycling.attacks.logit_margin import as_logits, logit_margin


def scores(logits: ArrayLike, labels: ArrayLike) -> dict[str, Floats]:
    """Membership scores, higher means member, all in float64 and stable.

    Args:
        logits: (n, C), raw outputs before the softmax, not probabilities.
        labels: (n,), classes 0..C-1.

    Returns:
        (n,) arrays: `confidence`, the largest softmax probability, in [1/C, 1]; `loss`, minus
        the cross-entropy in nats, at most 0; `entropy`, minus the softmax's entropy in nats, in
        [-log C, 0]; `modified_entropy`, minus Song and Mittal's, at most 0.

    Raises:
        KRError: shapes that do not fit, labels outside 0..C-1, logits that are not finite.

    Example:
        >>> scores([[0.0, 0.0]], [1])["confidence"]
        array([0.5])
    """
    z, y = as_logits(logits, labels)
    p = softmax(z, axis=-1)
    phi = logit_margin(z, y)
    return {
        "confidence": p.max(axis=-1),
        # log p_y from its logit: still ordered where p_y itself rounds to 1.
        "loss": log_expit(phi),
        "entropy": -entr(p).sum(axis=-1),
        "modified_entropy": _modified_entropy(p, y, phi),
    }


def aop(accuracy: float, auc: float, lam: float = 2.0) -> float:
    """Accuracy over privacy: accuracy / (2 max(AUC, 0.5))^lambda, arXiv:2306.03054.

    Args:
        accuracy: in [0, 1].
        auc: of the attack, in [0, 1]; below 0.5 counts as 0.5.
        lam: weight of privacy; 0 leaves the accuracy alone.

    Returns:
        The accuracy where the attack is at chance, less the better the attack is.

    Example:
        >>> aop(0.9, 0.5), aop(0.9, 1.0)
        (0.9, 0.225)
    """
    return accuracy / (2.0 * max(auc, 0.5)) ** lam


def _modified_entropy(p: Floats, y: NDArray[np.intp], phi: Floats) -> Floats:
    """(1 - p_y) log p_y + sum_{j != y} p_j log(1 - p_j), with phi the logit of p_y."""
    others = p.copy()
    others[np.arange(len(p)), y] = 0.0
    # A wrong class with p_j = 1 is worth minus infinity; the largest double below 1 bounds it.
    bounded = np.minimum(others, 1.0 - np.finfo(np.float64).epsneg)
    return np.asarray(expit(-phi) * log_expit(phi) + (others * np.log1p(-bounded)).sum(axis=-1))
