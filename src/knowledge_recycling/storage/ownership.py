"""What is ours in a folder: nothing else is written to, overwritten or removed."""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterator
from pathlib import Path

from knowledge_recycling.errors import KRError
from knowledge_recycling.storage.files import TEMPORARY, read_json
from knowledge_recycling.storage.manifest import MARKER

LOCK, OWNER, LOG = ".lock", ".owner", "log.txt"
IN_PLACE = (LOCK, LOG, "study.log")
"""Files that are opened and written where they are, instead of being replaced."""
STAGE_SUFFIXES = {".json", ".jsonl", ".npz", ".safetensors", ".pt", ".log", ".lock"}
REPORT_SUFFIXES = {".html", ".md", ".png"}
SCREENED = "screened.csv"
"""The list of the images that the screening of labels dropped, for a person to look at."""
OTHERS = 0o077


def refuse_foreign(folder: Path) -> None:
    """Refuses a folder that holds anything and is no run.

    Runs of version 0.1.0 and before had no marker: their config.yaml and split.json tell them.

    Raises:
        KRError: says what was found; nothing was written.
    """
    if (folder / MARKER).exists() or is_unmarked_run(folder):
        return
    try:
        names = sorted(entry.name for entry in folder.iterdir())
    except FileNotFoundError:
        return
    except OSError as error:
        raise KRError(f"{folder}: cannot be a run directory: {error.strerror}") from None
    found = [n for n in names if n not in (LOCK, OWNER) and not TEMPORARY.fullmatch(n)]
    if found:
        shown = ", ".join(found[:3]) + (", ..." if len(found) > 3 else "")
        raise KRError(
            f"{folder}: is not empty and holds no run (found: {shown}). Nothing was written; give "
            "a new directory with -o."
        )


def is_unmarked_run(folder: Path) -> bool:
    """Whether a run without a marker is here: a config.yaml beside a split.json of ours."""
    if (folder / MARKER).exists() or not (folder / "config.yaml").is_file():
        return False
    with contextlib.suppress(KRError):
        split = read_json(folder / "split.json")
        return isinstance(split, dict) and {"data_sha256", "indices", "counts"} <= set(split)
    return False


def refuse_links(folder: Path) -> None:
    """Refuses a run directory that holds anything but folders and plain files of its own.

    Raises:
        KRError: names the link; nothing was written.
    """
    for path, status in _entries(folder):
        if stat.S_ISDIR(status.st_mode):
            continue
        twice = path.name in IN_PLACE and status.st_nlink > 1
        if not stat.S_ISREG(status.st_mode) or twice:
            kind = "a link" if stat.S_ISLNK(status.st_mode) or twice else "no plain file"
            raise KRError(
                f"{path}: is {kind}. A run directory holds only folders and plain files, so that "
                "nothing outside it is read or written; put the file itself there."
            )


def tidy(folder: Path) -> None:
    """Takes permissions from others, and removes the temporary files that a kill left.

    Those of the shadows are left to the shadows, which have locks of their own.
    """
    os.chmod(folder, 0o700)
    shadows = folder / "shadows"
    for path, status in _entries(folder):
        if status.st_mode & OTHERS:
            with contextlib.suppress(PermissionError):  # somebody else's file stays as it is
                os.chmod(path, stat.S_IMODE(status.st_mode) & ~OTHERS)
        if TEMPORARY.fullmatch(path.name) and shadows not in path.parent.parents:
            path.unlink(missing_ok=True)


def _entries(folder: Path) -> Iterator[tuple[Path, os.stat_result]]:
    def fail(error: OSError) -> None:
        raise KRError(f"{error.filename}: cannot be read: {error.strerror}") from None

    for parent, folders, files in os.walk(folder, onerror=fail):
        for name in (*folders, *files):
            path = Path(parent, name)
            with contextlib.suppress(FileNotFoundError):  # a running process moved it
                yield path, path.lstat()


def stage_files(folder: Path) -> list[Path]:
    """The files in a stage's folder that a stage writes; a user's notes there are not ours."""
    suffixes = STAGE_SUFFIXES | (REPORT_SUFFIXES if folder.name == "report" else set())
    return sorted(
        path
        for path in folder.rglob("*")
        if path.is_file()
        and (path.suffix in suffixes or path.name == SCREENED or TEMPORARY.fullmatch(path.name))
    )


def clear_stage(folder: Path, first: str) -> None:
    """Removes a stage's files, `first` before all others, and the folders that are then empty."""
    (folder / first).unlink(missing_ok=True)
    for path in stage_files(folder):
        path.unlink(missing_ok=True)
    for path in sorted((p for p in folder.rglob("*") if p.is_dir()), reverse=True):
        with contextlib.suppress(OSError):  # not empty
            path.rmdir()


def refuse_nesting(run: Path, private: Path, own: Path) -> None:
    """Refuses a run directory inside the data, and data inside the run directory.

    Args:
        run: the run directory.
        private: a file or folder of private data.
        own: the copy of the data that the run itself keeps, which is the exception.

    Raises:
        KRError: names both; nothing was written.
    """
    run_at, data_at = run.resolve(), private.resolve()
    if data_at == own.resolve():
        return
    if run_at == data_at or data_at in run_at.parents:
        raise KRError(
            f"{run}: the run directory would lie inside the data ({private}). Nothing was written; "
            "give another directory with -o."
        )
    if run_at in data_at.parents:
        raise KRError(
            f"{private}: the data lie inside the run directory {run}, where files are overwritten. "
            "Nothing was written; give another directory with -o."
        )


@contextlib.contextmanager
def private_umask() -> Iterator[None]:
    """Whatever this process makes meanwhile is its user's alone: 0700 and 0600."""
    before = os.umask(OTHERS)
    try:
        yield
    finally:
        os.umask(before)
