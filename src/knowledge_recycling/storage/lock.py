"""Working on a run directory: one process at a time, for its user's eyes, with clear errors."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock, Timeout

from knowledge_recycling.errors import KRError, printable
from knowledge_recycling.storage import ownership
from knowledge_recycling.storage.files import disk_full_explained, write_bytes
from knowledge_recycling.storage.manifest import MARKER


@contextlib.contextmanager
def held(folder: Path) -> Iterator[None]:
    """Keeps a second process off a run; the system frees the lock however the first one ends.

    Raises:
        KRError: another process works here.
    """
    lock = FileLock(folder / ownership.LOCK, timeout=0, mode=0o600)
    try:
        lock.acquire()
    except Timeout:
        raise KRError(
            f"{folder}: another process (number {_owner(folder)}) is working on this run. "
            "Wait for it, or choose another directory with -o."
        ) from None
    try:
        write_bytes(folder / ownership.OWNER, str(os.getpid()).encode())
        yield
    finally:
        lock.release()


def _owner(folder: Path) -> str:
    with contextlib.suppress(OSError, UnicodeDecodeError):
        return printable((folder / ownership.OWNER).read_text(encoding="ascii")[:20])
    return "unknown"


@contextlib.contextmanager
def explained(folder: Path) -> Iterator[None]:
    """Turns the file system's errors into sentences.

    Raises:
        KRError: the disk is full, the run directory has vanished, or may not be written.
    """
    try:
        with disk_full_explained(folder):
            yield
    except OSError as error:
        if not os.path.lexists(folder / MARKER) and not isinstance(error, PermissionError):
            raise KRError(
                f"{folder}: the run directory has vanished during the work ({error}). Bring it "
                "back and run the same command again, or start a new run."
            ) from error
        where = Path(os.fsdecode(error.filename or ""))
        denied = error.errno in (errno.EACCES, errno.EPERM, errno.EROFS)
        if denied and folder.absolute() in where.absolute().parents:
            raise KRError(f"{where}: may not be read or written ({error.strerror})") from error
        raise
