"""What the benchmarks share: where they ran, and tables that pages quote between markers."""

from __future__ import annotations

import argparse
import json
import math
import platform
import subprocess
from pathlib import Path
from typing import Any

from knowledge_recycling.results import Result
from knowledge_recycling.statistics.estimate import Estimate
from knowledge_recycling.statistics.rates import mean_interval
from knowledge_recycling.storage.run_dir import RunDir
from knowledge_recycling.workers import ENGINES, Engine, engine

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
RESULTS = Path(__file__).parent / "results"
DOCS = ROOT / "docs" / "results"

SYMMETRY = {
    "bloodmnist_like": "square",
    "breastmnist": "flip",
    "dermamnist_like": "square",
    "fashionmnist": "flip",
    "malaria_patients": "square",
    "pneumoniamnist": "flip",
    "retinamnist": "square",
}
"""What means nothing in the images of a set, as a user would state it of their own."""


def flips(name: str) -> list[str]:
    """The same as settings of an ordinary run: training images of the Teacher are mirrored."""
    wanted = {"none": (), "flip": ("horizontal",), "square": ("horizontal", "vertical")}
    return [f"teacher.{axis}_flip=true" for axis in wanted[SYMMETRY.get(name, "none")]]


def parser(description: str | None, sets: list[str]) -> argparse.ArgumentParser:
    """The command line of a benchmark over sets and seeds."""
    made = argparse.ArgumentParser(description=description)
    made.add_argument("--data", type=Path, help="folder of <set>.npz files")
    made.add_argument("--sets", nargs="+", default=sets)
    made.add_argument("--preset", default="fast")
    made.add_argument("--seeds", type=int, default=3)
    made.add_argument("--first-seed", type=int, default=0, help="to share work among processes")
    made.add_argument("--runs", type=Path, default=Path("runs/utility"))
    made.add_argument("--table", action="store_true", help="only write the tables")
    return made


def add_engine(made: argparse.ArgumentParser) -> None:
    """Adds where pipelines run, as in `kr shadows`."""
    made.add_argument("--engine", choices=ENGINES, default="processes")
    made.add_argument("--workers", type=int, default=1, help="pipelines at a time")
    made.add_argument("--address", help="of the Ray cluster")


def engine_of(arguments: argparse.Namespace) -> Engine:
    """The engine that the command line asks for."""
    return engine(arguments.engine, arguments.workers, arguments.address)


def quoted(page: str, name: str, table: str) -> str:
    """The page with the table between its two markers brought up to date."""
    begin, end = f"<!-- {name} table -->", f"<!-- end of {name} table -->"
    before, rest = page.split(begin)
    return f"{before}{begin}\n{table}{end}{rest.split(end)[1]}"


def by_set(folder: Path) -> dict[tuple[str, str], list[dict[str, Any]]]:
    """The result files of a folder by (dataset, preset), seeds in order."""
    found: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for path in sorted(folder.glob("*.json")):
        result = json.loads(path.read_text())
        found.setdefault((result["dataset"], result["preset"]), []).append(result)
    return found


def mean_gap(found: list[dict[str, Any]]) -> Estimate:
    """Mean `cas_gap` with its interval over the seeds; of a single seed, over its test images."""
    gaps = [Estimate(**result["cas_gap"]) for result in found]
    return mean_interval([gap.value for gap in gaps]) if len(gaps) > 1 else gaps[0]


def signed(gap: Estimate, digits: int = 1) -> str:
    """A difference with its interval, which a mean of one value does not have."""
    value, low, high = (f"{end:+.{digits}f}" for end in (gap.value, gap.low, gap.high))
    return f"{value} ({low} to {high})" if math.isfinite(gap.low) else value


def forked(run: RunDir, suffix: str) -> RunDir:
    """The fork `<run>-<suffix>` beside a run, made where it is not there yet."""
    path = run.path.with_name(f"{run.path.name}-{suffix}")
    return RunDir(path) if path.exists() else run.fork(path)


def origin(run: RunDir, result: Result, command: str) -> dict[str, Any]:
    """How a stage's result came about: what to type, versions, machine, data."""
    return {
        "command": command,
        "versions": result.versions,
        "machine": f"{processor()}, {result.machine}",
        "device": result.device,
        "data_sha256": run.split().data_sha256,
    }


def commit() -> str:
    """The commit that is checked out, marked when files have changed since."""
    return subprocess.run(
        ["git", "describe", "--always", "--dirty", "--abbrev=12"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()


def processor() -> str:
    """The processor's model name."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="ascii", errors="ignore").splitlines()
    except OSError:
        return platform.processor()
    return next((x.split(":")[1].strip() for x in lines if x.startswith("model name")), "unknown")
