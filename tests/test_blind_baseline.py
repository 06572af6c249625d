from __future__ import annotations

import numpy as np
import pytest

from knowledge_recycling.blind_baseline import blind_baseline
from knowledge_recycling.errors import KRError


def test_random_halves_pass_and_a_shifted_split_fails() -> None:
    rng = np.random.default_rng(0)
    features, member = rng.normal(size=(300, 10)), rng.random(300) < 0.5
    assert blind_baseline(features, member, draws=200)["passed"]
    shifted = features + 1.0 * member[:, None]
    found = blind_baseline(shifted, member, draws=200)
    assert not found["passed"]
    assert found["auc"]["low"] > 0.7


def test_random_halves_pass_about_as_often_as_they_should() -> None:
    passed = []
    for seed in range(40):
        rng = np.random.default_rng(seed)
        member = rng.permutation(np.repeat([True, False], 60))
        passed.append(blind_baseline(rng.normal(size=(120, 5)), member, draws=100)["passed"])
    # At 95% one expects 38; cross-validated scores depend on each other, so 33 are asked for.
    assert sum(passed) >= 33


def test_patients_are_kept_in_one_fold() -> None:
    rng = np.random.default_rng(0)
    groups = np.repeat(np.arange(60), 5)
    # Features that identify a patient but say nothing of membership.
    features = (5 * rng.normal(size=(60, 40)))[groups] + 0.1 * rng.normal(size=(300, 40))
    member = rng.permutation(np.repeat([True, False], 30))[groups]
    assert blind_baseline(features, member, groups=groups, draws=200)["passed"]
    assert not blind_baseline(features, member, draws=200)["passed"]


def test_errors_say_what_is_wrong() -> None:
    with pytest.raises(KRError, match=r"expected \(n, d\) and \(n,\), got \(4,\)"):
        blind_baseline(np.zeros(4), np.zeros(4))
    with pytest.raises(KRError, match="2 members or non-members are too few; need 5"):
        blind_baseline(np.zeros((4, 2)), [True, True, False, False])
