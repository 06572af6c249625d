"""What the README's first commands take: time, memory and disk of runs on digits.

    python -m benchmarks.demo            # measures, and writes the file and the README's table
    python -m benchmarks.demo --table    # only the README's table

Runs follow one another; time is CPU time of the process with its workers, so that other work on
the machine hardly counts, and the wall clock beside it.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks import common
from knowledge_recycling.storage.files import write_bytes, write_json

RESULT = common.RESULTS / "demo.json"
RUNS = (
    "kr run digits --preset demo",
    "kr run digits --epsilon 3 --shadows 0",
)


def short_table() -> str:
    """The README's table."""
    found = json.loads(RESULT.read_text())
    lines = ["| | CPU time | on this machine | memory | disk |", "|---|---|---|---|---|"]
    lines += [
        f"| `{run['command']}` | {_time(run['cpu_seconds'])} | {_time(run['seconds'])} "
        f"| {run['peak_memory_bytes'] / 1e9:.1f} GB | {run['disk_bytes'] / 1e6:.0f} MB |"
        for run in found["runs"]
    ]
    return "\n".join(lines) + "\n"


def _time(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 100 else f"{seconds / 60:.1f} min"


def measure(command: str) -> dict[str, Any]:
    """Runs a command in a process of its own."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "run"
        arguments = [*command.split()[1:], "-o", str(out)]
        begin = time.monotonic()
        process = subprocess.Popen(
            [sys.executable, "-m", "knowledge_recycling", *arguments],
            env={**os.environ, "XDG_STATE_HOME": folder},
        )
        _, status, used = os.wait4(process.pid, 0)
        if status:
            raise SystemExit(f"{command} failed")
        return {
            "command": command,
            "cpu_seconds": round(used.ru_utime + used.ru_stime, 1),
            "seconds": round(time.monotonic() - begin, 1),
            "peak_memory_bytes": used.ru_maxrss * (1 if sys.platform == "darwin" else 1024),
            "disk_bytes": sum(f.stat().st_size for f in out.rglob("*") if f.is_file()),
        }


def main() -> None:
    """Measures and writes the file and the README's table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--table", action="store_true", help="only write the README's table")
    if not parser.parse_args().table:
        code = common.commit()
        about = {
            "runs": [measure(command) for command in RUNS],
            "cores": os.cpu_count(),
            "load_at_the_end": round(os.getloadavg()[0], 1),
            "command": "python -m benchmarks.demo",
            "commit": code,
            "machine": common.processor(),
        }
        write_json(RESULT, about)
    page = common.README.read_text(encoding="utf-8")
    write_bytes(common.README, common.quoted(page, "demo", short_table()).encode())


if __name__ == "__main__":
    main()
