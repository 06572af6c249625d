"""Measures the audit's time and memory beside those of an earlier commit.

    python -m benchmarks.speed [--before COMMIT]

Writes benchmarks/results/speed.json and docs/results/speed.md. Each measurement is a process of
its own on one thread; versions and cases take turns, so that a busy machine slows all alike.
Seconds are of the processor, not of the clock, for the same reason. Given are medians; a ratio is
the median of those of the same turn.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tarfile
import tempfile
from io import BytesIO
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks import common
from knowledge_recycling.storage.files import write_bytes, write_json

RESULT = common.RESULTS / "speed.json"
TABLE = common.DOCS / "speed.md"
BEFORE = "394e4e5"
"""The last commit whose intervals came from a bootstrap of 1,000 draws."""

START = """
import json, resource, time
import numpy as np
begin = time.process_time()
from knowledge_recycling.auditing import Membership, audit_scores, audit_signals
rng = np.random.default_rng(0)
"""
SCORES = """
sides = rng.normal(0.3, 1, 50_000), rng.normal(size=50_000)
begin = time.process_time()
audit_scores(*sides)
"""
SIGNALS = """
half = rng.random(({pipelines} // 2, {records})).argsort(axis=1) < {records} // 2
mask = np.concatenate([half, ~half])
phi = rng.normal(size=mask.shape) + 0.3 * mask
begin = time.process_time()
audit_signals(phi, Membership.of(mask), attacks=["shrunken_t"])
"""
END = """
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
print(json.dumps([time.process_time() - begin, peak]))
"""


def signals(pipelines: int, records: int) -> str:
    """The program that audits the primary attack on signals (pipelines, records)."""
    return START + SIGNALS.format(pipelines=pipelines, records=records) + END


CASES = {
    "import knowledge_recycling.auditing": START + END,
    "audit_scores, 50,000 a side": START + SCORES + END,
    "audit_signals, (16, 5,000)": signals(16, 5000),
    "audit_signals, (16, 50,000)": signals(16, 50_000),
    "audit_signals, (64, 50,000)": signals(64, 50_000),
}
"""Name -> program that prints seconds and the peak of memory in MiB; signals are of one attack."""
ONLY_NOW = ("audit_signals, (64, 50,000)",)
"""Cases that took minutes before."""


def main() -> None:
    """Measures all, writes the file and the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--before", default=BEFORE, help="commit to compare with")
    parser.add_argument("--repeats", type=int, default=5)
    arguments = parser.parse_args()
    code = common.commit()
    with tempfile.TemporaryDirectory() as folder:
        sources = {"before": _source(arguments.before, Path(folder)), "now": common.ROOT / "src"}
        found = turns(sources, arguments.repeats)
    about = {
        "cases": found,
        "before": arguments.before,
        "repeats": arguments.repeats,
        "command": "python -m benchmarks.speed",
        "commit": code,
        "machine": common.processor(),
    }
    write_json(RESULT, about)
    write_bytes(TABLE, f"# Speed of the audit\n\n{table()}".encode())


def turns(sources: dict[str, Path], repeats: int) -> dict[str, dict[str, list[list[float]]]]:
    """Case -> version -> [seconds, MiB] of each turn."""
    found: dict[str, dict[str, list[list[float]]]] = {}
    for _ in range(repeats):
        for case, program in CASES.items():
            for version, source in sources.items():
                if version == "now" or case not in ONLY_NOW:
                    measured = _measured(program, source)
                    found.setdefault(case, {}).setdefault(version, []).append(measured)
    return found


def _source(commit: str, folder: Path) -> Path:
    """The package as it was at a commit."""
    packed = subprocess.run(
        ["git", "archive", commit, "src"], cwd=common.ROOT, capture_output=True, check=True
    ).stdout
    with tarfile.open(fileobj=BytesIO(packed)) as archive:
        archive.extractall(folder, filter="data")
    return folder / "src"


def _measured(program: str, source: Path) -> list[float]:
    environment = {**os.environ, "PYTHONPATH": str(source), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, check=True
    )
    seconds, peak = json.loads(done.stdout)
    return [round(seconds, 3), round(peak, 1)]


def table() -> str:
    """A row per case: seconds and memory before and now, and the ratio of the seconds."""
    rows = [
        "| | seconds before | now | ratio | MiB before | now |",
        "|---|---|---|---|---|---|",
    ]
    for case, found in json.loads(RESULT.read_text())["cases"].items():
        before, now = found.get("before"), found["now"]
        ratio = median(b[0] / n[0] for b, n in zip(before, now, strict=True)) if before else None
        rows.append(
            f"| {case} | {_middle(before, 0)} | {_middle(now, 0)} | "
            f"{f'{ratio:.1f}' if ratio else ''} | {_middle(before, 1)} | {_middle(now, 1)} |"
        )
    return "\n".join(rows) + "\n"


def _middle(found: list[list[Any]] | None, place: int) -> str:
    if not found:
        return ""
    value = median(turn[place] for turn in found)
    return f"{value:.2f}" if place == 0 else f"{value:.0f}"


if __name__ == "__main__":
    main()
