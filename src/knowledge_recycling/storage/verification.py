"""Compares every file of a run with the hashes that the run recorded."""

from __future__ import annotations

from pathlib import Path

from knowledge_recycling.config import Config
from knowledge_recycling.errors import KRError
from knowledge_recycling.storage import manifest
from knowledge_recycling.storage.manifest import MARKER
from knowledge_recycling.storage.run_dir import RESULT, RunDir


def verify(run: RunDir, *, shadows: bool = True) -> int:
    """Compares a run's record of the data, results and artefacts with their hashes.

    Args:
        run: the run directory.
        shadows: those of its shadows too.

    Returns:
        The number of files.

    Raises:
        KRError: names each file that is not what the run wrote, or its config.yaml if that cannot
            be read.
    """
    runs = [run]
    if shadows:
        runs += [RunDir(path.parent) for path in sorted(run.shadows.glob(f"*/{MARKER}"))]
    Config.load(run.path / "config.yaml")  # has no hash: it may be edited, but must be read
    total, errors = 0, []
    for one in runs:
        one.check_ours()
        for name in _names(one):
            try:
                total += _check(one, name, dropped=one is not run)
            except KRError as error:
                errors.append(str(error))
    if errors:
        raise KRError("this run is not as it was written:\n  " + "\n  ".join(errors))
    return total


def _names(run: RunDir) -> list[str]:
    """What ought to be there: all that is recorded, but for stages that are not done."""
    found = manifest.load(run.path)
    recorded = set(found.sha256) if found else set()
    present = {str(path.relative_to(run.path)) for path in run.path.glob(f"*/{RESULT}")}
    return sorted({"split.json"} | {n for n in recorded if (run.path / n).exists()} | present)


def _check(run: RunDir, name: str, dropped: bool) -> int:
    run.check(name)
    # A shadow drops its networks once its signals are stored.
    if Path(name).name != RESULT or dropped:
        return 1
    return run.verify_stage(Path(name).parent.name)
