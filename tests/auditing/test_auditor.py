from __future__ import annotations

import json
import tracemalloc
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from knowledge_recycling.attacks import lira
from knowledge_recycling.auditing.auditor import (
    ATTACKS,
    audit_pooled,
    audit_scores,
    audit_signals,
    audit_target,
    group_means,
    signal_scores,
)
from knowledge_recycling.auditing.score_files import audit_file
from knowledge_recycling.errors import KRError
from knowledge_recycling.membership.halves import complementary_halves
from knowledge_recycling.membership.members import Membership
from knowledge_recycling.statistics.rates import auc
from knowledge_recycling.statistics.two_way import pooled_estimates


def simulated(
    leak: float, records: int = 120, pipelines: int = 8, groups: Any = None
) -> tuple[np.ndarray, Membership]:
    rng = np.random.default_rng(0)
    half = rng.random((pipelines // 2, records)).argsort(axis=1) < records // 2
    member = np.concatenate([half, ~half])
    phi = rng.normal(size=member.shape) + 2 * rng.normal(size=records) + leak * member
    return phi, Membership.of(member, groups=groups)


def test_audit_scores_has_the_published_shape() -> None:
    rng = np.random.default_rng(0)
    result = audit_scores(rng.normal(1, 1, 200), rng.normal(size=500))
    entry = result.attacks["scores"]
    assert entry.tpr_at_fpr["0.001"] is None
    tree = json.loads(json.dumps(asdict(result), allow_nan=False))["attacks"]["scores"]
    assert tree["auc"].keys() == tree["tpr_at_fpr"]["0.01"].keys() == {"value", "low", "high"}
    assert tree["epsilon"].keys() >= {"value", "low", "high", "delta"}


@pytest.mark.parametrize(("size", "given"), [(9_999, False), (10_000, True)])
def test_low_fpr_needs_ten_thousand_non_members(size: int, given: bool) -> None:
    rng = np.random.default_rng(0)
    entry = audit_scores(rng.normal(size=50), rng.normal(size=size)).attacks["scores"]
    assert (entry.tpr_at_fpr["0.001"] is not None) == given


def test_low_fpr_of_signals_counts_pooled_trials() -> None:
    phi, member = simulated(0.0, records=2500)
    found = audit_signals(phi, member, attacks=["threshold"])
    assert found.attacks["threshold"].tpr_at_fpr["0.001"] is not None


def test_a_planted_leak_is_found_by_every_attack() -> None:
    result = audit_signals(*simulated(8.0))
    assert result.attacks.keys() == ATTACKS.keys()
    assert result.groups is None
    for name, entry in result.attacks.items():
        least = 0.75 if name == "rmia_offline" else 0.93
        assert entry.auc.low > least, name
    json.loads(json.dumps(asdict(result), allow_nan=False))


def test_shuffled_membership_contains_chance() -> None:
    phi, member = simulated(8.0, records=126)
    shuffled = Membership.of(member.mask[:, np.random.default_rng(5).permutation(126)])
    for name, entry in audit_signals(phi, shuffled).attacks.items():
        assert entry.auc.low < 0.5 < entry.auc.high, name
        rate, epsilon = entry.tpr_at_fpr["0.01"], entry.epsilon
        assert rate is not None, name
        assert rate.low <= 0.01, name
        assert epsilon is not None, name
        assert epsilon.low < 0.5, name


def test_signal_scores_are_the_attacks_and_take_pairs() -> None:
    phi, member = simulated(1.0)
    given = Membership.of(member.mask, pairs=np.roll(np.arange(8), 4))
    found = signal_scores(phi, given, attacks=["lira_online", "threshold"])
    assert list(found) == ["lira_online", "threshold"]
    np.testing.assert_array_equal(found["lira_online"], lira.online(phi, member))
    np.testing.assert_array_equal(found["threshold"], phi)


def test_groups_are_audited_as_whole_patients() -> None:
    phi, member = simulated(0.8)
    groups = np.repeat([f"p{i:03}" for i in range(120)], 3)
    noise = np.random.default_rng(1).normal(size=(8, 360))
    result = audit_signals(
        phi[:, np.repeat(np.arange(120), 3)] + noise,
        Membership.of(np.repeat(member.mask, 3, axis=1), groups=groups),
        attacks=["lira_online"],
    )
    assert result.groups is not None
    records, patients = (k["lira_online"].auc for k in (result.attacks, result.groups))
    # A patient's mean over three records has less noise than a record.
    assert patients.value > records.value > 0.5


def test_group_means() -> None:
    means = group_means(np.array([[1.0, 2.0, 6.0]]), ["b", "a", "b"])
    assert means.tolist() == [[2.0, 3.5]]


def test_the_threshold_of_one_target_never_reads_the_target() -> None:
    phi, member = simulated(1.0, records=400)
    scores = lira.online(phi, member)
    first = audit_target(scores, member, 2)
    # Shifted scores of target and complement: the shadows' threshold stays where it was.
    moved = scores.copy()
    moved[[2, 6]] += 1000
    second = audit_target(moved, member, 2)
    assert second.tpr.value == second.fpr.value == 1.0
    shadows = [0, 1, 3, 4, 5, 7]
    reference = np.sort(scores[shadows][~member.mask[shadows]])[::-1]
    threshold = reference[int(0.01 * reference.size)]
    assert first.tpr.value == (scores[2][member.mask[2]] > threshold).mean()
    assert first.fpr.low <= 0.01 <= first.fpr.high


def test_audit_file_reads_both_kinds(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    members, nonmembers = rng.normal(1, 1, 50), rng.normal(size=60)
    np.savez(tmp_path / "scores.npz", member_scores=members, nonmember_scores=nonmembers)
    found = audit_file(tmp_path / "scores.npz")
    assert found.attacks["scores"].auc.value == auc(members, nonmembers)
    phi, member = simulated(1.0)
    np.savez(tmp_path / "signals.npz", signals=phi.astype(np.float32), membership=member.mask)
    assert audit_file(tmp_path / "signals.npz").attacks.keys() == ATTACKS.keys()


def test_audit_file_names_the_file_in_errors(tmp_path: Path) -> None:
    path = tmp_path / "nan.npz"
    np.savez(path, member_scores=[np.nan], nonmember_scores=[1.0])
    with pytest.raises(KRError, match=r"nan\.npz: member_scores: 1 of 1 values are NaN"):
        audit_file(path)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: audit_signals(*simulated(0.0), attacks=["x"]),
            "attack 'x' is unknown; known: thr",
        ),
        (lambda: simulated(0.0, groups=[0] * 120), "membership must be drawn by group"),
        (lambda: audit_scores([1.0], [1.0, np.nan]), "nonmember_scores: 1 of 2 values are NaN"),
    ],
)
def test_errors_say_what_is_wrong(call: Callable[[], object], message: str) -> None:
    with pytest.raises(KRError, match=message):
        call()


