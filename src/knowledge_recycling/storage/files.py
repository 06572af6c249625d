"""The one way to write a file: whole or not at all, and never through a link."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import io
import json
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from knowledge_recycling.errors import KRError

TEMPORARY = re.compile(r"\..+\.\d+\.tmp")
"""Names of the files that `atomic` writes to; a kill leaves one behind."""
MOST_JSON_BYTES = 256 * 2**20
"""No JSON file of a run comes near: split.json takes some 8 bytes per image."""


@contextlib.contextmanager
def atomic(path: Path) -> Iterator[Path]:
    """Gives a temporary path beside `path` to write to, and moves it into place at the end.

    However the writing ends, `path` is either old or new, also after a power cut, and a link at
    `path` is replaced, not followed. The folder is made, its parents are not: a run directory that
    was taken away does not come back in part.
    """
    path.parent.mkdir(exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    temporary.unlink(missing_ok=True)
    # Made here and by nobody else, with the permissions that the umask leaves.
    os.close(os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
    try:
        yield temporary
        _to_disk(temporary)
        os.replace(temporary, path)
        _to_disk(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


def _to_disk(path: Path) -> None:
    """Waits until a file, or a folder's list of names, is on the disk."""
    if path.is_dir() and os.name == "nt":
        return  # Windows opens no folders
    descriptor = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def disk_full_explained(path: Path) -> Iterator[None]:
    """Turns whatever a library raises for lack of room into one clear message.

    Raises:
        KRError: the disk is full; files that were there before are untouched.
    """
    try:
        yield
    except Exception as error:
        # safetensors and torch wrap the system's error in exceptions of their own.
        codes = (errno.ENOSPC, errno.EDQUOT)
        full = isinstance(error, OSError) and error.errno in codes
        if full or os.strerror(errno.ENOSPC) in str(error) or _free_bytes(path) == 0:
            raise KRError(
                f"{path}: the disk is full. Nothing that was finished is lost: "
                "make room and run the same command again."
            ) from error
        raise


def _free_bytes(path: Path) -> int | None:
    with contextlib.suppress(OSError):
        return shutil.disk_usage(path).free
    return None


def write_bytes(path: Path, content: bytes) -> None:
    """Writes a file whole or not at all."""
    with atomic(path) as temporary:
        temporary.write_bytes(content)


def json_bytes(tree: Any) -> bytes:
    """A tree of plain values as JSON."""
    return (json.dumps(tree, indent=1) + "\n").encode()


def npz_bytes(**arrays: np.ndarray) -> bytes:
    """Compressed arrays as an npz file; the same arrays give the same bytes."""
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)  # type: ignore[arg-type]
    return buffer.getvalue()


def write_json(path: Path, tree: Any) -> None:
    """Writes JSON whole or not at all."""
    write_bytes(path, json_bytes(tree))


def write_npz(path: Path, **arrays: np.ndarray) -> None:
    """Writes compressed arrays whole or not at all."""
    write_bytes(path, npz_bytes(**arrays))


def read_json(path: Path) -> Any:
    """Reads JSON, with a message that says which file is at fault.

    Raises:
        KRError: the file is missing, is no JSON, or is larger than any that a run writes.
    """
    try:
        if (size := path.stat().st_size) > MOST_JSON_BYTES:
            raise ValueError(f"{size} bytes; no file of a run has more than {MOST_JSON_BYTES}")
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise KRError(f"{path}: cannot be read: {error}") from None


def read_table(path: Path) -> dict[str, Any]:
    """Reads a JSON object.

    Raises:
        KRError: as `read_json`, or the file holds something else than an object.
    """
    tree = read_json(path)
    if not isinstance(tree, dict):
        raise KRError(f"{path}: cannot be read: holds no JSON object")
    return tree


def read_npz(path: Path) -> dict[str, np.ndarray]:
    """Reads all arrays of an npz file; nothing is unpickled.

    Raises:
        KRError: the file is missing, or is no npz.
    """
    try:
        with np.load(path, allow_pickle=False) as arrays:
            return dict(arrays)
    except Exception as error:  # zipfile and NumPy raise nearly anything on corrupt bytes
        raise KRError(f"{path}: cannot be read as npz: {error}") from None


def digest(tree: Any) -> str:
    """SHA-256 of a tree of plain values, as 64 hexadecimal digits."""
    return hashlib.sha256(json.dumps(tree, sort_keys=True).encode()).hexdigest()


def bytes_digest(content: bytes) -> str:
    """SHA-256 of bytes, as 64 hexadecimal digits."""
    return hashlib.sha256(content).hexdigest()


def file_digest(path: Path) -> str:
    """SHA-256 of a file, as 64 hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def same_digest(recorded: Any, found: str) -> bool:
    """Whether a recorded SHA-256 is the one found; runs of 2026 and before recorded 16 digits.

    Example:
        >>> same_digest("ab" * 8, "ab" * 32), same_digest("ab" * 32, "ab" * 32)
        (True, True)
        >>> same_digest("ab", "ab" * 32)
        False
    """
    return recorded == found or (
        isinstance(recorded, str) and len(recorded) == 16 and found.startswith(recorded)
    )
