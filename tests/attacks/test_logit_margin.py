from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.special import logit, softmax

from knowledge_recycling.attacks.logit_margin import logit_margin, probability
from knowledge_recycling.errors import KRError


def test_margin_equals_a_naive_loop_and_averages_augmentations() -> None:
    rng = np.random.default_rng(0)
    logits, labels = rng.normal(0, 3, (3, 20, 4)), rng.integers(0, 4, 20)
    found = logit_margin(logits, labels)
    for n, y in enumerate(labels):
        margins = [
            z[n, y] - math.log(sum(math.exp(z[n, j]) for j in range(4) if j != y)) for z in logits
        ]
        assert found[n] == pytest.approx(sum(margins) / 3, abs=1e-9)


def test_margin_is_the_logit_of_the_true_class() -> None:
    rng = np.random.default_rng(1)
    logits, labels = rng.normal(size=(30, 6)), rng.integers(0, 6, 30)
    p = softmax(logits, axis=1)[np.arange(30), labels]
    phi = logit_margin(logits, labels)
    np.testing.assert_allclose(phi, logit(p), atol=1e-12)
    np.testing.assert_allclose(probability(phi), p, atol=1e-12)


def test_margin_is_of_logits_and_not_of_probabilities() -> None:
    logits = np.array([[60.0, 0.0]], dtype=np.float32)
    assert logit_margin(logits, [0])[0] == 60.0
    assert logit_margin(softmax(logits, axis=1), [0])[0] == pytest.approx(1.0)


def test_a_wrong_number_of_labels_is_refused() -> None:
    with pytest.raises(KRError, match="labels"):
        logit_margin(np.zeros((2, 5, 3)), np.zeros(4, dtype=int))
