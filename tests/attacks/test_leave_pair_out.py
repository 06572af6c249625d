"""Facts that every attack on shadows shares: its formula, its null and its positive control."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
from scipy import stats
from scipy.special import polygamma

from knowledge_recycling.attacks import lira, rmia, shrunken_t, student_t
from knowledge_recycling.attacks.leave_pair_out import (
    as_signals,
    leave_pair_out,
    moments,
)
from knowledge_recycling.errors import KRError
from knowledge_recycling.membership.members import Membership
from knowledge_recycling.statistics.rates import auc

ATTACKS = {
    "lira_online": lira.online,
    "lira_offline": lira.offline,
    "student_t": student_t.online,
    "shrunken_t": shrunken_t.online,
    "rmia_online": rmia.online,
    "rmia_offline": rmia.offline,
}

of = Membership.of


def halves(rng: np.random.Generator, pipelines: int, records: int) -> np.ndarray:
    """Complementary pairs of random halves."""
    half = rng.random((pipelines // 2, records)).argsort(axis=1) < records // 2
    return np.concatenate([half, ~half])


def simulated(
    pipelines: int = 8, records: int = 30, leak: float = 0.0, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    member = halves(rng, pipelines, records)
    spread = rng.gamma(4, 0.25, records)
    noise = rng.normal(size=(pipelines, records)) * spread
    return noise + 2 * rng.normal(size=records) + leak * member, member


def shadow_values(
    phi: np.ndarray, member: np.ndarray, k: int, n: int
) -> tuple[list[float], list[float]]:
    half = len(phi) // 2
    others = [j for j in range(len(phi)) if j not in (k, (k + half) % len(phi))]
    inside = [float(phi[j, n]) for j in others if member[j, n]]
    return inside, [float(phi[j, n]) for j in others if not member[j, n]]


def pooled_variance(phi: np.ndarray, member: np.ndarray, k: int, side: int) -> float:
    values = [shadow_values(phi, member, k, n)[side] for n in range(phi.shape[1])]
    square = sum((x - np.mean(v)) ** 2 for v in values for x in v)
    return float(square / sum(max(len(v) - 1, 0) for v in values))


def test_lira_equals_a_naive_loop_with_pooled_variance() -> None:
    phi, member = simulated()
    online, offline = lira.online(phi, of(member)), lira.offline(phi, of(member))
    for k in range(8):
        s_in, s_out = (pooled_variance(phi, member, k, side) ** 0.5 for side in (0, 1))
        for n in range(30):
            inside, outside = shadow_values(phi, member, k, n)
            log_out = stats.norm.logpdf(phi[k, n], np.mean(outside), s_out)
            log_in = stats.norm.logpdf(phi[k, n], np.mean(inside), s_in) if inside else log_out
            assert online[k, n] == pytest.approx(log_in - log_out, abs=1e-9)
            z = (phi[k, n] - np.mean(outside)) / s_out
            assert math.exp(offline[k, n]) == pytest.approx(stats.norm.cdf(z), abs=1e-9)


def test_lira_uses_each_records_own_variance_from_32_shadows_a_side() -> None:
    few, many = (simulated(pipelines=k, records=20, seed=1) for k in (64, 68))
    own = lira.online(many[0], of(many[1]))
    assert lira.PER_RECORD_FROM == 32
    for n in range(4):
        inside, outside = shadow_values(*many, 0, n)
        expected = stats.norm.logpdf(many[0][0, n], np.mean(inside), np.std(inside, ddof=1))
        expected -= stats.norm.logpdf(many[0][0, n], np.mean(outside), np.std(outside, ddof=1))
        assert own[0, n] == pytest.approx(expected, abs=1e-9)
    # 64 pipelines leave 31 shadows a side: pooled.
    s_in, s_out = (pooled_variance(*few, 0, side) ** 0.5 for side in (0, 1))
    inside, outside = shadow_values(*few, 0, 0)
    expected = stats.norm.logpdf(few[0][0, 0], np.mean(inside), s_in)
    expected -= stats.norm.logpdf(few[0][0, 0], np.mean(outside), s_out)
    assert lira.online(few[0], of(few[1]))[0, 0] == pytest.approx(expected, abs=1e-9)


def test_pooled_variance_does_not_see_the_spread_between_records() -> None:
    rng = np.random.default_rng(0)
    member = halves(rng, 16, 60)
    phi = rng.normal(size=(16, 60)) + member
    # A shift of a record is no news to an attack that knows the record; to one with a global
    # mean or variance it is everything.
    far = phi + 100 * rng.normal(size=60)
    for attack in (lira.online, lira.offline, student_t.online, shrunken_t.online):
        np.testing.assert_allclose(attack(far, of(member)), attack(phi, of(member)), atol=1e-6)


@pytest.mark.parametrize("leak", [0.0, 0.7])
def test_shrunken_t_equals_a_naive_loop(leak: float) -> None:
    phi, member = simulated(pipelines=12, records=25, leak=leak, seed=2)
    found = shrunken_t.online(phi, of(member))
    for k in range(12):
        split = [shadow_values(phi, member, k, n) for n in range(25)]
        assert all(inside and outside for inside, outside in split)
        ratio = pooled_variance(phi, member, k, 0) / pooled_variance(phi, member, k, 1)
        d = [len(i) + len(o) - 2 for i, o in split]
        square = [np.var(i) * len(i) / ratio + np.var(o) * len(o) for i, o in split]
        d0, s02 = student_t.prior([q / m for q, m in zip(square, d, strict=True)], d)
        infinite = math.isinf(d0)
        s2 = [
            s02 if infinite else (d0 * s02 + q) / (d0 + m) for q, m in zip(square, d, strict=True)
        ]
        noise = [ratio * v / len(i) + v / len(o) for v, (i, o) in zip(s2, split, strict=True)]
        apart = [np.mean(i) - np.mean(o) for i, o in split]
        weights = [1 / v for v in noise]
        mean = sum(w * x for w, x in zip(weights, apart, strict=True)) / sum(weights)
        q = sum(w * (x - mean) ** 2 for w, x in zip(weights, apart, strict=True))
        scale = sum(weights) - sum(w * w for w in weights) / sum(weights)
        tau2 = max(0.0, (q - 24) / scale)
        weights = [1 / (v + tau2) for v in noise]
        delta = sum(w * x for w, x in zip(weights, apart, strict=True)) / sum(weights)
        scores = []
        for n in range(25):
            inside, outside = split[n]
            shift = delta + tau2 / (tau2 + noise[n]) * (apart[n] - delta)
            spread = tau2 * noise[n] / (tau2 + noise[n])
            w_in, w_out = len(inside) / (ratio * s2[n]), len(outside) / s2[n]
            w = w_in + w_out
            centre = (w_in * np.mean(inside) + w_out * np.mean(outside)) / w
            logs = []
            for at, own, share in (
                (centre + w_out / w * shift, ratio * s2[n], w_out / w),
                (centre - w_in / w * shift, s2[n], w_in / w),
            ):
                sd = math.sqrt(own + 1 / w + share**2 * spread)
                density = stats.norm(at, sd) if infinite else stats.t(d0 + d[n], at, sd)
                logs.append(density.logpdf(phi[k, n]))
            scores.append(logs[0] - logs[1])
        expected = (np.array(scores) - np.mean(scores)) / np.std(scores)
        np.testing.assert_allclose(found[k], expected, atol=1e-9)


def test_a_small_leak_of_most_records_is_better_seen_with_shrunken_shifts() -> None:
    found: dict[str, list[float]] = {"student_t": [], "shrunken_t": []}
    for seed in range(5):
        phi, member = simulated(pipelines=16, records=400, leak=0.3, seed=seed)
        for name, values in found.items():
            scores = ATTACKS[name](phi, of(member))
            values.append(auc(scores[member], scores[~member]))
    assert np.mean(found["shrunken_t"]) > np.mean(found["student_t"]) + 0.02


def test_pooled_targets_without_a_leak_stay_at_chance() -> None:
    """Without standardising, this mean is 0.4973 with a standard error of 0.0006."""
    found = []
    for seed in range(400):
        phi, member = simulated(pipelines=8, records=100, seed=seed)
        scores = shrunken_t.online(phi, of(member))
        found.append(auc(scores[member], scores[~member]))
    assert abs(np.mean(found) - 0.5) < 3 * np.std(found) / 20


@pytest.mark.parametrize("leak", [0.0, 0.7])
def test_student_t_equals_a_naive_loop(leak: float) -> None:
    phi, member = simulated(pipelines=12, records=25, leak=leak, seed=2)
    found = student_t.online(phi, of(member))
    for k in range(12):
        split = [shadow_values(phi, member, k, n) for n in range(25)]
        total = np.zeros(25)
        for side, sign in ((0, 1), (1, -1)):
            values = [pair[side] for pair in split]
            several = [v for v in values if len(v) > 1]
            d0, s02 = student_t.prior(
                [np.var(v, ddof=1) for v in several], [len(v) - 1 for v in several]
            )
            for n, v in enumerate(values):
                d = len(v) - 1
                s2 = np.var(v, ddof=1) if d else 0.0
                shrunk = s02 if math.isinf(d0) else (d0 * s02 + d * s2) / (d0 + d)
                scale = (shrunk * (1 + 1 / len(v))) ** 0.5
                total[n] += sign * stats.t.logpdf(phi[k, n], d0 + d, np.mean(v), scale)
        np.testing.assert_allclose(found[k], total, atol=1e-9)


def test_prior_recovers_what_the_variances_were_drawn_from() -> None:
    rng = np.random.default_rng(0)
    d = np.tile([3.0, 7.0], 20_000)
    sigma2 = 2.0 * 8.0 / rng.chisquare(8.0, d.size)
    d0, s02 = student_t.prior(sigma2 * rng.chisquare(d) / d, d)
    # Over 40,000 variances the moments give d0 to a few per cent, s0^2 to one.
    assert d0 == pytest.approx(8.0, rel=0.1)
    assert s02 == pytest.approx(2.0, rel=0.02)


def test_prior_of_equal_variances_pools_them() -> None:
    d0, s02 = student_t.prior([2.0, 2.0, 2.0], [4, 4, 4])
    assert math.isinf(d0)
    assert s02 == pytest.approx(2.0)


def test_inverse_trigamma() -> None:
    for x in (1e-4, 0.1, 1.0, 30.0, 1e5):
        y = float(polygamma(1, x))
        assert student_t.inverse_trigamma(y) == pytest.approx(x, rel=1e-6)
    assert student_t.inverse_trigamma(1e8) == pytest.approx(1e-4)
    assert student_t.inverse_trigamma(1e-7) == pytest.approx(1e7)


@pytest.mark.parametrize("gamma", [1.0, 2.0])
def test_rmia_equals_the_n_by_m_matrix(gamma: float) -> None:
    phi, member = simulated(pipelines=10, records=20, leak=0.5)
    p = 1 / (1 + np.exp(-phi))
    online = rmia.online(phi, of(member), gamma=gamma)
    offline = rmia.offline(phi, of(member), gamma=gamma, a=0.3)
    for k in range(10):
        r_online, r_offline = np.empty(20), np.empty(20)
        for n in range(20):
            inside, outside = (np.array(v) for v in shadow_values(phi, member, k, n))
            p_in, p_out = (np.mean(1 / (1 + np.exp(-v))) for v in (inside, outside))
            r_online[n] = p[k, n] / ((p_in + p_out) / 2)
            r_offline[n] = p[k, n] / ((1.3 * p_out + 0.7) / 2)
        for found, r in ((online, r_online), (offline, r_offline)):
            naive = (r[:, None] / r[None, :] > gamma).mean(axis=1)
            np.testing.assert_allclose(found[k], naive, atol=1e-9)


def test_rmia_of_vanishing_probabilities_is_finite() -> None:
    phi, member = simulated()
    found = rmia.online(phi - 2000, of(member))
    assert np.isfinite(found).all()


@pytest.mark.parametrize("name", ATTACKS)
def test_a_planted_leak_is_found(name: str) -> None:
    phi, member = simulated(pipelines=16, records=100, leak=6.0)
    scores = ATTACKS[name](phi, of(member))
    assert auc(scores[member], scores[~member]) > (0.85 if name == "rmia_offline" else 0.95)


@pytest.mark.parametrize("name", ATTACKS)
def test_shuffled_membership_gives_chance(name: str) -> None:
    phi, member = simulated(pipelines=16, records=300, leak=3.0)
    shuffled = halves(np.random.default_rng(77), 16, 300)
    scores = ATTACKS[name](phi, of(shuffled))
    # Standard error of the AUC of 2 x 2400 trials: 1 / sqrt(6 * 2400) = 0.008; four of them.
    assert auc(scores[shuffled], scores[~shuffled]) == pytest.approx(0.5, abs=0.033)
    assert not np.array_equal(shuffled, member)


@pytest.mark.parametrize("name", ATTACKS)
def test_without_a_leak_the_auc_is_fair(name: str) -> None:
    found = null_aucs(name, keep_the_pair=False)
    error = float(np.std(found, ddof=1)) / len(found) ** 0.5
    assert np.mean(found) == pytest.approx(0.5, abs=4 * error)


@pytest.mark.parametrize("name", ["lira_online", "student_t"])
def test_with_the_complement_among_the_shadows_the_null_falls_below_chance(name: str) -> None:
    fair, unfair = (np.array(null_aucs(name, keep_the_pair=kept)) for kept in (False, True))
    # The same simulations with and without, so the difference has little noise.
    loss = fair - unfair
    assert loss.mean() > 4 * loss.std(ddof=1) / loss.size**0.5
    # 0.48 to 0.49 at 16 pipelines: the count of a record's IN shadows betrays the target.
    assert 0.475 < unfair.mean() < 0.495


def balanced(rng: np.random.Generator, pipelines: int, records: int) -> np.ndarray:
    """Each record in exactly half of the pipelines, which are no pairs: LiRA's own design."""
    return rng.random((pipelines, records)).argsort(axis=0) < pipelines // 2


