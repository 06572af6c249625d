"""What the benchmarks share: where they ran, and tables that pages quote between markers."""

from __future__ import annotations

import platform
import subprocess
from pathlib import Path

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
RESULTS = Path(__file__).parent / "results"
DOCS = ROOT / "docs" / "results"


def quoted(page: str, name: str, table: str) -> str:
    """The page with the table between its two markers brought up to date."""
    begin, end = f"<!-- {name} table -->", f"<!-- end of {name} table -->"
    before, rest = page.split(begin)
    return f"{before}{begin}\n{table}{end}{rest.split(end)[1]}"


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
