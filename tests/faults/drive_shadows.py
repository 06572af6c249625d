"""Runs the shadows of a run with two workers; exit status 2 after a `KRError`, as `kr` has it."""

from __future__ import annotations

import sys
from pathlib import Path

if __name__ == "__main__":
    from knowledge_recycling import shadow_runs
    from knowledge_recycling.config import Config
    from knowledge_recycling.errors import KRError
    from knowledge_recycling.storage.run_dir import RunDir
    from knowledge_recycling.workers import Processes

    run = RunDir.existing(Path(sys.argv[1]))
    config = Config.load(run.path / "config.yaml")
    try:
        shadow_runs.run(run, config, 8, engine=Processes(2), reuse_choices=True)
    except KRError as error:
        print(error, file=sys.stderr)
        sys.exit(2)
