"""Pages point at what is there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import knowledge_recycling
from tests.words import bare_auc

PACKAGE = Path(knowledge_recycling.__file__).parent
ROOT = Path(__file__).parents[1]
PAGES = (ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md")))


def anchors(page: Path) -> set[str]:
    """What a heading is called in a link, as GitHub makes it."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_to_files_and_headings(page: Path) -> None:
    for link in re.findall(r"\]\(([^)]+)\)", page.read_text(encoding="utf-8")):
        if link.startswith("https://"):
            continue
        file, _, heading = link.partition("#")
        target = page.parent / file if file else page
        assert target.exists(), link
        assert not heading or heading in anchors(target), link


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_an_auc_is_an_attacks_or_diagnostic(page: Path) -> None:
    assert bare_auc(page.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_files_that_are_named_exist(page: Path) -> None:
    """`folder/name.py` is below the package or the root, `test_name.py` somewhere in tests."""
    for name in re.findall(r"`([\w/]+(?:\.py|/))(?:::\w+)?`", page.read_text(encoding="utf-8")):
        found = [base / name for base in (PACKAGE, PACKAGE.parent, ROOT, ROOT / "tests")]
        if name.startswith("test_"):
            found += list((ROOT / "tests").rglob(name))
        if name.endswith(".py") or (PACKAGE / name.split("/")[0]).exists():
            assert any(path.exists() for path in found), name
