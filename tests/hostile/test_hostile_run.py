"""A run directory that somebody else made, one file of it turned against us, with every command.

Each ends in a sentence (exit 2) or in the right result; nothing outside the run is written to, and
no code of theirs runs. Where a case is "sealed", they also brought all hashes in line.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import random
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from typer.testing import CliRunner

import knowledge_recycling as kr
from knowledge_recycling.cli import app
from knowledge_recycling.storage.manifest import MARKER
from tests.small_runs import TINY

CASES = int(os.environ.get("KR_HOSTILE_CASES", "16"))
"""How many are tried, drawn evenly over all; 0 tries every one and takes an hour."""
SEED = int(os.environ.get("KR_HOSTILE_SEED", "0"))
SETTINGS = [part for setting in TINY for part in ("--set", setting)]
COMMANDS = ("verify", *(name for name in kr.stages.NAMES if name != "report"))
QUIET = {"log.txt", ".lock", ".owner", "config.yaml", "study.log"}
"""Files without a hash: their content says nothing of the results, or is the user's to change."""


class Case(NamedTuple):
    """A file of the run, what is done to it, and whether the hashes are then brought in line."""

    file: str
    change: str
    sealed: bool


def emptied(path: Path, outside: Path) -> None:
    path.write_bytes(b"")


def cut(path: Path, outside: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])


