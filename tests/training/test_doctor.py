"""What the examination of a machine says, with what it needs and without."""

from __future__ import annotations

import importlib.metadata
import sys

import pytest

from knowledge_recycling.training import doctor


def found(monkeypatch: pytest.MonkeyPatch, requirements: list[str], **installed: str) -> list[str]:
    monkeypatch.setattr(importlib.metadata, "requires", lambda _: requirements)
    monkeypatch.setattr(importlib.metadata, "version", lambda _: "0.1.0")
    monkeypatch.setattr(doctor, "_version", installed.get)
    return [f"{f.what}: {f.found}{' !' * f.missing}" for f in doctor._packages()]


def test_what_is_missing_is_named_with_its_cure(monkeypatch: pytest.MonkeyPatch) -> None:
    needed = ["torch>=2.5", "scipy (>=1.12)", "rich<99,>=13.7", "plain", "lost>=3"]
    extras = ['pytest>=8; extra == "test"', 'prdc>=0.2; extra == "test"', "ray; extra == 'big'"]
    said = found(
        monkeypatch,
        needed + extras,
        torch="2.13.0+cpu",
        scipy="1.9.3",
        rich="15.0.0",
        plain="1",
        pytest="7.4",
        ray="2.0",
    )
    assert said == [
        "knowledge-recycling: 0.1.0",
        "torch: 2.13.0+cpu",
        "scipy: 1.9.3 is installed; run `pip install 'scipy>=1.12'` !",
        "rich: 15.0.0",
        "plain: 1",
        "lost: not installed; run `pip install 'lost>=3'` !",
        "extra `test`: not complete: `pip install 'knowledge-recycling[test]'` adds pytest, prdc",
        "extra `big`: complete",
    ]


def test_without_torch_it_still_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    (finding,) = doctor._compute()
    assert finding.missing
    assert "torch cannot be imported" in finding.found


def test_memory_and_disk_are_given_in_gib() -> None:
    assert doctor._disk().found.endswith("GiB free in this folder")
    assert "GiB available" in doctor._memory().found or sys.platform != "linux"
