"""Files of JSON lines that are only added to: locked, on the disk on return, whole after a kill."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from filelock import FileLock, Timeout

from knowledge_recycling.errors import KRError

LOCK_SECONDS = 60.0


@contextlib.contextmanager
def locked(paths: Iterable[Path]) -> Iterator[None]:
    """Locks files, always in the same order, so that two processes cannot wait for each other.

    Args:
        paths: of the files; their folders are made (mode 0700) where they are missing.

    Raises:
        KRError: a folder that cannot be written, or a lock that is held for a minute.
    """
    with contextlib.ExitStack() as stack:
        for path in sorted({path.resolve() for path in paths}):
            try:
                path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
                lock = FileLock(f"{path}.lock", mode=0o600)
                stack.enter_context(lock.acquire(timeout=LOCK_SECONDS, poll_interval=0.01))
            except Timeout:
                raise KRError(
                    f"{path}: another process has held this file for {LOCK_SECONDS:g} seconds; "
                    "wait for it and run the same command again"
                ) from None
            except OSError as error:
                raise KRError(f"{path}: cannot be locked: {error}") from None
        yield


def read_lines(path: Path) -> list[tuple[int, str]]:
    """Numbers, from 1, and texts of a file's lines; a last line that a kill cut off is left out.

    Args:
        path: of the file; none: no lines.

    Raises:
        KRError: the file cannot be read.
    """
    try:
        lines = path.read_bytes().split(b"\n")
    except FileNotFoundError:
        return []
    except OSError as error:
        raise KRError(f"{path}: cannot be read: {error}") from None
    if _torn(lines[-1]):
        lines.pop()
    return [(n, line.decode(errors="replace")) for n, line in enumerate(lines, 1) if line]


def append_line(path: Path, text: str) -> None:
    """Adds a line and returns once it is on the disk. The caller holds the lock.

    A last line that a kill cut off is removed: its writer had not returned from here.

    Args:
        path: of the file, made (mode 0600) when it is missing.
        text: JSON without a line feed.

    Raises:
        KRError: the file cannot be written.
    """
    try:
        with os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT, 0o600), "r+b") as file:
            content = file.read()
            last = content[content.rfind(b"\n") + 1 :]
            if _torn(last):
                file.truncate(len(content) - len(last))
            elif last:
                text = f"\n{text}"
            file.seek(0, os.SEEK_END)
            file.write(f"{text}\n".encode())
            file.flush()
            os.fsync(file.fileno())
        _sync_folder(path.parent)
    except OSError as error:
        raise KRError(
            f"{path}: cannot be written: {error}. Make room or correct the permissions, and run "
            "the same command again."
        ) from None


def _torn(last: bytes) -> bool:
    """True for what is left of a line: a line that lacks its line feed alone is whole."""
    try:
        json.loads(last)
    except ValueError:
        return bool(last)
    return False


def _sync_folder(folder: Path) -> None:
    """Waits until a new file's name is on the disk too."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
