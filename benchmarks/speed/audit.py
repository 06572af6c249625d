"""The audit beside that of an earlier commit: seconds of the processor and largest memory."""

from __future__ import annotations

import subprocess
import tarfile
from io import BytesIO
from pathlib import Path

from benchmarks import common
from benchmarks.speed.turns import Cases, Program

BEFORE = "394e4e5"
"""The last commit whose intervals came from a bootstrap of 1,000 draws."""

START = """
import json, time
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
took = time.process_time() - begin
# ru_maxrss would count what the process was before it became this one: the benchmark itself.
peak = next(x.split()[1] for x in open("/proc/self/status") if x.startswith("VmHWM"))
print(json.dumps({"processor": round(took, 3), "mib": round(int(peak) / 1024, 1)}))
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
"""Name -> program; signals are of one attack."""
ONLY_NOW = ("audit_signals, (64, 50,000)",)
"""Cases that took minutes before."""


def cases(folder: Path, python: str | None) -> Cases:
    """Each case with the package as it was, laid out in the folder, and as it is."""
    del python
    sources = {"before": _source(BEFORE, folder), "now": common.ROOT / "src"}
    return {
        case: {
            version: Program(("-c", program), source=source)
            for version, source in sources.items()
            if version == "now" or case not in ONLY_NOW
        }
        for case, program in CASES.items()
    }


def _source(commit: str, folder: Path) -> Path:
    """The package as it was at a commit."""
    packed = subprocess.run(
        ["git", "archive", commit, "src"], cwd=common.ROOT, capture_output=True, check=True
    ).stdout
    with tarfile.open(fileobj=BytesIO(packed)) as archive:
        archive.extractall(folder, filter="data")
    return folder / "src"
