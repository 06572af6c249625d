"""The command line: measures the parts that are asked for, then writes page and plot."""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from benchmarks.speed import audit, pages, peers, plot, runs, scorers, shadows, teacher, turns
from benchmarks.speed.turns import Cases
from knowledge_recycling.storage.files import write_bytes

PARTS: dict[str, Callable[[Path, str | None], Cases]] = {
    "audit": audit.cases,
    "teacher": teacher.cases,
    "shadows": shadows.cases,
    "scorers": scorers.cases,
    "pipeline": runs.pipeline,
    "help": runs.answers,
}


def main() -> None:
    """Measures what the result file lacks; writes the page and the plot of all that it has."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.speed", description=sys.modules["benchmarks.speed"].__doc__
    )
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--peers", metavar="PYTHON", help="interpreter that has the other tools")
    parser.add_argument("--anew", action="store_true", help="also parts that are complete")
    parser.add_argument("--table", action="store_true", help="only write page and plot")
    asked = parser.parse_args()
    for part in asked.parts if not asked.table else ():
        about = {"command": _command(part, asked.peers), "peers": peers.installed(asked.peers)}
        with tempfile.TemporaryDirectory() as folder:
            cases = PARTS[part](Path(folder), asked.peers)
            if asked.anew:
                turns.drop(part)
            turns.take(part, cases, about, asked.repeats)
    write_bytes(pages.TABLE, pages.page().encode())
    write_bytes(plot.IMAGE, plot.draw(plot.shown()))


def _command(part: str, python: str | None) -> str:
    return f"python -m benchmarks.speed --parts {part}" + " --peers PYTHON" * bool(python)


if __name__ == "__main__":
    main()