def coins(rng: np.random.Generator, pipelines: int, records: int) -> np.ndarray:
    """An independent coin for each record and pipeline, heads with probability 0.4."""
    return rng.random((pipelines, records)) < 0.4


@pytest.mark.parametrize("design", [balanced, coins])
@pytest.mark.parametrize("name", ATTACKS)
def test_designs_without_pairs_are_fair(name: str, design: Callable[..., np.ndarray]) -> None:
    found = []
    for seed in range(40):
        rng = np.random.default_rng(seed)
        member = of(design(rng, 8, 300))
        assert (member.pairs == -1).all()
        phi = rng.gamma(4, 0.25, 300) * rng.normal(size=(8, 300)) + 2 * rng.normal(size=300)
        scores = ATTACKS[name](phi, member)
        found.append(auc(scores[member.mask], scores[~member.mask]))
    assert np.mean(found) == pytest.approx(0.5, abs=4 * np.std(found, ddof=1) / 40**0.5)


def test_a_balanced_design_falls_below_chance_with_all_shadows() -> None:
    """As LiRA is published: the count of a record's IN shadows betrays the target."""
    found = []
    for seed in range(40):
        rng = np.random.default_rng(seed)
        member = balanced(rng, 8, 300)
        phi = rng.normal(size=(8, 300))
        half = np.arange(8) ^ 1  # wrong pairs: one shadow is left out blindly
        scores = lira.online(phi, Membership(member, half))
        found.append(auc(scores[member], scores[~member]))
    assert np.mean(found) < 0.49


