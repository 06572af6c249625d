"""Planted copies are found, and what is new is found as often as is said."""

from __future__ import annotations

import numpy as np
import pytest

from knowledge_recycling.results import AuditResult, SyntheticCopies
from knowledge_recycling.statistics.binomial import proportion
from knowledge_recycling.synthesis.copies import CopyFinder


def test_copies_are_found() -> None:
    rng = np.random.default_rng(1)
    train, validation, new = rng.integers(0, 256, (3, 200, 16, 16, 1), dtype=np.uint8)
    finder = CopyFinder(train, validation)
    assert finder(train).all()
    noisy = np.clip(train.astype(int) + rng.integers(-9, 10, train.shape), 0, 255)
    assert finder(noisy.astype(np.uint8)).all()
    assert finder(new).mean() < 0.1
    blurred = np.full((50, 16, 16, 1), 127, np.uint8)
    assert not finder(blurred).any(), "near to everything, and a copy of nothing"


def test_copies_of_one_of_many_frames_are_found() -> None:
    rng = np.random.default_rng(2)
    patients = rng.integers(0, 256, (40, 1, 16, 16, 1))
    frames = np.clip(patients + rng.integers(-9, 10, (40, 5, 16, 16, 1)), 0, 255)
    frames = frames.astype(np.uint8).reshape(-1, 16, 16, 1)
    groups = np.arange(200) // 5
    finder = CopyFinder(frames[:100], frames[100:], groups[100:])
    assert finder(frames[:100]).all()
    assert finder(rng.integers(0, 256, (200, 16, 16, 1), dtype=np.uint8)).mean() < 0.15


@pytest.mark.parametrize("count", [20, 150, 400])
def test_as_many_are_found_by_chance_as_is_said(count: int) -> None:
    rng = np.random.default_rng(count)
    shares, said = [], 0.0
    for _ in range(40):
        train, new = rng.integers(0, 256, (2, 100, 8, 8, 1), dtype=np.uint8)
        validation = rng.integers(0, 256, (count, 8, 8, 1), dtype=np.uint8)
        finder = CopyFinder(train, validation)
        shares.append(finder(new).mean())
        said = finder.by_chance
    error = np.std(shares) / np.sqrt(len(shares))
    assert abs(np.mean(shares) - said) < 3 * error + 0.005


def of(found: int) -> SyntheticCopies:
    share = proportion(np.arange(1000) < found)
    return SyntheticCopies(images=1000, found=found, share=share, by_chance=0.01)


def test_more_copies_than_by_chance_are_said_to_be_copies() -> None:
    assert of(12).sentence() == (
        "12 of 1000 synthetic images lie as near to a training image as only a copy should; "
        "about 1.0% would be by chance. They are not known to copy them."
    )
    assert of(40).sentence().endswith("by chance. They copy the training images.")
    assert (of(12).too_many, of(40).too_many) == (False, True)


@pytest.mark.parametrize(("found", "warned"), [(12, False), (40, True)])
def test_the_audit_warns_of_copies(found: int, warned: bool) -> None:
    audit = AuditResult(
        protocols=("paper",), warning="W", members=1, nonmembers=1, targets={}, copies=of(found)
    )
    assert audit.warnings() == ["W", *([of(found).sentence()] if warned else [])]
