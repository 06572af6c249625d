"""axe-core finds nothing on the pages: every rule, a phone and a desk, light and dark."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.resources import files
from typing import Any, Literal

import pytest
from playwright.sync_api import Browser, sync_playwright

from knowledge_recycling import reporting
from knowledge_recycling.reporting.comparison import compare
from tests.reporting.test_reporting_browser import CHROMIUM
from tests.reporting.test_reporting_decision import with_guarantee

pytestmark = pytest.mark.skipif(not CHROMIUM, reason="no Chromium is installed")
AXE = files("axe_playwright_python").joinpath("axe.min.js").read_text(encoding="utf-8")
RUN = """async () => {
  for (const closed of document.querySelectorAll('details')) closed.open = true;
  const wanted = axe.getRules().filter(rule => !rule.tags.includes('wcag2aaa'));
  const rules = Object.fromEntries(wanted.map(rule => [rule.ruleId, {enabled: true}]));
  const found = await axe.run(document, {rules, resultTypes: ['violations']});
  return [found.passes.length, found.violations.flatMap(rule =>
    rule.nodes.map(node => `${rule.id}: ${node.html.slice(0, 100)}: ${node.failureSummary}`))];
}"""
"""Best practice and what axe-core leaves out unless asked are looked at too; level AAA is not."""
LEAST_PASSED = 20
"""Rules that have something to say of each page; an empty page passes fewer."""
Scheme = Literal["light", "dark"]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        found = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield found
        found.close()


@pytest.fixture(scope="module")
def pages(new_run: Any) -> dict[str, str]:
    """HTML by what it is."""
    names = ("cat", "a class of a rather long name", "Otorhinolaryngologisches")
    plain, private = new_run(warning="Some images came out grey."), with_guarantee(new_run())
    leak = new_run(shadows="found", names=names, student_recall=[0.9, 0.3, 0.85])
    made = {"not audited": (plain, False), "leak": (leak, True), "private": (private, False)}
    found = {
        name: reporting.build(run, show_real)["report.html"].decode()
        for name, (run, show_real) in made.items()
    }
    return found | {"comparison": compare([plain, leak, private]).html().decode()}


def findings(browser: Browser, page: str, width: int, scheme: Scheme) -> list[str]:
    """Each finding of axe-core on a page, in words; folded parts are opened first."""
    context = browser.new_context(
        viewport={"width": width, "height": 900}, color_scheme=scheme, bypass_csp=True
    )
    tab = context.new_page()
    tab.set_content(page)
    tab.add_script_tag(content=AXE)
    passed, found = tab.evaluate(RUN)
    context.close()
    assert passed >= LEAST_PASSED, "axe-core has looked at something"
    return list(found)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1280])
def test_axe_finds_nothing(
    browser: Browser, pages: dict[str, str], width: int, scheme: Scheme
) -> None:
    found = {name: findings(browser, page, width, scheme) for name, page in pages.items()}
    assert found == {name: [] for name in pages}


def test_axe_finds_a_planted_fault(browser: Browser, pages: dict[str, str]) -> None:
    """An image without a text, and letters too pale for the paper."""
    faults = '<img src="data:image/gif;base64,R0lGODlhAQABAAAAACw="><p style="color:#999">pale</p>'
    page = pages["not audited"].replace("</main>", f"{faults}</main>")
    first, second = findings(browser, page, 1280, "light")
    assert first.startswith("color-contrast: <p style")
    assert second.startswith("image-alt: <img src")
