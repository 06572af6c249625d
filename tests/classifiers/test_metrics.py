from __future__ import annotations

import numpy as np
import pytest
from sklearn import metrics as sk

from knowledge_recycling.classifiers import metrics

RNG = np.random.default_rng(0)
P = RNG.dirichlet(np.ones(4), size=300)
Y = RNG.integers(0, 4, 300)


def test_figures_equal_scikit_learn() -> None:
    figures = metrics.classification(P, Y)
    guess = P.argmax(1)
    assert figures.accuracy == pytest.approx(sk.accuracy_score(Y, guess))
    assert figures.auc == pytest.approx(sk.roc_auc_score(Y, P, multi_class="ovr", average="macro"))
    assert figures.balanced_accuracy == pytest.approx(sk.balanced_accuracy_score(Y, guess))
    assert figures.f1_macro == pytest.approx(sk.f1_score(Y, guess, average="macro"))
    assert figures.recall == pytest.approx(tuple(sk.recall_score(Y, guess, average=None)))
    assert figures.confusion == tuple(map(tuple, sk.confusion_matrix(Y, guess)))
    assert metrics.cross_entropy(P, Y) == pytest.approx(sk.log_loss(Y, P))


def test_two_classes_have_the_usual_auc() -> None:
    p = RNG.dirichlet(np.ones(2), size=50)
    y = RNG.integers(0, 2, 50)
    assert metrics.macro_auc(p, y) == pytest.approx(sk.roc_auc_score(y, p[:, 1]))


def test_a_class_without_images_is_left_out() -> None:
    y = np.where(Y == 3, 0, Y)
    expected = np.mean([sk.roc_auc_score(y == c, P[:, c]) for c in range(3)])
    assert metrics.macro_auc(P, y) == pytest.approx(expected)
    figures = metrics.classification(P, y)
    assert figures.recall[3] is None
    assert metrics.macro_auc(P, np.zeros(300, int)) is None
    assert metrics.quick_look(P, np.zeros(300, int)).keys() == {"accuracy", "loss"}


def test_calibration_error_equals_a_naive_loop() -> None:
    confidence, right = P.max(1), P.argmax(1) == Y
    naive = 0.0
    for b in range(10):
        inside = (confidence > b / 10) & (confidence <= (b + 1) / 10)
        if inside.any():
            naive += inside.mean() * abs(right[inside].mean() - confidence[inside].mean())
    assert metrics.classification(P, Y, bins=10).ece == pytest.approx(naive)
    assert sum(metrics.calibration_curve(P, Y, 10).count) == 300


def test_reliability_bins_hold_about_equally_many_images() -> None:
    found = metrics.reliability_curve(P, Y)
    assert sum(found.count) == len(Y)
    assert len(found.count) == 10
    assert max(found.count) - min(found.count) <= 1
    confidence, correct = P.max(1), P.argmax(1) == Y
    order = np.argsort(confidence)
    first = order[: found.count[0]]
    assert found.confidence[0] == pytest.approx(confidence[first].mean())
    assert found.accuracy[0] == pytest.approx(correct[first].mean())


def test_equal_confidences_share_a_bin_and_few_images_make_one() -> None:
    same = metrics.reliability_curve(np.tile([0.9, 0.1], (100, 1)), np.zeros(100, int))
    assert same.count == (100,)
    assert metrics.reliability_curve(P[:30], Y[:30]).count == (30,)
