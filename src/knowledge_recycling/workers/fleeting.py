"""A folder for private work on a machine that is not to keep anything of it."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

REMOVER = "import shutil, sys; sys.stdin.read(); shutil.rmtree(sys.argv[1], ignore_errors=True)"
"""Waits until the pipe closes, which the system does however the process at its other end ends."""


@contextlib.contextmanager
def folder() -> Iterator[Path]:
    """Makes a folder (0700) that is removed afterwards, also where this process is killed."""
    path = tempfile.mkdtemp(prefix="kr-shadow-")
    remover = subprocess.Popen(
        [sys.executable, "-I", "-S", "-c", REMOVER, path],
        stdin=subprocess.PIPE,
        start_new_session=True,  # Ctrl-C is not for it
    )
    try:
        yield Path(path)
    finally:
        remover.communicate()
