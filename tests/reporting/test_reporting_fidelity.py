from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from knowledge_recycling import reporting
from knowledge_recycling.reporting.chapters import images
from knowledge_recycling.reporting.document import Heading, Table, Text
from knowledge_recycling.reporting.fidelity import MEANINGS, fidelity
from knowledge_recycling.reporting.reader import RunResults


def changed(run: Path, change: Callable[[dict[str, Any]], object]) -> RunResults:
    path = run / "evaluation" / "result.json"
    tree = json.loads(path.read_text())
    change(tree)
    path.write_text(json.dumps(tree))
    return RunResults.load(run)


def tables(results: RunResults) -> tuple[Table, Table]:
    overall, by_class = (block for block in fidelity(results) if isinstance(block, Table))
    return overall, by_class


@pytest.fixture
def results(new_run: Any) -> RunResults:
    return RunResults.load(new_run())


def test_each_figure_stands_beside_its_yardstick_and_its_meaning(results: RunResults) -> None:
    table, _ = tables(results)
    rows = {row[0].text: [cell.text for cell in row[1:]] for row in table.rows}
    assert list(rows) == ["FID", "KID", "Precision", "Recall", "Density", "Coverage"]
    assert rows["KID"] == ["0.125", "0.125", "-0.062", MEANINGS["kid"]]
    assert rows["Coverage"] == ["61.0%", "61.0%", "96.5%", MEANINGS["coverage"]]
    assert list(table.head[1:4]) == ["All synthetic", "76 synthetic", "76 real instead"]
    assert "both against 74 other real images" in table.caption


def test_the_space_is_named_and_cas_is_beside_it(results: RunResults) -> None:
    words = next(block for block in fidelity(results) if isinstance(block, Text)).text
    assert words.startswith("93 synthetic images, drawn as the Student's were, and 150 test images")
    assert "in the space of the Teacher's penultimate features." in words
    assert words.endswith("the Student's accuracy (CAS), 88.1%.")


def test_a_forgotten_class_is_set_off(results: RunResults) -> None:
    _, table = tables(results)
    assert table.head[1] == "Coverage"
    coverage = [row[1] for row in table.rows]
    assert [cell.tone for cell in coverage] == ["", "bad", ""]
    assert (coverage[0].text, coverage[0].note) == ("61.0%", "real 98.0%")
    assert (coverage[1].text, coverage[1].note) == ("21.0%", "hardly covered; real 98.0%")
    assert coverage[1].share == 0.21


def test_a_class_of_too_few_images_says_so(results: RunResults) -> None:
    _, table = tables(results)
    assert table.rows[-1][0].note == "3 for 60 real: too few"
    assert [cell.text for cell in table.rows[-1][1:]] == ["n/a"] * 6
    assert {len(row) for row in table.rows} == {len(table.head)}


def test_the_tables_follow_the_images(results: RunResults) -> None:
    headings = [b.text for b in images(results, False).blocks if isinstance(b, Heading)]
    assert headings == ["Beside real images"]


def test_an_older_run_has_no_diagnostics(new_run: Any) -> None:
    run = new_run()
    older = changed(run, lambda tree: tree.pop("diagnostics"))
    assert fidelity(older) == []
    assert b"Beside real images" not in reporting.build(run)["report.html"]


def test_before_the_evaluation_there_is_nothing(new_run: Any) -> None:
    assert fidelity(RunResults.load(new_run(until="distillation"))) == []


def test_figures_of_a_tiny_test_set_are_not_available(new_run: Any) -> None:
    def forget(tree: dict[str, Any]) -> None:
        found = tree["diagnostics"]
        for side in (found["overall"], found["yardstick"]["synthetic"], found["yardstick"]["real"]):
            side.update(dict.fromkeys(side))

    table, _ = tables(changed(new_run(), forget))
    assert {cell.text for row in table.rows for cell in row[1:4]} == {"n/a"}
