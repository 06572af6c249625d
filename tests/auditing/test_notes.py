"""Inputs on which an audit would be silently wrong: refused, or a note says what to know."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from knowledge_recycling.auditing import Membership, audit_file, audit_scores, audit_signals
from knowledge_recycling.errors import KRError
from knowledge_recycling.statistics.rates import LEAST_NONMEMBERS, auc, tpr_at_fpr_estimate


def normal(mean: float, size: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(mean, 1, size)


def halves(pipelines: int, records: int, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    half = rng.random((pipelines // 2, records)).argsort(axis=1) < records // 2
    return np.stack([half, ~half], axis=1).reshape(pipelines, records)


def test_few_nonmembers_place_no_threshold() -> None:
    found = audit_scores(normal(0, 500), normal(0, 20, 1))
    assert found.attacks["scores"].tpr_at_fpr == {"0.01": None, "0.001": None}
    assert found.notes == (
        "the TPR at 1% FPR is left out: 20 non-member trials are too few to place its threshold "
        "(500 are needed)",
    )
    enough = audit_scores(normal(0, 500), normal(0, LEAST_NONMEMBERS[0.01], 1))
    assert enough.attacks["scores"].tpr_at_fpr["0.01"] is not None


def test_the_tprs_interval_covers_from_as_many_nonmembers_as_are_asked_for() -> None:
    covered = []
    for seed in range(200):
        rng = np.random.default_rng(seed)
        sides = rng.normal(size=500), rng.normal(size=LEAST_NONMEMBERS[0.01])
        found = tpr_at_fpr_estimate(*sides, 0.01)
        covered.append(found.low <= 0.01 <= found.high)
    # Binomial(200, 0.95): three standard deviations of 1.54 points.
    assert np.mean(covered) >= 0.95 - 0.046


def test_scores_with_the_wrong_sign_are_called_out() -> None:
    losses = [np.random.default_rng(i).exponential(s, 200) for i, s in enumerate((0.1, 1))]
    found = audit_scores(*losses)
    other = auc(-losses[0], -losses[1])
    (note,) = [n for n in found.notes if "Higher must mean member" in n]
    assert f"minus the scores gives an attack AUC of {other:.2f}" in note
    assert not [n for n in audit_scores(*(-x for x in losses)).notes if "Higher" in n]


def test_almost_complementary_pairs_keep_the_null_at_chance() -> None:
    found = []
    for seed in range(40):
        mask = halves(8, 400, seed)
        mask[:, 0] = True
        rng = np.random.default_rng([seed, 1])
        phi = rng.normal(size=mask.shape) + 2 * rng.normal(size=400)
        audit = audit_signals(phi, Membership.of(mask), attacks=["lira_online"])
        found.append(audit.attacks["lira_online"].auc.value)
    assert "1 of 400 records are members of all pipelines or of none" in audit.notes[0]
    assert np.mean(found) == pytest.approx(0.5, abs=4 * np.std(found) / 40**0.5)


def test_probabilities_are_not_margins() -> None:
    membership = Membership.of(halves(8, 50))
    margins = np.random.default_rng(0).normal(size=membership.mask.shape)
    options: dict[str, Any] = {"attacks": ["threshold"]}
    told = audit_signals(1 / (1 + np.exp(-margins)), membership, **options)
    assert "all signals lie in 0 to 1, as probabilities do" in told.notes[0]
    assert not [n for n in audit_signals(margins, membership, **options).notes if "0 to 1," in n]


def test_transposed_arrays_are_said(tmp_path: Path) -> None:
    mask = halves(32, 40)
    phi = np.random.default_rng(0).normal(size=mask.shape)
    np.savez(tmp_path / "s.npz", signals=phi.T, membership=mask.T)
    found = audit_file(tmp_path / "s.npz")
    assert any("these have 40 rows and 32 columns; if that is the wrong" in n for n in found.notes)


@pytest.mark.parametrize("patients", [1, 2, 4])
def test_few_patients_have_no_interval(patients: int) -> None:
    groups = np.arange(200) % patients
    found = audit_scores(
        normal(3, 200), normal(0, 200, 1), member_groups=groups, nonmember_groups=groups
    )
    area = found.attacks["scores"].auc
    assert (area.low, area.high) == (0.0, 1.0)
    assert f"{patients} records or patients on a side are too few for an interval" in found.notes[0]


def test_patients_on_both_sides_are_said() -> None:
    groups = np.repeat([f"p{i}" for i in range(50)], 4)
    options: dict[str, Any] = {"member_groups": groups}
    sides = normal(0, 200), normal(0, 200, 1)
    both = audit_scores(*sides, **options, nonmember_groups=groups)
    assert "50 names stand in member_groups and in nonmember_groups" in both.notes[-1]
    other = audit_scores(*sides, **options, nonmember_groups=np.char.add("q", groups))
    assert not [n for n in other.notes if "names stand" in n]


SIDES = normal(0, 20), normal(0, 20, 1)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: audit_scores(*SIDES, member_groups=np.full(20, np.nan)),
            "^member_groups: 20 of 20 are NaN, None or empty; each record needs its patient$",
        ),
        (
            lambda: audit_scores(*SIDES, nonmember_groups=[None, *"abcdefghijklmnopqrs"]),
            "^nonmember_groups: 1 of 20 are NaN, None or empty",
        ),
        (
            lambda: Membership.of(np.eye(4), groups=np.array(["a", "b", np.nan, " "])),
            "^groups: 2 of 4 are NaN, None or empty",
        ),
        (
            lambda: audit_signals(
                1e200 * normal(0, 400).reshape(8, 50), Membership.of(halves(8, 50))
            ),
            r"^signals: up to \de\+200 is too large for logit margins$",
        ),
        (
            lambda: audit_signals(np.ones((50, 8)), Membership.of(halves(8, 50))),
            r"^signals and membership: expected two arrays of one shape \(pipelines, records\)",
        ),
    ],
)
def test_what_is_refused_is_named(call: Callable[[], object], message: str) -> None:
    with pytest.raises(KRError, match=message):
        call()
