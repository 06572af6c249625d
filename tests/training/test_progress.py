"""Progress for whoever looks: plain lines in a log, one bar per cell in a notebook."""

from __future__ import annotations

import sys
import time
from types import SimpleNamespace
from typing import Any

import pytest

from knowledge_recycling.training import progress


def test_plain_lines_say_how_long_it_still_takes(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    ticks = iter([0.0, 10.0, 25.0, 30.0])
    monkeypatch.setattr(time, "monotonic", lambda: next(ticks))
    assert list(progress.track("Teacher [x]", 3, 6)) == [3, 4, 5]
    assert capsys.readouterr().err == "Teacher [x]: 5/6, about 12 s left\n"


def test_a_line_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    progress.say("note: a[red]:skull:\x1b[2J\nb")
    assert capsys.readouterr().err == "note: a[red]:skull:\\x1b[2J\\nb\n"


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What a notebook would show: new displays and updates of old ones."""
    seen: list[Any] = []
    shell = SimpleNamespace(execution_count=1)

    def display(bundle: dict[str, str], **_: Any) -> SimpleNamespace:
        seen.append(("new", bundle["text/plain"]))
        return SimpleNamespace(update=lambda b, raw: seen.append(("update", b["text/plain"])))

    def module(**contents: Any) -> SimpleNamespace:
        return SimpleNamespace(shell=shell, **contents)

    monkeypatch.setitem(sys.modules, "IPython", module(get_ipython=lambda: shell))
    monkeypatch.setitem(sys.modules, "IPython.display", module(display=display))
    monkeypatch.setattr(progress, "in_notebook", True)
    monkeypatch.setattr(progress, "notebook_bar", progress.NotebookBar())
    monkeypatch.setattr(progress, "NOTEBOOK_SECONDS", 0.0)
    return seen


def test_a_cell_has_one_bar_and_the_next_cell_another(shown: list[Any]) -> None:
    list(progress.track("Teacher", 0, 2))
    list(progress.track("Student", 0, 1))
    assert shown == [
        ("new", "Teacher: 1/2, about 0 s left"),
        ("update", "Teacher: 2/2"),
        ("update", "Student: 1/1"),
    ]
    sys.modules["IPython"].shell.execution_count = 2
    list(progress.track("Probe", 0, 1))
    assert shown[-1] == ("new", "Probe: 1/1")


def test_a_quiet_console_draws_no_bar(shown: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress.console, "quiet", True)
    assert list(progress.track("Teacher", 0, 2)) == [0, 1]
    assert shown == []
