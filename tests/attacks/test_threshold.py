from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import entropy
from sklearn.metrics import log_loss

from knowledge_recycling.attacks.threshold import aop, scores
from knowledge_recycling.errors import KRError


def test_scores_equal_naive_loops() -> None:
    rng = np.random.default_rng(0)
    logits, labels = rng.normal(0, 3, (40, 5)), rng.integers(0, 5, 40)
    found = scores(logits, labels)
    for n in range(40):
        p = [math.exp(z) for z in logits[n]]
        p = [v / sum(p) for v in p]
        y = labels[n]
        modified = -(1 - p[y]) * math.log(p[y])
        modified -= sum(p[j] * math.log(1 - p[j]) for j in range(5) if j != y)
        assert found["confidence"][n] == pytest.approx(max(p), abs=1e-9)
        assert found["loss"][n] == pytest.approx(-log_loss([y], [p], labels=range(5)), abs=1e-9)
        assert found["entropy"][n] == pytest.approx(-entropy(p), abs=1e-9)
        assert found["modified_entropy"][n] == pytest.approx(-modified, abs=1e-9)


def test_a_surer_and_right_model_scores_higher_everywhere() -> None:
    found = scores([[3.0, 0.0], [1.0, 0.0]], [0, 0])
    for name, values in found.items():
        assert values[0] > values[1], name


def test_huge_logits_stay_finite() -> None:
    found = scores(np.array([[1e4, 0.0], [1e4, 0.0]], dtype=np.float32), [0, 1])
    assert all(np.isfinite(values).all() for values in found.values())
    assert found["loss"].tolist() == [0.0, -1e4]
    assert found["modified_entropy"][1] < found["modified_entropy"][0]


def test_probabilities_of_single_precision_keep_their_order() -> None:
    # In float32 both confidences round to 1; the loss in float64 tells them apart.
    low, high = scores(np.array([[40.0, 0.0], [41.0, 0.0]], dtype=np.float32), [0, 0])["loss"]
    assert low < high < 0


def test_aop() -> None:
    assert aop(0.9, 0.4) == aop(0.9, 0.5) == 0.9
    assert aop(0.8, 0.75) == pytest.approx(0.8 / 1.5**2)
    assert aop(0.8, 0.75, lam=0) == 0.8


@pytest.mark.parametrize(
    ("logits", "labels", "message"),
    [
        ([[1.0, 2.0]], [0, 1], r"logits: expected \(n, C\) with C >= 2 and labels"),
        ([[1.0]], [0], r"logits: expected \(n, C\) with C >= 2"),
        ([[1.0, 2.0]], [2], "labels: expected whole numbers 0 to 1"),
        ([[1.0, 2.0]], [0.5], "labels: expected whole numbers 0 to 1"),
        ([[1.0, np.nan]], [0], "logits: some are NaN or infinite"),
    ],
)
def test_errors_say_what_is_wrong(logits: list, labels: list, message: str) -> None:
    with pytest.raises(KRError, match=message):
        scores(logits, labels)
