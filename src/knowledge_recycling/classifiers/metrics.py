"""Utility of a classifier, from its probabilities."""

from __future__ import annotations

import numpy as np
from sklearn.metrics import confusion_matrix, f1_score, roc_auc_score

from knowledge_recycling.results import Calibration, Classification


def quick_look(probabilities: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    """Accuracy, AUC (where there are two classes) and cross-entropy, which choices are made by.

    Args:
        probabilities: (n, C), rows sum to 1.
        labels: (n,) in 0..C-1.
    """
    auc = macro_auc(probabilities, labels)
    return {
        "accuracy": float(np.mean(probabilities.argmax(1) == labels)),
        **({} if auc is None else {"auc": auc}),
        "loss": cross_entropy(probabilities, labels),
    }


def classification(probabilities: np.ndarray, labels: np.ndarray, bins: int = 15) -> Classification:
    """All utility figures of a classifier on one set.

    Args:
        probabilities: (n, C), rows sum to 1.
        labels: (n,) in 0..C-1.
        bins: number of confidence bins of the calibration error.
    """
    classes = np.arange(probabilities.shape[1])
    predicted = probabilities.argmax(1)
    confusion = confusion_matrix(labels, predicted, labels=classes)
    curve = calibration_curve(probabilities, labels, bins)
    recall = [row[c] / row.sum() if row.sum() else None for c, row in enumerate(confusion)]
    return Classification(
        accuracy=float(np.mean(predicted == labels)),
        auc=macro_auc(probabilities, labels),
        balanced_accuracy=float(np.mean([r for r in recall if r is not None])),
        f1_macro=float(
            f1_score(labels, predicted, labels=np.unique(labels), average="macro", zero_division=0)
        ),
        ece=calibration_error(curve),
        recall=tuple(None if r is None else float(r) for r in recall),
        confusion=tuple(map(tuple, confusion.tolist())),
        calibration=curve,
        reliability=reliability_curve(probabilities, labels),
    )


def macro_auc(probabilities: np.ndarray, labels: np.ndarray) -> float | None:
    """Mean over the classes of the AUC of one class against the rest.

    Classes that the labels lack, or that are all there is, cannot be ranked and are left out;
    None where that leaves none.

    Example:
        >>> macro_auc(np.array([[0.9, 0.1], [0.2, 0.8]]), np.array([0, 1]))
        1.0
    """
    rankable = [c for c in range(probabilities.shape[1]) if 0 < np.mean(labels == c) < 1]
    if not rankable:
        return None
    return float(np.mean([roc_auc_score(labels == c, probabilities[:, c]) for c in rankable]))


def cross_entropy(probabilities: np.ndarray, labels: np.ndarray) -> float:
    """Mean of -log p_y in nats."""
    picked = probabilities[np.arange(len(labels)), labels]
    return float(-np.log(np.maximum(picked, 1e-12)).mean())


def calibration_curve(probabilities: np.ndarray, labels: np.ndarray, bins: int) -> Calibration:
    """Mean confidence and accuracy in equal-width bins of the confidence (0, 1]."""
    confidence = probabilities.max(1).astype(np.float64)
    correct = probabilities.argmax(1) == labels
    index = np.clip(np.ceil(confidence * bins).astype(int) - 1, 0, bins - 1)
    count = np.bincount(index, minlength=bins)
    sums = (np.bincount(index, weights=w, minlength=bins) for w in (confidence, correct))
    means = [
        tuple(float(s / n) if n else None for s, n in zip(sum_, count, strict=True))
        for sum_ in sums
    ]
    return Calibration(confidence=means[0], accuracy=means[1], count=tuple(count.tolist()))


LEAST_OF_A_BIN = 20
MOST_BINS = 10


def reliability_curve(probabilities: np.ndarray, labels: np.ndarray) -> Calibration:
    """Mean confidence and accuracy in bins of about equally many images, for drawing.

    Bins of equal width hold few images where confidence is rare, and their points jump about.
    Images of equal confidence stay in one bin, so that there may be fewer than ten.

    Args:
        probabilities: (n, C), rows sum to 1.
        labels: (n,) in 0..C-1.
    """
    confidence = probabilities.max(1).astype(np.float64)
    correct = probabilities.argmax(1) == labels
    bins = int(np.clip(len(labels) // LEAST_OF_A_BIN, 1, MOST_BINS))
    edges = np.unique(np.quantile(confidence, np.arange(1, bins) / bins))
    index = np.searchsorted(edges, confidence, side="left")
    used, index, count = np.unique(index, return_inverse=True, return_counts=True)
    means = [
        np.bincount(index, weights=w, minlength=len(used)) / count for w in (confidence, correct)
    ]
    return Calibration(
        confidence=tuple(means[0].tolist()),
        accuracy=tuple(means[1].tolist()),
        count=tuple(count.tolist()),
    )


def calibration_error(curve: Calibration) -> float:
    """Expected calibration error: sum over bins of share x |accuracy - confidence|.

    Source: Guo et al. 2017, arXiv:1706.04599, eq. 3.
    """
    rows = zip(curve.confidence, curve.accuracy, curve.count, strict=True)
    return sum(n * abs(a - c) for c, a, n in rows if a is not None and c is not None) / sum(
        curve.count
    )