def test_a_leak_is_found_without_pairs() -> None:
    rng = np.random.default_rng(0)
    member = balanced(rng, 16, 300)
    scores = lira.online(rng.normal(size=(16, 300)) + 2 * member, of(member))
    assert auc(scores[member], scores[~member]) > 0.85


@pytest.mark.parametrize("design", [balanced, coins])
def test_even_shadows_are_even_and_do_not_tell_the_target(
    design: Callable[..., np.ndarray],
) -> None:
    member = of(design(np.random.default_rng(0), 9, 200))
    counts = []
    for k in range(9):
        kept = member.even_shadows(k)
        assert not kept[k].any()
        inside, outside = (kept & member.mask).sum(axis=0), (kept & ~member.mask).sum(axis=0)
        assert (inside == outside).all()
        counts.append(inside)
    assert (np.ptp(counts, axis=0) == 0).all()


def null_aucs(name: str, keep_the_pair: bool) -> list[float]:
    found = []
    for seed in range(12):
        phi, member = simulated(pipelines=16, records=400, seed=seed)
        # Two neighbours are no complements: each target's complement stays among its shadows.
        wrong = Membership(member, np.arange(16) ^ 1)
        scores = ATTACKS[name](phi, wrong if keep_the_pair else of(member))
        found.append(auc(scores[member], scores[~member]))
    return found


