"""Runs a tiny pipeline in child processes that die, or run out of disk, at a chosen file operation.

The package has no hook for this: the operations are replaced here, in the child alone.
"""

from __future__ import annotations

import errno
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

OPERATIONS = ("replace", "unlink", "rmdir")
KILLED, REFUSED = 77, 2


def hook(folder: Path, act: Callable[[str, str], None]) -> None:
    """Calls `act("before" | "after", name)` around each operation on a file of the folder."""
    for name in OPERATIONS:
        setattr(os, name, _wrapped(getattr(os, name), name, str(folder), act))


def _wrapped(
    operation: Callable[..., Any], name: str, folder: str, act: Callable[[str, str], None]
) -> Callable[..., Any]:
    def wrapped(path: Any, *rest: Any, **named: Any) -> Any:
        inside = os.path.abspath(os.fspath(path)).startswith(folder)
        label = f"{name} {os.fspath(rest[0] if rest else path)}"
        if inside:
            act("before", label)
        try:
            return operation(path, *rest, **named)
        finally:
            if inside:
                act("after", label)

    return wrapped


class Fault:
    """Kills the process, or raises "no space left", at the n-th moment before or after."""

    def __init__(self, at: int, moment: str) -> None:
        self.left, self.moment = at, moment

    def __call__(self, moment: str, label: str) -> None:
        """Counts the moments of its kind."""
        if moment != ("before" if self.moment == "full" else self.moment):
            return
        self.left -= 1
        if self.left == 0:
            if self.moment == "full":
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            os._exit(KILLED)


def child(work: Callable[[], None], act: Callable[[str, str], None], folder: Path) -> int:
    """Works in a forked process; returns its exit status, 2 after a `KRError`."""
    pid = os.fork()
    if pid == 0:
        from knowledge_recycling.errors import KRError

        status = 1
        try:
            hook(folder, act)
            work()
            status = 0
        except KRError as error:
            print(error, file=sys.stderr)
            status = REFUSED
        except BaseException:
            import traceback

            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def main(data: str, folder: str, settings: str, until: str, points: str) -> None:
    """Runs once without a fault, then once with each fault, and again to the end.

    Args:
        data: what to train on.
        folder: gets `whole`, the uninterrupted run, and a run for each fault.
        settings: JSON list.
        until: last stage.
        points: how many faults of each kind, evenly over the operations; 0: all.
    """
    from knowledge_recycling import pipeline
    from knowledge_recycling.config import Config
    from knowledge_recycling.storage.run_dir import RunDir
    from knowledge_recycling.training import progress

    progress.console.quiet = True
    config = Config.resolve(data, settings=json.loads(settings))
    base = Path(folder)

    def run(name: str) -> Callable[[], None]:
        return lambda: pipeline.run(config, RunDir(base / name), until)

    seen = base / "operations.txt"

    def note(moment: str, label: str) -> None:
        if moment == "before":
            with seen.open("a") as file:
                file.write(label + "\n")

    assert child(run("whole"), note, base / "whole") == 0
    total = len(seen.read_text().splitlines())
    count = int(points) or total
    statuses = {}
    for moment, offset in (("before", 0.2), ("after", 0.5), ("full", 0.8)):
        for i in range(count):
            at = 1 + int((i + offset) * total / count) if count < total else i + 1
            name = f"{moment}{at:03d}"
            first = child(run(name), Fault(at, moment), base / name)
            again = child(run(name), lambda *_: None, base / name)
            statuses[name] = [first, again]
    (base / "statuses.json").write_text(json.dumps({"total": total, "statuses": statuses}))


if __name__ == "__main__":
    main(*sys.argv[1:])
