"""What the demo takes: CPU time, memory and disk of `kr run digits --preset demo`, for the README.

python -m benchmarks.demo            # measures, and writes the file and the README
python -m benchmarks.demo --table    # only the README
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks import common
from knowledge_recycling.storage.files import write_json

RESULT = common.RESULTS / "demo.json"
RUN = ("run", "digits", "--preset", "demo")


def table() -> str:
    """The README's row of the demo, with its head."""
    found = json.loads(RESULT.read_text())
    return (
        "| | CPU time | memory of the process | disk |\n|---|---|---|---|\n"
        f"| `kr {' '.join(RUN)}` | {found['cpu_seconds'] / 60:.1f} minutes "
        f"| {found['peak_memory_bytes'] / 1e9:.1f} GB | {found['disk_bytes'] / 1e6:.0f} MB |\n"
    )


def measure() -> dict[str, object]:
    """Runs the demo in a process of its own."""
    code = common.commit()
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "run"
        begin = time.monotonic()
        subprocess.run(
            [sys.executable, "-m", "knowledge_recycling", *RUN, "-o", str(out)], check=True
        )
        seconds = time.monotonic() - begin
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        disk = sum(path.stat().st_size for path in out.rglob("*") if path.is_file())
    return {
        "cpu_seconds": round(used.ru_utime + used.ru_stime, 1),
        "seconds": round(seconds, 1),
        "peak_memory_bytes": used.ru_maxrss * (1 if sys.platform == "darwin" else 1024),
        "disk_bytes": disk,
        "command": "python -m benchmarks.demo",
        "commit": code,
        "machine": common.processor(),
    }


def main() -> None:
    """Measures and writes the file and the README's row."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--table", action="store_true", help="only write the README's row")
    if not parser.parse_args().table:
        write_json(RESULT, measure())
    page = common.README.read_text(encoding="utf-8")
    common.README.write_text(common.quoted(page, "demo", table()), encoding="utf-8")


if __name__ == "__main__":
    main()
