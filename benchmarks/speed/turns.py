"""Takes measurements in turns, each in a process of its own, and keeps them as they come.

Cases and versions take turns, so that a busy machine slows all alike; a ratio is the median of
those of the same turn.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks import common
from knowledge_recycling.storage.files import read_json, write_json

RESULT = common.RESULTS / "speed.json"

Measured = dict[str, Any]
"""`processor` and `seconds` of the clock; `mib`, largest memory; what else the program told."""


@dataclass(frozen=True)
class Program:
    """What one measurement runs."""

    words: tuple[str, ...]
    """Command line after the interpreter; prints its own measurement, unless `whole`."""
    python: str = sys.executable
    source: Path = common.ROOT / "src"
    threads: int | None = 1
    """None: as many as it takes by itself."""
    whole: bool = False
    """Measured from outside, from start to end."""


Cases = Mapping[str, Mapping[str, Program]]
"""Case -> version -> program."""

WHOLE = """
import json, os, sys, time
begin = time.perf_counter()
quiet = [(os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0)]
child = os.posix_spawn(sys.argv[1], sys.argv[1:], os.environ, file_actions=quiet)
_, status, used = os.wait4(child, 0)
seconds, processor = time.perf_counter() - begin, used.ru_utime + used.ru_stime
print(json.dumps({"seconds": round(seconds, 4), "processor": round(processor, 4),
                  "mib": round(used.ru_maxrss / 1024, 1)}))
sys.exit(os.waitstatus_to_exitcode(status))
"""
"""A small process that starts the measured one: a child's peak is never below its parent's."""


def measure(program: Program) -> Measured:
    """Runs a program to its end.

    Raises:
        SystemExit: it failed; tells what it said.
    """
    words = [program.python, *program.words]
    if program.whole:
        words = [sys.executable, "-S", "-E", "-c", WHOLE, *words]
    paths = os.pathsep.join(map(str, (program.source, common.ROOT)))
    environment = {k: v for k, v in os.environ.items() if k != "OMP_NUM_THREADS"}
    environment["PYTHONPATH"] = paths
    if program.threads:
        environment["OMP_NUM_THREADS"] = str(program.threads)
    done = subprocess.run(words, env=environment, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{' '.join(program.words)} failed:\n{done.stderr[-2000:]}")
    found: Measured = json.loads(done.stdout.splitlines()[-1])
    return found


def take(
    part: str,
    cases: Cases,
    about: Mapping[str, Any],
    repeats: int,
    by: Callable[[Program], Measured] = measure,
) -> None:
    """Measures what the result file lacks of a part.

    A part with all turns is left alone. One that was stopped goes on, unless the code or the cases
    have changed since: then it begins anew, for the turns of a ratio are of one code.
    """
    if complete(part, cases, repeats):
        print(f"{part}: complete")
        return
    told = {**about, "code": code(), "machine": common.processor(), "repeats": repeats}
    kept = results().get(part, {})
    found: dict[str, dict[str, list[Measured]]] = {
        case: {version: [] for version in versions} for case, versions in cases.items()
    }
    if kept.get("code") == told["code"] and _shape(kept["cases"]) == _shape(found):
        found = kept["cases"]
    for turn in range(repeats):
        for case, versions in cases.items():
            for version, program in versions.items():
                if len(found[case][version]) > turn:
                    continue
                begin = time.monotonic()
                found[case][version].append(by(program))
                write_json(RESULT, {**results(), part: {**told, "cases": found}})
                took = f"{time.monotonic() - begin:.1f} s"
                print(f"{part}, turn {turn + 1} of {repeats}: {case}, {version}: {took}")


def drop(part: str) -> None:
    """Forgets what was measured of a part."""
    write_json(RESULT, {name: of for name, of in results().items() if name != part})


def complete(part: str, cases: Cases, repeats: int) -> bool:
    """Whether the result file holds all turns of all that is asked for."""
    kept = results().get(part, {}).get("cases", {})
    return all(
        len(kept.get(case, {}).get(version, ())) >= repeats
        for case, versions in cases.items()
        for version in versions
    )


def results() -> dict[str, Any]:
    """Part -> what was measured; empty before the first measurement."""
    found: dict[str, Any] = read_json(RESULT) if RESULT.exists() else {}
    return found


def code() -> str:
    """The last commit that changed what is measured, marked where files have changed since."""
    measured = ["--", "src", "benchmarks/speed"]
    commit = _git("log", "-1", "--format=%h", "--abbrev=12", *measured)
    return commit + "-dirty" * bool(_git("status", "--porcelain", *measured))


def _git(*words: str) -> str:
    done = subprocess.run(
        ["git", *words], cwd=common.ROOT, capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


def _shape(cases: Mapping[str, Mapping[str, object]]) -> dict[str, set[str]]:
    return {case: set(versions) for case, versions in cases.items()}
