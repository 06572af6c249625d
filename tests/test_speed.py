"""How `python -m benchmarks.speed` measures, and what it says of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from benchmarks.speed import pages, peers, plot, runs, scorers, shadows, turns, work
from benchmarks.speed.turns import Program
from knowledge_recycling.attacks import lira
from knowledge_recycling.auditing import Membership
from knowledge_recycling.config import Config
from knowledge_recycling.training.loop import Classifying, Recipe, cross_entropy
from knowledge_recycling.training.runtime import Runtime

CASES = {"a": {"ours": Program(("1",)), "other": Program(("2",))}, "b": {"ours": Program(("3",))}}


@pytest.fixture(autouse=True)
def own_results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(turns, "RESULT", tmp_path / "speed.json")
    monkeypatch.setattr(turns, "code", lambda: "some commit")
    return tmp_path / "speed.json"


class Clock:
    """Measures nothing; is stopped after so many measurements."""

    def __init__(self, stop_after: int = 100) -> None:
        self.seen: list[str] = []
        self.stop_after = stop_after

    def __call__(self, program: Program) -> dict[str, float]:
        """The number of measurements so far."""
        if len(self.seen) == self.stop_after:
            raise KeyboardInterrupt
        self.seen.append(program.words[0])
        return {"processor": len(self.seen)}


def counts() -> dict[str, int]:
    cases = turns.results()["part"]["cases"]
    return {f"{c} {v}": len(found) for c in cases for v, found in cases[c].items()}


def test_versions_and_cases_take_turns() -> None:
    clock = Clock()
    turns.take("part", CASES, {}, 2, clock)
    assert clock.seen == ["1", "2", "3", "1", "2", "3"]


def test_a_part_that_was_stopped_goes_on() -> None:
    with pytest.raises(KeyboardInterrupt):
        turns.take("part", CASES, {}, 3, Clock(stop_after=4))
    assert counts() == {"a ours": 2, "a other": 1, "b ours": 1}
    clock = Clock()
    turns.take("part", CASES, {}, 3, clock)
    assert clock.seen == ["2", "3", "1", "2", "3"]
    assert turns.results()["part"]["cases"]["a"]["ours"][1] == {"processor": 4}


def test_a_part_that_is_complete_is_left_alone(own_results: Path) -> None:
    turns.take("part", CASES, {}, 2, Clock())
    before = own_results.read_bytes()
    turns.take("part", {"a": CASES["a"]}, {}, 1, Clock(stop_after=0))
    assert own_results.read_bytes() == before


@pytest.mark.parametrize("changed", ["code", "cases"])
def test_turns_of_other_code_or_beside_other_versions_are_not_gone_on_with(
    changed: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    few = {"a": {"ours": Program(("1",))}, "b": CASES["b"]}
    with pytest.raises(KeyboardInterrupt):
        turns.take("part", few if changed == "cases" else CASES, {}, 3, Clock(stop_after=2))
    if changed == "code":
        monkeypatch.setattr(turns, "code", lambda: "another commit")
    clock = Clock()
    turns.take("part", CASES, {}, 1, clock)
    assert clock.seen == ["1", "2", "3"]


def test_a_program_measures_itself_or_is_measured_from_outside() -> None:
    told = "import os; print(os.environ.get('OMP_NUM_THREADS')); print('{\"processor\": 7}')"
    assert turns.measure(Program(("-c", told))) == {"processor": 7}
    busy = "sum(range(3_000_000)); x = bytearray(50 << 20)"
    idle, found = (turns.measure(Program(("-c", do), whole=True)) for do in ("pass", busy))
    assert found["processor"] > idle["processor"] > 0
    # This process, with torch in it, holds more: a child begins with what its parent holds.
    assert 50 < found["mib"] < 80


@pytest.mark.parametrize("whole", [True, False])
def test_a_program_that_fails_is_told(whole: bool) -> None:
    with pytest.raises(SystemExit, match="no such thing"):
        turns.measure(Program(("-c", "raise ValueError('no such thing')"), whole=whole))


def test_one_batched_training_is_the_trainings_one_by_one() -> None:
    """Batch norm's running statistics too: each network has its own."""
    where, recipe = Runtime.of(Config(precision="fp32")), Recipe(3, 0.01, 0.1)
    torch.manual_seed(0)
    x = torch.randn(3, 2, 8, 1, work.SIZE, work.SIZE)
    labels = torch.randint(0, work.CLASSES, (3, 2, 8))
    stacked = shadows.Stacked(recipe, where, count=2)
    for step in range(3):
        stacked.update(step, x[step], labels[step])
    for k in range(2):
        torch.manual_seed(k)
        alone = work.network()
        given = list(zip(x[:, k], labels[:, k], strict=True))
        learner = Classifying(alone, given.__getitem__, recipe, where, cross_entropy)
        for step in range(3):
            learner.step(step)
        for name, value in alone.state_dict().items():
            of = (stacked.weights | stacked.buffers)[name][k]
            torch.testing.assert_close(of.detach(), value, atol=2e-3, rtol=2e-2)


