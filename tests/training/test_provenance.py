"""The commit is named where git tracks the package, and nowhere else."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from knowledge_recycling.training import provenance

pytestmark = pytest.mark.skipif(not shutil.which("git"), reason="no git is installed")


def git(folder: Path, *words: str) -> str:
    who = ["-c", "user.name=A", "-c", "user.email=a@example.org", "-c", "commit.gpgsign=false"]
    done = subprocess.run(["git", *who, *words], cwd=folder, capture_output=True, check=True)
    return done.stdout.decode().strip()


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A package below a repository of one commit that does not hold it."""
    found = tmp_path / "clone" / "src" / "package"
    found.mkdir(parents=True)
    (found / "__init__.py").write_text("x = 1\n")
    (tmp_path / "clone" / "notes.txt").write_text("mine\n")
    git(tmp_path / "clone", "init", "--quiet")
    git(tmp_path / "clone", "add", "notes.txt")
    git(tmp_path / "clone", "commit", "--quiet", "-m", "notes")
    monkeypatch.setattr(provenance, "PACKAGE", found)
    provenance.commit.cache_clear()
    yield found
    provenance.commit.cache_clear()


def fresh() -> str:
    provenance.commit.cache_clear()
    return provenance.commit()


def test_the_commit_of_a_clone(package: Path) -> None:
    git(package, "add", ".")
    git(package, "commit", "--quiet", "-m", "all")
    code = git(package, "rev-parse", "--short=12", "HEAD")
    assert re.fullmatch("[0-9a-f]{12}", code)
    assert provenance.commit() == code
    assert provenance.versions()["knowledge-recycling"].endswith(f", commit {code}")
    (package / "__init__.py").write_text("x = 2\n")
    assert provenance.commit() == code, "the code that runs is that of the start"
    assert fresh() == f"{code}-dirty"


def test_a_repository_around_an_installed_package_is_not_its_own(
    package: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert provenance.commit() == ""
    assert "commit" not in provenance.versions()["knowledge-recycling"]
    other = tmp_path / "other"
    other.mkdir()
    (other / "__init__.py").write_text("")
    git(other, "init", "--quiet")
    git(other, "add", ".")
    git(other, "commit", "--quiet", "-m", "all")
    monkeypatch.setenv("GIT_DIR", str(other / ".git"))
    assert fresh() == ""


def test_without_git(package: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    assert fresh() == ""
