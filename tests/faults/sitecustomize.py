"""Loaded by every Python that has this folder on its path: breaks the processes that are named.

KR_FAULT is `worker:3:before:/run`: who, at which operation, when, and on whose files.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

if fault := os.environ.get("KR_FAULT"):
    from tests.faults import drive

    who, at, moment, folder = fault.split(":", 3)
    in_worker = "--multiprocessing-fork" in sys.orig_argv
    if in_worker == (who == "worker"):
        drive.hook(Path(folder), drive.Fault(int(at), moment))
