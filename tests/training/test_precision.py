from __future__ import annotations

import pytest
import torch

from knowledge_recycling.config import Config
from knowledge_recycling.training import precision
from knowledge_recycling.training.runtime import Runtime

CPU = torch.device("cpu")


def timed(fp32: float, bf16: float) -> dict[str, dict[str, float]]:
    return {kind: {"fp32": fp32, "bf16": bf16} for kind in ("product", "convolution")}


@pytest.mark.parametrize(
    ("bf16", "wanted"), [(2.0, "fp32"), (1.0, "fp32"), (0.95, "fp32"), (0.9, "bf16"), (0.4, "bf16")]
)
def test_bf16_must_be_faster_by_a_tenth(
    bf16: float, wanted: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(precision, "measure", lambda device: timed(1.0, bf16))
    found = precision.decide(CPU)
    assert found["precision"] == wanted
    assert found["gain"] == pytest.approx(1 / bf16)
    assert (found["device"], found["seconds"]) == ("cpu", timed(1.0, bf16))


def test_both_kinds_of_work_are_timed_in_both_precisions() -> None:
    found = precision.measure(CPU, seconds=0.0)
    assert set(found) == {"product", "convolution"}
    for times in found.values():
        assert set(times) == {"fp32", "bf16"}
        assert all(0 < seconds < 60 for seconds in times.values())


def test_measuring_draws_no_random_number() -> None:
    before = torch.get_rng_state()
    precision.measure(CPU, seconds=0.0)
    assert torch.equal(before, torch.get_rng_state())


def test_a_getter_gets_and_only_the_start_sets_threads() -> None:
    threads = torch.get_num_threads()
    config = Config.resolve("digits", settings=[f"runtime.threads={threads + 1}"])
    try:
        assert Runtime.of(config).precision == "fp32"
        assert torch.get_num_threads() == threads
        Runtime.start(config)
        assert torch.get_num_threads() == threads + 1
    finally:
        torch.set_num_threads(threads)
