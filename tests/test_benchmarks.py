"""What README and docs quote is what the committed result files say."""

from __future__ import annotations

from benchmarks import utility


def test_readme_quotes_the_result_files() -> None:
    page = utility.README.read_text(encoding="utf-8")
    assert utility.quoted(page) == page


def test_docs_quote_the_result_files() -> None:
    assert utility.TABLE.read_text(encoding="utf-8").endswith(utility.table())
