"""Opens files that may be anything: only regular files, and every refusal in a sentence."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from knowledge_recycling.data.words import shown, size_of
from knowledge_recycling.errors import KRError

SPECIAL = "is a pipe, a socket or a device, which is never opened; give a regular file"

LINK = "is a link, which is not followed here; give the file itself"


def status(path: Path) -> os.stat_result | None:
    """What the system says of a path, links followed; None where there is nothing.

    Raises:
        KRError: on missing permission, and on a name that no file can have.
    """
    try:
        return path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError) as error:
        raise unreadable(path, error) from None


class Stamp:
    """Digest of names, sizes and times of files: other once one was changed, renamed or replaced.

    The time of the last change of state is among them: a file that was put in the place of another
    with its times kept is seen too.
    """

    def __init__(self) -> None:
        self._digest = hashlib.sha256()

    def add(self, name: str, found: os.stat_result) -> None:
        """Takes up what the system says of a file."""
        line = f"{name}\0{found.st_size} {found.st_mtime_ns} {found.st_ctime_ns}\0"
        self._digest.update(line.encode("utf-8", "surrogateescape"))

    def hexdigest(self) -> str:
        """Of all files so far, in the order in which they came."""
        return self._digest.hexdigest()


def unreadable(path: Path | str, error: Exception) -> KRError:
    """The error for a path that the system does not hand out.

    Example:
        >>> print(unreadable("set/b", PermissionError(13, "Permission denied")))
        set/b: may not be read (permission denied); change its permissions, or its owner
    """
    if isinstance(error, PermissionError):
        return KRError(
            f"{shown(str(path))}: may not be read (permission denied); change its permissions, or "
            "its owner"
        )
    reason = (error.strerror if isinstance(error, OSError) else None) or str(error)
    return KRError(f"{shown(str(path))[:300]}: cannot be read ({shown(reason)})")


@contextmanager
def open_regular(path: Path, *, follow: bool = True) -> Iterator[BinaryIO]:
    """Opens a regular file for reading; a pipe is refused before it could block.

    Args:
        path: the file.
        follow: whether it may be a link to one.

    Raises:
        KRError: it is none, or may not be read.
    """
    if not follow and path.is_symlink():
        raise KRError(f"{shown(str(path))}: {LINK}")
    found = status(path)
    if found is not None and not stat.S_ISREG(found.st_mode):
        raise KRError(f"{shown(str(path))}: {SPECIAL}")
    try:
        # Between the look and the opening the file may be replaced by a pipe.
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | _no_link(follow))
    except (OSError, ValueError) as error:
        raise unreadable(path, error) from None
    with os.fdopen(descriptor, "rb") as stream:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise KRError(f"{shown(str(path))}: {SPECIAL}")
        yield stream


def _no_link(follow: bool) -> int:
    return 0 if follow else getattr(os, "O_NOFOLLOW", 0)


def check_memory(needed: int, what: str, advice: str) -> None:
    """Refuses what would not fit in memory, before it is read.

    Args:
        needed: bytes.
        what: what needs them, the start of the message.
        advice: its end.

    Raises:
        KRError: states both sizes.
    """
    free = available_bytes()
    if needed > free:
        raise KRError(
            f"{what} needs {size_of(needed)} of memory, and {size_of(free)} are free; {advice}"
        )


def available_bytes() -> float:
    """Memory that can be had without swapping; infinite where the system does not say."""
    try:
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return float(line.split()[1]) * 1024
    except OSError:
        pass
    try:
        return float(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    except (AttributeError, OSError, ValueError):
        return float("inf")
