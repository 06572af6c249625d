"""The one way to write a file: whole or not at all."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import io
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from knowledge_recycling.errors import KRError


@contextlib.contextmanager
def atomic(path: Path) -> Iterator[Path]:
    """Gives a temporary path beside `path` to write to, and moves it into place at the end.

    However the writing ends, the temporary file is gone and `path` is either old or new.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


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


def _free_bytes(path: Path) -> int:
    return shutil.disk_usage(path).free


def write_bytes(path: Path, content: bytes) -> None:
    """Writes a file whole or not at all."""
    with atomic(path) as temporary:
        temporary.write_bytes(content)


def write_json(path: Path, tree: Any) -> None:
    """Writes JSON whole or not at all."""
    write_bytes(path, (json.dumps(tree, indent=1) + "\n").encode())


def write_npz(path: Path, **arrays: np.ndarray) -> None:
    """Writes compressed arrays whole or not at all; the same arrays give the same bytes."""
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)  # type: ignore[arg-type]
    write_bytes(path, buffer.getvalue())


def read_json(path: Path) -> Any:
    """Reads JSON, with a message that says which file is at fault."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise KRError(f"{path}: cannot be read: {error}") from None


def digest(tree: Any) -> str:
    """SHA-256 of a tree of plain values, as 16 hexadecimal digits."""
    return hashlib.sha256(json.dumps(tree, sort_keys=True).encode()).hexdigest()[:16]


def file_digest(path: Path) -> str:
    """SHA-256 of a file, as 16 hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:16]
