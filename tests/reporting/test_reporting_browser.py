"""The page in a real browser: a phone and a desk, light and dark, and on paper."""

from __future__ import annotations

import html
import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from knowledge_recycling import reporting

CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), ""
)
pytestmark = pytest.mark.skipif(not CHROMIUM, reason="no Chromium is installed")
LOOK = """
const box = e => e.getBoundingClientRect();
const lum = c => { const [r, g, b] = c.map(v => (v /= 255) <= .03928 ? v / 12.92
  : ((v + .055) / 1.055) ** 2.4); return .2126 * r + .7152 * g + .0722 * b; };
const parse = c => c.match(/[\\d.]+/g).map(Number);
const stripes = e => [...getComputedStyle(e).backgroundImage.matchAll(/rgb\\([^)]*\\)/g)]
  .map(m => parse(m[0]));
function papers(e) {
  for (; e; e = e.parentElement) {
    const c = parse(getComputedStyle(e).backgroundColor);
    if (e.matches('.band') && stripes(e).length) return stripes(e);
    if (c.length < 4 || c[3] === 1) return [c.slice(0, 3)];
  }
  return [[255, 255, 255]];
}
const texts = [];
const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
while (walk.nextNode()) {
  const e = walk.currentNode.parentElement;
  if (!walk.currentNode.data.trim() || e.closest('.unseen, thead, script')) continue;
  if (box(e).width) texts.push(e);
}
const pale = texts.map(e => {
  const ink = lum(parse(getComputedStyle(e).color).slice(0, 3));
  const ratio = Math.min(...papers(e).map(lum).map(p =>
    (Math.max(ink, p) + .05) / (Math.min(ink, p) + .05)));
  return [ratio, e.tagName, e.textContent.slice(0, 40)];
}).filter(([ratio]) => ratio < 4.5);
const wide = innerWidth;
const cut = [...document.querySelectorAll('td span, th, dt, dd, p, li, h1, h2, h3, .answer')]
  .filter(e => box(e).width && !e.closest('thead, nav, pre') &&
    (box(e).right > wide + 1 || e.scrollWidth > e.clientWidth + 1 && e.clientWidth))
  .map(e => e.textContent.slice(0, 60));
const split = [...document.querySelectorAll('tbody th, .answer, dt')].filter(e => {
  const range = document.createRange();
  return texts.includes(e) && [...e.firstChild.data.matchAll(/[A-Za-z]{2,16}/g)].some(m => {
    range.setStart(e.firstChild, m.index);
    range.setEnd(e.firstChild, m.index + m[0].length);
    return new Set([...range.getClientRects()].map(r => Math.round(r.top))).size > 1;
  });
}).map(e => e.textContent);
const ids = [...document.querySelectorAll('[id]')].map(e => e.id);
const levels = [...document.querySelectorAll('h1, h2, h3, h4')].map(e => +e.tagName[1]);
const report = {
  width: document.documentElement.scrollWidth, wide, pale, cut, split,
  tables: [...document.querySelectorAll('.scroll')].filter(e => e.scrollWidth > e.clientWidth + 1)
    .map(e => e.getAttribute('aria-label')),
  answer: box(document.querySelector('.answer')).bottom,
  sticky: getComputedStyle(document.querySelector('nav')).position,
  paper: getComputedStyle(document.body).backgroundColor,
  twice: ids.filter((id, i) => ids.indexOf(id) !== i),
  jumps: levels.slice(1).filter((level, i) => level > levels[i] + 1),
  unnamed: [...document.querySelectorAll('img:not([alt]), [role=region]:not([aria-label])')].length,
};
document.body.replaceChildren(JSON.stringify(report));
"""


def chromium(folder: Path, *arguments: str) -> str:
    command = [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"]
    command += [f"--user-data-dir={folder / 'profile'}", "--virtual-time-budget=5000", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240, check=True)
    return done.stdout


@pytest.fixture(scope="module")
def page(new_run: Any) -> str:
    names = ("cat", "a class of a rather long name", "Otorhinolaryngologisches")
    run = new_run(shadows="found", names=names, student_recall=[0.9, 0.3, 0.85])
    return reporting.build(run)["report.html"].decode()


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("width", [390, 1280])
def test_nothing_is_cut_or_pale(page: str, tmp_path: Path, width: int, dark: bool) -> None:
    """A frame of the wanted width: Chromium's own window has a least width of 500."""
    script = f"<script>{LOOK}</script></body>"
    inner = page.replace("</body>", script)
    frame = tmp_path / "page.html"
    frame.write_text(
        f'<iframe id=f style="width:{width}px;height:900px;border:0" '
        f'srcdoc="{html.escape(inner)}"></iframe><script>onload = () => {{ document.title = "x"; '
        "document.body.replaceChildren(document.getElementById('f').contentDocument.body"
        ".textContent) }</script>"
    )
    theme = f"--blink-settings=preferredColorScheme={0 if dark else 1}"
    dumped = chromium(tmp_path, theme, "--window-size=1400,1000", "--dump-dom", frame.as_uri())
    found = json.loads(html.unescape(re.search(r"\{.*\}", dumped, re.S)[0].split("</body>")[0]))  # type: ignore[index]
    assert found["wide"] == width
    assert found["width"] <= width, "the page can be pushed sideways"
    assert found["cut"] == []
    assert found["split"] == [], "words are broken"
    assert found["pale"] == [], "contrast under 4.5"
    assert found["tables"] == [] or width > 390
    assert found["answer"] < 900, "the answer is on the first screen"
    assert found["sticky"] == "sticky"
    assert (found["paper"] == "rgb(21, 25, 30)") == dark
    assert (found["twice"], found["jumps"], found["unnamed"]) == ([], [], 0)


def test_paper(page: str, tmp_path: Path) -> None:
    """Printing makes several pages, the second part beginning on a new one."""
    (tmp_path / "page.html").write_text(page)
    chromium(
        tmp_path,
        "--no-pdf-header-footer",
        f"--print-to-pdf={tmp_path / 'page.pdf'}",
        (tmp_path / "page.html").as_uri(),
    )
    whole = pages((tmp_path / "page.pdf").read_bytes())
    first = page.split('<section id="privacy"')[0] + "</main></body></html>"
    (tmp_path / "first.html").write_text(first)
    chromium(
        tmp_path,
        "--no-pdf-header-footer",
        f"--print-to-pdf={tmp_path / 'first.pdf'}",
        (tmp_path / "first.html").as_uri(),
    )
    assert 2 <= pages((tmp_path / "first.pdf").read_bytes()) < whole
    assert 'content: "Made-up animals, 2026-11-20"' in page
    assert 'counter(page) " of " counter(pages)' in page


def pages(pdf: bytes) -> int:
    """Chromium writes the page objects uncompressed."""
    return len(re.findall(rb"/Type\s*/Page\b(?!s)", pdf))
