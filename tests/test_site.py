"""The docs: the site builds without a warning, pages that are made are fresh, code blocks hold."""

from __future__ import annotations

import ast
import importlib.util
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
import typer

from knowledge_recycling import cli

ROOT = Path(__file__).parents[1]
PAGES = (ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")))
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
NO_CODE = {"text", "json", "yaml"}


def blocks(page: Path, *languages: str) -> list[str]:
    found = BLOCK.findall(page.read_text(encoding="utf-8"))
    return [code for language, code in found if language in languages]


def loaded(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_site_builds_without_a_warning(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    page = (tmp_path / "release.html").read_text()
    assert "limits.yaml (<code>src/knowledge_recycling/auditing/limits.yaml</code>)" in page
    assert "fonts.googleapis.com" not in page
    assert not list(tmp_path.rglob("*.py"))


def test_pages_made_from_docstrings_are_fresh() -> None:
    for path, text in loaded(ROOT / "docs" / "make_pages.py").pages():
        assert path.read_text(encoding="utf-8") == text, "run `python docs/make_pages.py`"


def test_every_field_of_the_configuration_is_on_its_page() -> None:
    page = (ROOT / "docs" / "configuration.md").read_text()
    for field in ("regeneration_period", "latent_channels", "penalty_every", "epsilon", "threads"):
        assert re.search(rf"^\| `{field}` \| .+ \| .+ \|$", page, re.MULTILINE), field


def test_python_blocks_parse() -> None:
    found = [code for page in PAGES for code in blocks(page, "python")]
    assert len(found) >= 4
    for code in found:
        ast.parse(code)


def test_shell_blocks_parse() -> None:
    found = [code for page in PAGES for code in blocks(page, "", "sh")]
    assert len(found) >= 8
    for code in found:
        done = subprocess.run(["bash", "-n"], input=code, capture_output=True, text=True)
        assert done.returncode == 0, (code, done.stderr)


def commands(page: Path) -> Iterator[list[str]]:
    """Every `kr ...` of a shell block or after a prompt, comments and pipes left out."""
    prompts = [
        line
        for code in blocks(page, "text")
        for line in re.findall(r"^\$ kr .*", code, re.MULTILINE)
    ]
    for code in (*blocks(page, "", "sh"), *prompts):
        for line in code.replace("\\\n", " ").splitlines():
            words = shlex.split(line.removeprefix("$ "), comments=True)
            if words[:1] == ["kr"]:
                end = next((i for i, w in enumerate(words) if w in {"|", ">", "&&"}), None)
                yield words[1:end]


def test_shell_blocks_call_commands_and_options_that_exist() -> None:
    known = typer.main.get_command(cli.app).commands  # type: ignore[attr-defined]
    found = [words for page in PAGES for words in commands(page)]
    assert len(found) >= 30
    for words in found:
        if words[0].startswith("--"):
            assert words[0] in {"--help", "--version"}
        else:
            assert words[0] in known, words
            known[words[0]].make_context(words[0], list(words[1:]))


def test_the_helpers_find_what_is_wrong(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("```sh\nkr gate RUN --limit 3  # no such option\n```\n")
    (words,) = commands(page)
    group = typer.main.get_command(cli.app)
    with pytest.raises(Exception, match="No such option"):
        group.commands["gate"].make_context("gate", words[1:])  # type: ignore[attr-defined]


def test_blocks_say_what_they_are() -> None:
    for page in PAGES:
        languages = {language for language, _ in BLOCK.findall(page.read_text(encoding="utf-8"))}
        assert languages <= {"", "sh", "python", *NO_CODE}, page
