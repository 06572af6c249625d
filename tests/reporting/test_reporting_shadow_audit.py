from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from knowledge_recycling import reporting
from knowledge_recycling.auditing.figures import Estimate
from knowledge_recycling.reporting.build import build
from knowledge_recycling.reporting.shadow_audit import reading


def page(run: Path) -> str:
    return build(run)["report.md"].decode()


def test_the_words_for_each_control(new_run: Any) -> None:
    assert "Not even the Teacher" in page(new_run(shadows="weak"))
    assert "membership was not random" in page(new_run(shadows="telling"))


def test_every_part_of_the_audit_is_in_the_chapter(new_run: Any) -> None:
    files = build(new_run(shadows="found"))
    text = files["report.md"].decode().split("Whole-pipeline shadows")[1]
    text = text.split("own protocol")[0]
    for words in (
        "16 whole pipelines on complementary random halves of the 1,290 training images",
        "drawn by 77 patients",
        "taken over from the run",
        "Teacher (control)",
        "With 77 members, made up.",
        "Whole patients",
        "60 records of the pool were replaced",
        "25 of 40 guesses right",
        "rounded: soft to one decimal",
        "The difference is 3.0 points (1.0 to 5.0): the Generator repeats members.",
        "too few",
    ):
        assert words in text, words
    assert {"figures/roc_shadows_models.png", "figures/roc_shadows_images.png"} <= set(files)


def test_without_canaries_the_worst_case_is_said_to_be_open(new_run: Any) -> None:
    run = new_run(shadows="found")
    path = run / "audit" / "result.json"
    tree = json.loads(path.read_text())
    tree["shadows"]["canaries"] = None
    path.write_text(json.dumps(tree))
    assert "The worst case is not measured." in page(run)


@pytest.mark.parametrize("shadows", ["weak", "telling"])
def test_a_failed_control_is_told_in_the_terminal(new_run: Any, shadows: str) -> None:
    rows = reporting.summary(new_run(shadows=shadows))
    assert any("too weak to conclude" in row[0] for row in rows)


@pytest.mark.parametrize("shadows", ["found", "weak", "telling", ""])
def test_a_report_never_says_safe_or_private(new_run: Any, shadows: str) -> None:
    text = page(new_run(shadows=shadows)).lower()
    chapter = text.split("## privacy")[1].split("\n## ")[0]
    assert "not found at this power" in chapter
    for word in ("is safe", "are safe", "is private", "anonymous", "immune", "no leak"):
        assert word not in chapter


def test_reading_follows_the_interval() -> None:
    assert reading(Estimate(0.6, 0.51, 0.7)) == "Above chance"
    assert reading(Estimate(0.6, 0.5, 0.7)) == "Not found at this power"
    assert reading(Estimate(0.4, 0.3, 0.49)).startswith("Below chance")