def test_a_record_without_in_shadows_is_neutral() -> None:
    rng = np.random.default_rng(0)
    member = halves(rng, 8, 20)
    member[:, 3] = False
    phi = rng.normal(size=(8, 20))
    never, always = of(member), of(~member)
    assert never.pairs.tolist() == np.roll(np.arange(8), 4).tolist()
    assert (lira.online(phi, never)[:, 3] == 0).all()
    assert (student_t.online(phi, never)[:, 3] == 0).all()
    assert np.isfinite(rmia.online(phi, never)).all()
    assert (np.exp(lira.offline(phi, always)[:, 3]) == 0.5).all()


def test_leave_pair_out_and_moments_equal_loops_beside_huge_terms() -> None:
    rng = np.random.default_rng(0)
    values = rng.normal(size=(5, 7))
    values[0] *= 1e12
    pairs = np.array([1, 0, -1, 4, 3])
    membership = Membership(np.ones((5, 7), dtype=bool), pairs)
    found = leave_pair_out(values, membership)
    for k, partner in enumerate(pairs):
        rest = [j for j in range(5) if j not in (k, partner)]
        np.testing.assert_allclose(found[k], values[rest].sum(axis=0), rtol=1e-12)
    one = moments(values[:, :1], np.ones((5, 1), dtype=bool), membership)
    np.testing.assert_allclose(one.count[:, 0], [3, 3, 4, 3, 3])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: as_signals(np.zeros((4, 2)), of(np.eye(4)[:2])), "two arrays of one shape"),
        (lambda: as_signals(np.zeros((2, 4)), of(np.eye(4)[:2])), "2 pipelines are too few"),
        (lambda: as_signals(np.full((4, 4), np.inf), of(np.eye(4))), "NaN or infinite"),
        (
            lambda: lira.online(np.zeros((4, 3)), of(np.eye(4)[:, :3])),
            "too few shadows for a variance",
        ),
        (lambda: student_t.prior([1.0], [3]), "too few records or shadows"),
        (lambda: rmia.online(np.zeros((3, 3)), of(np.eye(3)), gamma=0), "gamma: 0 is not above 0"),
        (lambda: rmia.offline(np.zeros((3, 3)), of(np.eye(3)), a=2), "a: 2 is not between 0 and 1"),
    ],
)
def test_errors_say_what_is_wrong(call: Callable[[], object], message: str) -> None:
    with pytest.raises(KRError, match=message):
        call()