def flipped(path: Path, outside: Path) -> None:
    content = bytearray(path.read_bytes() or b"\0")
    content[len(content) // 2] ^= 0x41
    path.write_bytes(content)


def linked(path: Path, outside: Path) -> None:
    shutil.move(path, outside / "victim")
    path.symlink_to(outside / "victim")


def linked_hard(path: Path, outside: Path) -> None:
    os.link(path, outside / "victim")


def piped(path: Path, outside: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def made_folder(path: Path, outside: Path) -> None:
    path.unlink()
    path.mkdir()


def listed(path: Path, outside: Path) -> None:
    path.write_text("[1, {}]")


def nested(path: Path, outside: Path) -> None:
    path.write_text("[" * 100_000)


def retyped(path: Path, outside: Path) -> None:
    """Every value of an object becomes one of another kind."""
    tree = json.loads(path.read_text())
    path.write_text(json.dumps({key: _other(value) for key, value in tree.items()}))


def _other(value: Any) -> Any:
    return {"x": [value]} if not isinstance(value, dict) else list(value)[:1]


def imported(path: Path, outside: Path) -> None:
    tree = json.loads(path.read_text())
    path.write_text(json.dumps(tree | {"network": "evil_network:make"}))


def huge(path: Path, outside: Path) -> None:
    tree = json.loads(path.read_text())
    path.write_text(json.dumps({k: 10**7 if type(v) is int else v for k, v in tree.items()}))


CHANGES: dict[str, Callable[[Path, Path], None]] = {
    f.__name__: f
    for f in (
        emptied,
        cut,
        flipped,
        linked,
        linked_hard,
        piped,
        made_folder,
        listed,
        nested,
        retyped,
        imported,
        huge,
    )
}
OF_NETWORKS = ("imported", "huge")
OF_JSON = ("retyped", *OF_NETWORKS)


def all_cases(run: Path) -> Iterator[Case]:
    for path in sorted(p for p in run.rglob("*") if p.is_file()):
        file = path.relative_to(run).as_posix()
        if file.startswith("shadows/0") and not file.startswith("shadows/00"):
            continue  # as the first
        for change in CHANGES:
            if change in OF_JSON and path.suffix != ".json":
                continue
            if change in OF_NETWORKS and path.name != "network.json":
                continue
            yield Case(file, change, sealed=False)
            if change not in ("linked", "linked_hard", "piped", "made_folder"):
                yield Case(file, change, sealed=True)


def chosen(run: Path) -> list[Case]:
    """Some of all cases, and those that would run code."""
    cases = list(all_cases(run))
    sure = [case for case in cases if case.change == "imported" and case.sealed]
    return cases if not CASES else sure + random.Random(SEED).sample(cases, CASES)


def seal(run: Path) -> None:
    """Brings the hashes in line with the files, in stages, shadows and markers."""
    for folder in (*run.glob("shadows/*"), run):
        for result in folder.glob("*/result.json"):
            with contextlib.suppress(Exception):
                tree = json.loads(result.read_text())
                for name in tree["artefacts"]:
                    tree["artefacts"][name] = sha256(result.parent / name)
                result.write_text(json.dumps(tree))
        with contextlib.suppress(Exception):
            marker = json.loads((folder / MARKER).read_text())
            marker["sha256"] = {name: sha256(folder / name) for name in marker["sha256"]}
            (folder / MARKER).write_text(json.dumps(marker))


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def command(*arguments: str) -> str | None:
    """Runs `kr` with arguments; returns what is wrong with how it ended."""
    done = CliRunner().invoke(app, arguments)
    if done.exit_code == 0 or (done.exit_code == 2 and "error: " in done.output):
        return None
    return f"kr {arguments[0]}: exit {done.exit_code}, {done.exception!r}: {done.output[-300:]}"


def from_python(run: Path) -> str | None:
    """Opens the run as a script would; returns what is wrong with how it ended."""
    opened: list[Callable[[], Any]] = [
        lambda: kr.open_run(run).summary(),
        lambda: repr(kr.open_run(run)),
        lambda: kr.open_run(run)._repr_html_(),
        lambda: kr.student(run),
        lambda: kr.predictions(run),
        lambda: kr.open_run(run).split(),
        *(lambda name=name: kr.open_run(run).result(name) for name in kr.stages.NAMES[:-1]),
    ]
    for number, call in enumerate(opened):
        try:
            call()
        except kr.KRError:
            pass
        except Exception as error:
            return f"call {number} from Python: {error!r}"
    return None


def plant(folder: Path) -> None:
    """Code that leaves a trace when it is imported."""
    (folder / "evil_network.py").write_text(
        "import pathlib\npathlib.Path(__file__).with_name('ran').touch()\n"
    )


def tried(case: Case, number: int, audited: kr.Run, base: Path) -> list[str]:
    """What went wrong with a case."""
    run, outside = base / "run", base / "outside"
    shutil.copytree(audited.path, run)
    outside.mkdir()
    plant(outside)
    CHANGES[case.change](run / case.file, outside)
    if case.sealed:
        seal(run)
    before = contents(outside)
    sys.path.insert(0, str(outside))
    try:
        wrong = [from_python(run), *(command(name, str(run)) for name in COMMANDS)]
        wrong.append(command(*_last(number, run)))
    finally:
        sys.path.remove(str(outside))
        sys.modules.pop("evil_network", None)
    if contents(outside) != before:
        wrong.append(f"outside the run: {set(contents(outside)) ^ set(before)} or others changed")
    if not case.sealed and Path(case.file).name not in QUIET:
        with contextlib.suppress(kr.KRError):
            if (there := kr.open_run(run).summary()) not in ([], audited.summary()):
                wrong.append(f"another result: {there}")
    return [text for text in wrong if text]


def _last(number: int, run: Path) -> tuple[str, ...]:
    """The whole command or the report; most often without a report, which draws for seconds."""
    whole = ("run", "digits", "-o", str(run), *SETTINGS)
    return {0: ("report", str(run)), 4: whole}.get(number % 8, (*whole, "--until", "audit"))


def test_a_network_of_theirs_runs_only_where_it_is_trusted(
    audited: kr.Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The plant of the test below does run, where somebody asks for it."""
    run = tmp_path / "run"
    shutil.copytree(audited.path, run)
    plant(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    imported(run / "distillation" / "network.json", tmp_path)
    seal(run)
    with pytest.raises(kr.KRError, match=r"'evil_network:make' is no part of this package"):
        kr.student(run)
    assert not (tmp_path / "ran").exists()
    with pytest.raises(kr.KRError, match=r"cannot be made"):
        kr.student(run, trust_code=True)
    assert (tmp_path / "ran").exists()
    sys.modules.pop("evil_network", None)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="the system has no pipes")
def test_no_file_of_a_run_lets_anybody_in(audited: kr.Run, tmp_path: Path) -> None:
    wrong = {}
    for number, case in enumerate(chosen(audited.path)):
        base = tmp_path / "case"
        base.mkdir()
        if found := tried(case, number, audited, base):
            wrong[case] = found
        shutil.rmtree(base)
    assert not wrong, "\n".join(f"{case}: {found}" for case, found in wrong.items())