def test_an_audit_sorts_each_attacks_scores_once_and_draws_nothing_for_auc_and_tpr(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Counted, not timed: what makes an audit of 50,000 records quick."""
    rng = np.random.default_rng(0)
    mask = complementary_halves(np.zeros(2000, dtype=np.intp), None, 8, 0)
    scores = {name: rng.normal(size=mask.shape) for name in ("one", "two")}
    sorted_sizes: list[int] = []
    for name in ("sort", "argsort"):
        monkeypatch.setattr(np, name, partial(_counted, getattr(np, name), sorted_sizes))
    membership = Membership.of(mask)
    tracemalloc.start()
    figures = audit_pooled(scores, membership).attacks
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert figures["one"].tpr_at_fpr["0.01"] is not None
    assert [size for size in sorted_sizes if size >= mask.size // 4] == [mask.size] * 2
    # 13 numbers a trial; a bootstrap held draws times bins.
    assert peak < 16 * mask.size * 8
    with monkeypatch.context() as context:
        context.setattr(np.random, "default_rng", None)
        pooled_estimates(scores["one"], membership, fprs=(0.01,))


def _counted(
    function: Callable[..., np.ndarray], sizes: list[int], values: np.ndarray, **options: Any
) -> np.ndarray:
    sizes.append(values.size)
    return function(values, **options)
