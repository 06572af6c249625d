from __future__ import annotations

import numpy as np

from knowledge_recycling.auditing.verdict import CHANNELS, PRIMARY, Verdict, judge
from knowledge_recycling.membership.halves import complementary_halves
from knowledge_recycling.membership.members import Membership

RNG = np.random.default_rng(0)
N = 120
LABELS = np.arange(N) % 2
MEMBERSHIP = complementary_halves(LABELS, None, 16, seed=0)
NOISE = RNG.normal(size=(16, N)) + RNG.normal(size=N)
FEATURES = np.random.default_rng(1).normal(size=(N, 4))


def verdict(leaks: dict[str, float], features: np.ndarray = FEATURES) -> Verdict:
    phi = {channel: NOISE + leaks.get(channel, 0.0) * MEMBERSHIP for channel in CHANNELS}
    return judge(phi, Membership.of(MEMBERSHIP), features, LABELS, draws=300, seed=0)


def test_a_planted_leak_is_found_where_it_is() -> None:
    found = verdict({"teacher": 8.0, "student": 4.0})
    assert found.powered
    auc = {c: t.attacks[PRIMARY].auc for c, t in found.targets.items()}
    assert auc["teacher"].value > 0.99
    assert auc["student"].low > 0.9
    assert auc["synthetic"].low < 0.5 < auc["synthetic"].high
    assert auc["soft_labels"].low < 0.5 < auc["soft_labels"].high


def test_without_the_teachers_leak_there_is_no_power() -> None:
    assert not verdict({"student": 8.0}).powered


def test_membership_that_can_be_seen_in_the_images_is_no_evidence() -> None:
    telling = np.column_stack([MEMBERSHIP[::2].T + RNG.normal(0, 0.3, (N, 8)), FEATURES])
    found = verdict({"teacher": 8.0}, telling)
    assert not found.control.passed
    assert not found.powered


def test_shuffled_membership_gives_chance() -> None:
    shuffled = complementary_halves(np.arange(N) % 2, None, 16, seed=99)
    phi = {channel: NOISE + 8.0 * MEMBERSHIP for channel in CHANNELS}
    found = judge(phi, Membership.of(shuffled), FEATURES, LABELS, draws=300, seed=0)
    for target in found.targets.values():
        auc = target.attacks[PRIMARY].auc
        assert auc.low < 0.5 < auc.high


def test_the_most_exposed_records_come_first() -> None:
    leak = np.zeros(N)
    leak[[7, 31, 90]] = 12.0
    phi = {channel: NOISE + leak * MEMBERSHIP for channel in CHANNELS}
    found = judge(phi, Membership.of(MEMBERSHIP), FEATURES, LABELS, draws=300, seed=0)
    assert set(found.exposed[:3]) == {7, 31, 90}
