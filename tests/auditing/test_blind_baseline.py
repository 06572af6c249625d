from __future__ import annotations

import numpy as np
import pytest

from knowledge_recycling.auditing.blind_baseline import blind_baseline
from knowledge_recycling.errors import KRError
from knowledge_recycling.membership.halves import complementary_halves
from knowledge_recycling.membership.members import Membership


def test_random_halves_pass_and_a_shifted_split_fails() -> None:
    rng = np.random.default_rng(0)
    features, member = rng.normal(size=(300, 10)), rng.random(300) < 0.5
    assert blind_baseline(features, Membership.of(member), draws=200).passed
    shifted = features + 1.0 * member[:, None]
    found = blind_baseline(shifted, Membership.of(member), draws=200)
    assert not found.passed
    assert found.auc.low > 0.7


def test_random_halves_pass_as_often_as_they_should() -> None:
    passed = []
    for seed in range(200):
        rng = np.random.default_rng(seed)
        member = np.stack([rng.permutation(np.repeat([True, False], 60)) for _ in range(2)])
        features = rng.normal(size=(120, 20))
        passed.append(blind_baseline(features, Membership.of(member), draws=400).passed)
    # Binomial(200, 0.99): three standard deviations of 0.7 points, and half a point for quantiles
    # of 400 draws.
    assert np.mean(passed) >= 0.99 - 0.026


def test_halves_within_classes_are_judged_by_such_halves() -> None:
    rng = np.random.default_rng(0)
    classes = np.repeat([0, 1], 100)
    telling = classes[:, None] + 0.1 * rng.normal(size=(200, 3))
    # All of one class are members: seen; half of each class: not.
    assert not blind_baseline(telling, Membership.of(classes == 0), strata=classes).passed
    passed = []
    for seed in range(100):
        inside = complementary_halves(classes, None, 8, seed)
        found = blind_baseline(telling, Membership.of(inside), strata=classes, draws=200)
        passed.append(found.passed)
    assert np.mean(passed) >= 0.94


def test_patients_are_kept_in_one_fold() -> None:
    rng = np.random.default_rng(0)
    groups = np.repeat(np.arange(60), 5)
    # Features that identify a patient but say nothing of membership.
    features = (5 * rng.normal(size=(60, 40)))[groups] + 0.1 * rng.normal(size=(300, 40))
    member = rng.permutation(np.repeat([True, False], 30))[groups]
    assert blind_baseline(features, Membership.of(member, groups=groups), draws=200).passed
    assert not blind_baseline(features, Membership.of(member), draws=200).passed


def test_errors_say_what_is_wrong() -> None:
    with pytest.raises(KRError, match=r"expected \(n, d\) and \(n,\), got \(4,\)"):
        blind_baseline(np.zeros(4), Membership.of(np.zeros(4)))
    with pytest.raises(KRError, match="2 members or non-members are too few; need 5"):
        blind_baseline(np.zeros((4, 2)), Membership.of([True, True, False, False]))
