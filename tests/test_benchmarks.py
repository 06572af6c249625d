"""What README and docs quote is what the committed result files say."""

from __future__ import annotations

import json
from typing import Any

import pytest

from benchmarks import common, coverage, privacy, utility

TABLES: dict[str, Any] = {"utility": utility, "privacy": privacy}


@pytest.mark.parametrize("name", TABLES)
def test_readme_quotes_the_result_files(name: str) -> None:
    page = common.README.read_text(encoding="utf-8")
    assert common.quoted(page, name, TABLES[name].table()) == page


@pytest.mark.parametrize("name", TABLES)
def test_docs_quote_the_result_files(name: str) -> None:
    assert TABLES[name].TABLE.read_text(encoding="utf-8").endswith(TABLES[name].table())


def test_simulated_coverage_lies_between_93_and_97_percent() -> None:
    found = json.loads(coverage.RESULT.read_text())
    assert set(found["intervals"]) == set(coverage.INTERVALS)
    for name, interval in found["intervals"].items():
        assert interval["repeats"] >= 1000, name
        assert 0.93 <= interval["coverage"] <= 0.97, name
