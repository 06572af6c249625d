"""A class of very few patients: the page says why it is not shown, or what showing it means."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from knowledge_recycling import reporting
from knowledge_recycling.generators.tiny import LEAST_PATIENTS
from knowledge_recycling.reporting.chapters import images
from knowledge_recycling.reporting.document import Notice, Strips
from knowledge_recycling.reporting.reader import RunResults
from knowledge_recycling.storage.files import write_json


@pytest.fixture
def tiny(new_run: Any) -> Path:
    """A run whose second class, `dog`, is tiny."""
    run: Path = new_run()
    result = RunResults.load(run).generator
    assert result is not None
    tree = result.model_copy(update={"tiny_classes": ("dog",)}).tree()
    write_json(run / "generator" / "result.json", tree)
    return run


def hide(run: Path, index: int) -> None:
    """As the stage `distillation` does."""
    path = run / "distillation" / "samples.npz"
    with np.load(path, allow_pickle=False) as file:
        samples = dict(file)
    samples["images"][index], samples["soft_labels"][index] = 0, 0
    np.savez(path, **samples)


def test_a_hidden_class_has_a_reason_and_no_black_picture(tiny: Path) -> None:
    hide(tiny, 1)
    blocks = images(RunResults.load(tiny), False).blocks
    (notice,) = [block for block in blocks if isinstance(block, Notice)]
    assert notice.title == "Classes that are not shown."
    assert notice.text.startswith("dog: of fewer than ten patients")
    assert LEAST_PATIENTS == 10, "the number in words above"
    (rows,) = [block.rows for block in blocks if isinstance(block, Strips)]
    assert [(row.label, len(row.pictures)) for row in rows] == [("cat", 1), ("dog", 0), ("owl", 1)]
    assert rows[1].note == "not shown: too few patients"
    files = reporting.build(tiny)
    assert "figures/synthetic_000.png" in files
    assert "figures/synthetic_001.png" not in files
    for page in ("report.html", "report.md"):
        assert "not shown: too few patients" in files[page].decode()


def test_a_tiny_class_that_is_shown_is_a_danger(tiny: Path) -> None:
    blocks = images(RunResults.load(tiny), False).blocks
    (notice,) = [block for block in blocks if isinstance(block, Notice)]
    assert notice.tone == "danger"
    assert "distillation.tiny_classes=keep" in notice.text
    (rows,) = [block.rows for block in blocks if isinstance(block, Strips)]
    assert [len(row.pictures) for row in rows] == [1, 1, 1]


def test_without_tiny_classes_nothing_is_said(new_run: Any) -> None:
    blocks = images(RunResults.load(new_run()), False).blocks
    assert not [block for block in blocks if isinstance(block, Notice)]
