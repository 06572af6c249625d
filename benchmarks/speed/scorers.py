"""Scores of an attack, and figures from scores: this package beside others and a naive loop."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm

from benchmarks.speed import peers
from benchmarks.speed.clock import main, measured
from benchmarks.speed.turns import Cases, Program
from benchmarks.speed.work import PIPELINES, sides, signals
from knowledge_recycling.attacks import lira
from knowledge_recycling.auditing import Membership, audit_scores

RECORDS = 5000
LIRA = f"LiRA scores of ({PIPELINES}, {RECORDS:,})"
FIGURES = f"attack AUC, two TPRs and epsilon of {PIPELINES * RECORDS // 2:,} scores a side"
OURS = "this package"
NAIVE = "the published leave-one-out code, naively"
SACRO, JAX = "SACRO-ML", "jax_privacy"


def cases(folder: Path, python: str | None) -> Cases:
    """Both cases, with the peers that are installed for an interpreter."""
    del folder
    mine = {
        name: Program(("-m", "benchmarks.speed.scorers", name, str(RECORDS)))
        for name in ("lira", "naive", "figures")
    }
    scores = peers.programs({SACRO: ("sacroml_scores", 1)}, RECORDS, python)
    figures = peers.programs({JAX: ("jax_privacy", 1)}, RECORDS, python)
    return {
        LIRA: {OURS: mine["lira"], NAIVE: mine["naive"]} | scores,
        FIGURES: {OURS: mine["figures"]} | figures,
    }


def naive_scores(phi: NDArray[np.float64], mask: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Log-likelihood ratio (K, N) by Carlini et al., arXiv:2112.03570, of each pipeline in turn.

    As their code has it: the median and the standard deviation of each record's own signals under
    all other pipelines, a Gaussian with and one without.
    """
    scores = np.empty_like(phi)
    for target in range(len(phi)):
        others = np.arange(len(phi)) != target
        for record in range(phi.shape[1]):
            value, found, member = phi[target, record], phi[others, record], mask[others, record]
            densities = [
                norm.logpdf(value, np.median(side), np.std(side) + 1e-30)
                for side in (found[member], found[~member])
            ]
            scores[target, record] = densities[0] - densities[1]
    return scores


def by_lira(records: int) -> None:
    """This package's, vectorised over targets and records."""
    phi, mask = signals(records)
    measured(lambda: lira.online(phi, Membership.of(mask)))


def naively(records: int) -> None:
    """A Python loop per left-out pipeline and per record."""
    given = signals(records)
    measured(lambda: naive_scores(*given))


def figures(records: int) -> None:
    """This package's figures of one attack, with their intervals."""
    given = sides(records)
    measured(lambda: audit_scores(*given))


if __name__ == "__main__":
    main({"lira": by_lira, "naive": naively, "figures": figures})
