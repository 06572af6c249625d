"""The search alone, on a bench whose figures are a formula."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import optuna
import pytest

from knowledge_recycling.config import Config
from knowledge_recycling.results import Trial
from knowledge_recycling.stages import tuning
from knowledge_recycling.synthesis.parameters import Parameters
from knowledge_recycling.synthesis.probes import Bench
from knowledge_recycling.synthesis.source import Source
from knowledge_recycling.training.runtime import Runtime

TRIALS = 14


class Formula:
    """Accuracy that is best at s = 1.3 and that prunes the worst trials; may be killed."""

    def __init__(self, killed_in: int | None = None) -> None:
        self.killed_in = killed_in
        self.calls = 0

    def score(
        self, source: Source, steps: int, look: str, of: str, watch: Callable[..., None], looks: int
    ) -> dict[str, float]:
        p = source.parameters
        self.calls += 1
        accuracy = 1 - abs(p.latent_std - 1.3) - 0.05 * p.temperature - 0.1 * p.filter_threshold
        for number in range(1, looks + 1):
            if self.calls == self.killed_in:
                raise KeyboardInterrupt
            figures = {"accuracy": accuracy * number / looks, "auc": 0.5, "loss": 1 / 3}
            watch(number, figures)
        return figures


def search(folder: Path, bench: Formula, *settings: str) -> list[Trial]:
    folder.mkdir(exist_ok=True)
    config = Config.resolve("digits", settings=[f"tuning.trials={TRIALS}", *settings])
    nothing = cast(Any, None)
    plain = Source(nothing, nothing, Parameters(), (1, 1), Runtime.of(config))
    return tuning._Search(config, cast(Bench, bench), plain, folder).trials()


@pytest.mark.parametrize("setting", ["tuning.steps=80", "tuning.latent_std=[1.2, 1.8]"])
def test_killed_in_any_trial_it_ends_where_it_would_have(tmp_path: Path, setting: str) -> None:
    """Also where the default, which is always tried, lies outside the range that is searched."""
    whole = search(tmp_path / "whole", Formula(), setting)
    assert {row.state for row in whole} == {"complete", "pruned"}
    for killed_in in range(1, TRIALS + 1):
        folder = tmp_path / str(killed_in)
        with pytest.raises(KeyboardInterrupt):
            search(folder, Formula(killed_in), setting)
        assert search(folder, Formula(), setting) == whole
        written = (tmp_path / "whole" / "trials.json").read_bytes()
        assert (folder / "trials.json").read_bytes() == written


def test_the_default_comes_first_and_the_sampler_learns(tmp_path: Path) -> None:
    table = search(tmp_path, Formula())
    assert table[0].parameters == Parameters(1.0, "real", 2.0, 0.0)
    late = [abs(row.latent_std - 1.3) for row in table[-5:]]
    assert sum(late) / 5 < 0.2, "uniform over 0.8 to 1.8 it would be 0.25"
    assert {type(row) for row in table} == {Trial}


def test_nothing_experimental_is_used(tmp_path: Path, recwarn: pytest.WarningsRecorder) -> None:
    search(tmp_path, Formula())
    kinds = {warning.category for warning in recwarn}
    assert optuna.exceptions.ExperimentalWarning not in kinds
    assert [path.name for path in tmp_path.iterdir()] == ["trials.json"]