def test_the_naive_scores_find_what_the_packages_find() -> None:
    phi, mask = work.signals(200)
    phi = phi + 3 * mask
    naive, ours = scorers.naive_scores(phi, mask), lira.online(phi, Membership.of(mask))
    for scores in (naive, ours):
        assert np.mean(scores[mask][:, None] > scores[~mask][None]) > 0.9
    inside = phi[1:, 7][mask[1:, 7]]
    outside = phi[1:, 7][~mask[1:, 7]]
    expected = sum(
        sign * (-((phi[0, 7] - np.median(side)) ** 2) / 2 / side.var() - np.log(side.std()))
        for sign, side in ((1, inside), (-1, outside))
    )
    assert naive[0, 7] == pytest.approx(expected)


def write(path: Path, part: str, cases: dict[str, Any]) -> None:
    about = {"repeats": 1, "code": "c", "machine": "m", "peers": {}, "cases": cases}
    path.write_text(json.dumps({part: about}))


def test_what_a_thousand_more_records_cost_is_the_same_where_growth_is_linear(
    own_results: Path,
) -> None:
    cases = {
        f"{n:,} records": {
            "kr run": [{"seconds": 9, "processor": 5 + n / 500, "mib": 300 + n / 100}]
        }
        for n in runs.RECORDS
    }
    write(own_results, "pipeline", cases)
    rows = [line for line in pages.table().splitlines() if line.startswith(("| 5", "| 20", "| 50"))]
    assert [row.split(" | ")[-2:] for row in rows] == [["2", "10 |"]] * 3


def test_peers_that_were_not_there_are_named(own_results: Path) -> None:
    assert peers.programs(shadows.PEERS, 5, None) == {}
    turn = [{"seconds": 1.0, "processor": 2.0}]
    there = dict.fromkeys([*shadows.VERSIONS, "SACRO-ML, one thread"], turn)
    write(own_results, "shadows", {shadows.CASE: there})
    missing = [peer for peer in shadows.PEERS if peer != "SACRO-ML, one thread"]
    assert f"Not measured, for lack of it: {'; '.join(missing)}." in pages.table()


def test_the_plot_draws_what_there_is(own_results: Path) -> None:
    turn = [{"seconds": 1.0, "processor": 2.0, "mib": 3.0}]
    write(own_results, "pipeline", {f"{n:,} records": {"kr run": turn} for n in runs.RECORDS})
    found = plot.shown()
    assert found["pipeline"]["1,000 records"] == {"kr run": [2.0, 3.0]}
    path = own_results.with_suffix(".png")
    path.write_bytes(plot.draw(found))
    with Image.open(path) as image:
        assert image.info["Results"] == plot.digest(found)
