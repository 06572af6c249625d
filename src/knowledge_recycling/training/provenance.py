"""What result files say of the machine: versions, processor, memory; never a host name."""

from __future__ import annotations

import contextlib
import functools
import importlib.metadata
import os
import platform
import subprocess
import sys
from pathlib import Path

import torch

PACKAGE = Path(__file__).parents[1]


def device_name(device: torch.device) -> str:
    """`cpu`, or the name of the GPU."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"


def versions() -> dict[str, str]:
    """Versions of what decides the numbers."""
    names = ("knowledge-recycling", "torch", "numpy", "scikit-learn", "optuna")
    found = {name: importlib.metadata.version(name) for name in names}
    if code := commit():
        found[names[0]] += f", commit {code}"
    return {"python": platform.python_version(), **found}


@functools.cache
def commit() -> str:
    """The git commit of this package's code, `-dirty` where files have changed since.

    Empty unless git tracks the package where it lies, as in a clone or an editable installation:
    an installed wheel does not say what it was built from, and a repository around it is not its.
    """

    def git(*words: str) -> str:
        command = ["git", "-C", str(PACKAGE), *words]
        done = subprocess.run(command, env=plain, capture_output=True, timeout=10, check=True)
        return done.stdout.decode().strip()

    # A hook sets variables by which git would look at another repository.
    plain = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    try:
        git("ls-files", "--error-unmatch", "__init__.py")
        return git("describe", "--always", "--dirty", "--abbrev=12", "--exclude=*")
    except (OSError, subprocess.SubprocessError):
        return ""


def machine() -> str:
    """The processor's architecture and number of threads; never a host name."""
    return f"{platform.system()} {platform.machine()}, {torch.get_num_threads()} threads"


def reset_peak_memory() -> None:
    """Starts the measurement of `peak_memory_bytes` anew, where the system can (Linux)."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")


def peak_memory_bytes() -> int:
    """Largest resident memory of this process since `reset_peak_memory`; 0 where unknown."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    with contextlib.suppress(ImportError):  # not on Windows
        import resource

        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak if sys.platform == "darwin" else peak * 1024
    return 0
