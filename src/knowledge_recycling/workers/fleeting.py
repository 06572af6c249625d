"""A folder for private work on a machine that is not to keep anything of it."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

PREFIX = "kr-shadow-"
REMOVER = """
import os, shutil, sys
if hasattr(os, "fork") and os.fork():
    os._exit(0)
sys.stdin.read()
shutil.rmtree(sys.argv[1], ignore_errors=True)
"""
"""Waits until the pipe closes, which the system does however the process at its other end ends.

It is nobody's child, for a worker of Ray that has lost its machine kills its children.
"""


@contextlib.contextmanager
def folder() -> Iterator[Path]:
    """Makes a folder (0700) that is removed afterwards, also where this process is killed."""
    path = tempfile.mkdtemp(prefix=PREFIX)
    remover = subprocess.Popen(
        [sys.executable, "-I", "-S", "-c", REMOVER, path],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        start_new_session=True,  # Ctrl-C is not for it
    )
    try:
        yield Path(path)
    finally:
        remover.communicate()  # until it has ended
