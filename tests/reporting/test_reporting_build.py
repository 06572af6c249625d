from __future__ import annotations

import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from knowledge_recycling import reporting
from knowledge_recycling.errors import KRError
from knowledge_recycling.reporting.chapters import classes, images
from knowledge_recycling.reporting.document import Notice, Table
from knowledge_recycling.reporting.front import front
from knowledge_recycling.reporting.judgement import judge
from knowledge_recycling.reporting.privacy import privacy
from knowledge_recycling.reporting.reader import RunResults
from knowledge_recycling.reporting.templates import escape_markdown

DATA = "data:image/png;base64,"
NASTY = "<script>alert(1)</script>"
PRIVATE = "/home/somebody/patients-2019"


class Page(HTMLParser):
    """What a browser would see: every tag with its attributes."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


@pytest.fixture(scope="module")
def run(new_run: Any) -> Path:
    return new_run(names=("cat", "dog_a|b", NASTY, "owl $x^$"), channels=3)


@pytest.fixture(scope="module")
def files(run: Path) -> dict[str, bytes]:
    return reporting.build(run, show_real=False)


@pytest.fixture(scope="module")
def html(files: dict[str, bytes]) -> str:
    return files["report.html"].decode()


@pytest.fixture(scope="module")
def markdown(files: dict[str, bytes]) -> str:
    return files["report.md"].decode()


@pytest.fixture(scope="module")
def half(new_run: Any) -> dict[str, bytes]:
    return reporting.build(new_run(until="teacher"), show_real=False)


def test_page_loads_nothing(html: str) -> None:
    page = Page(html)
    for tag, attributes in page.tags:
        for name in ("src", "srcset", "data", "poster", "action"):
            assert str(attributes.get(name, DATA)).startswith(DATA), tag
        assert str(attributes.get("href", "#")).startswith("#"), tag
    assert not re.search(r"https?://|@import|url\(|src=\"/", html)
    assert not {"script", "link", "iframe", "object", "base"} & {tag for tag, _ in page.tags}


def test_every_figure_is_embedded_and_described(html: str, files: dict[str, bytes]) -> None:
    pictures = Page(html).all("img")
    figures = [name for name in files if name.startswith("figures/")]
    assert len(pictures) == len(figures) >= 16
    assert all(picture["alt"] for picture in pictures)
    assert all(files[name].startswith(b"\x89PNG") for name in figures)


def test_markdown_links_to_each_figure_once(markdown: str, files: dict[str, bytes]) -> None:
    linked = re.findall(r"\]\((figures/[a-z0-9_]+\.png)\)", markdown)
    assert sorted(linked) == sorted(name for name in files if name.startswith("figures/"))


def test_links_within_the_page_have_targets(html: str) -> None:
    page = Page(html)
    ids = [section["id"] for section in page.all("section")]
    assert [f"#{name}" for name in ids] == [link["href"] for link in page.all("a")]


def test_tables_have_headers(html: str) -> None:
    page = Page(html)
    assert len(page.all("caption")) == len(page.all("table"))
    assert {cell.get("scope") for cell in page.all("th")} == {"row", "col"}


def test_class_names_are_text_and_not_markup(html: str, markdown: str) -> None:
    escaped = "&lt;script&gt;alert(1)&lt;/script&gt;"
    assert NASTY not in html
    assert escaped in html
    assert NASTY not in markdown
    assert escaped in markdown
    assert r"dog\_a\|b" in markdown


def test_markdown_tables_keep_their_columns(markdown: str) -> None:
    blocks = re.findall(r"(?:^\|.*\n)+", markdown, flags=re.M)
    assert len(blocks) >= 8
    for block in blocks:
        cells = [len(re.findall(r"(?<!\\)\|", line)) for line in block.splitlines()]
        assert len(set(cells)) == 1, block


def test_markup_made_by_the_template_is_not_escaped_twice() -> None:
    once = escape_markdown("a_b <i>")
    assert escape_markdown(once) == once == r"a\_b &lt;i&gt;"


def test_private_paths_are_absent(html: str, markdown: str, run: Path) -> None:
    assert yaml.safe_load((run / "config.yaml").read_text())["data"]["source"] == PRIVATE
    for page in (html, markdown):
        assert "patients-2019" not in page
        assert "groups.csv" not in page
        assert "home/somebody" not in page
        assert "123456789" not in page
        assert "(path withheld)" in page
        assert "size: 28" in page


def test_same_run_gives_same_bytes(new_run: Any) -> None:
    run = new_run(until="generator")
    assert reporting.build(run, show_real=False) == reporting.build(run, show_real=False)


def test_real_images_are_shown_only_with_the_flag(run: Path, files: dict[str, bytes]) -> None:
    assert not any("real_" in name for name in files)
    assert b"holds private images" not in files["report.html"] + files["report.md"]
    shown = reporting.build(run, show_real=True)
    assert sum(name.startswith("figures/real_") for name in shown) == 4
    for page in ("report.html", "report.md"):
        assert b"This report holds private images." in shown[page]
    assert b'class="notice danger"' in shown["report.html"]


def test_flag_without_kept_images_says_so(new_run: Any) -> None:
    run = new_run()
    (run / "real_examples.npz").unlink()
    results = RunResults.load(run)
    notice = images(results, show_real=True).blocks[1]
    assert isinstance(notice, Notice)
    assert notice.text == "Real images were asked for, but this run keeps none."
    assert not front(results, judge(results), show_real=True).notices


def test_missing_stages_are_named_in_one_line(half: dict[str, bytes]) -> None:
    page = half["report.html"].decode()
    for stage in ("Distillation", "Selection", "Tuning", "Evaluation", "Audit"):
        assert f"<p>{stage}: not run.</p>" in page
    assert "The Student is not trained yet." in page
    assert "Not measured: the Student was not evaluated." in page
    assert [name for name in half if name.startswith("figures/")] == [
        "figures/learning_teacher.png"
    ]


def test_shadow_audit_has_its_place(html: str, half: dict[str, bytes]) -> None:
    for page in (html, half["report.html"].decode()):
        assert "Shadow audit: not run." in page


def test_empty_run_directory_still_renders(tmp_path: Path) -> None:
    page = reporting.build(tmp_path, show_real=False)["report.html"].decode()
    assert "unnamed data" in page
    assert "Teacher: not run." in page


def test_privacy_chapter_keeps_to_its_words(html: str, markdown: str) -> None:
    for page in (html, markdown):
        assert "not random: this row is no evidence of safety" in page
        assert "The splits may come from other sources." in page
        assert "Attacks give lower bounds" in page
        assert "Not found at this power" in page
        assert "0.576" in page
        assert "0.556 to 0.596" in page
        words = re.sub(r"base64,[^\"]*", "", page)
        assert not re.search(r"\b(safe|anonymous|immune)\b|(is|are) private", words, re.I)


def test_audit_blind_to_the_teacher_is_called_too_weak(new_run: Any, html: str) -> None:
    assert "Attack too weak to conclude" not in html
    run = RunResults.load(new_run())
    assert run.audit is not None
    targets = dict.fromkeys(("teacher", "student"), run.audit.targets["student"])
    blind = replace(run, audit=run.audit.model_copy(update={"targets": targets}))
    titles = [block.title for block in privacy(blind, False).blocks if isinstance(block, Notice)]
    assert titles == ["No evidence of safety.", "Attack too weak to conclude."]


def test_provenance_is_there(html: str) -> None:
    for fact in (
        "c0ffee" * 10,
        "made-up machine, 2 cores",
        "2.13.0",
        "1 min 28 s in all",
        "1.00 GiB",
    ):
        assert fact in html
    assert "3 duplicates across splits" in html
    assert "Splits drawn by this run: val." in html


def test_an_absent_class(new_run: Any) -> None:
    run = new_run()
    path = run / "evaluation" / "result.json"
    tree = json.loads(path.read_text())
    for who in ("teacher", "student"):
        tree[who]["recall"][0] = None
        tree[who]["confusion"][0] = [0, 0, 0]
    path.write_text(json.dumps(tree))
    table = classes(RunResults.load(run), show_real=False).blocks[2]
    assert isinstance(table, Table)
    assert [cell.text for cell in table.rows[0]] == ["cat", "0", "n/a", "n/a", "n/a"]


def test_missing_run_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(KRError, match="no such run directory; `kr run DATA -o"):
        reporting.build(tmp_path / "nowhere", show_real=False)


def test_broken_result_names_the_file_and_the_remedy(new_run: Any) -> None:
    run = new_run(until="teacher")
    (run / "teacher" / "result.json").write_text('{"stage": ')
    with pytest.raises(KRError, match=r"teacher/result\.json: cannot be read: .* redo `teacher`"):
        reporting.build(run, show_real=False)


def test_object_arrays_are_never_unpickled(new_run: Any) -> None:
    run = new_run()
    path = run / "distillation" / "samples.npz"
    np.savez(path, images=np.array([{}], dtype=object))
    with pytest.raises(KRError, match=r"samples\.npz: cannot be read as npz"):
        reporting.build(run, show_real=False)
