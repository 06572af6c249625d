"""Stage 8: the page to look at, made from the other stages' results alone."""

from __future__ import annotations

from knowledge_recycling import reporting
from knowledge_recycling.config import Config
from knowledge_recycling.results import ReportResult
from knowledge_recycling.storage.files import write_bytes
from knowledge_recycling.storage.run_dir import RunDir


def run(config: Config, run_dir: RunDir) -> ReportResult:
    """Writes report/report.html, report/report.md and the figures."""
    folder = run_dir.stage("report")
    files = reporting.build(run_dir.path, config.report.show_real)
    for name, content in files.items():
        write_bytes(folder / name, content)
    return ReportResult(files=tuple(sorted(files)))
