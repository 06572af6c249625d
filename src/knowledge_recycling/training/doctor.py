"""What this machine offers and what is missing, in plain words; works where torch is missing."""

from __future__ import annotations

import contextlib
import importlib.metadata
import os
import platform
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

DISTRIBUTION = "knowledge-recycling"
NAME = re.compile(r"[\w.-]+")
LEAST = re.compile(r">=\s*([\d.]+)")
EXTRA = re.compile(r"extra\s*==\s*[\"']([\w-]+)[\"']")
LOW_DISK = 2 * 2**30
LOW_MEMORY = 2 * 2**30


@dataclass(frozen=True)
class Finding:
    """One line of the examination.

    Args:
        what: what was looked at.
        found: what was found there, in plain words.
        missing: whether something that is needed is not there.
    """

    what: str
    found: str
    missing: bool = False


def doctor() -> list[Finding]:
    """Looks at versions, device, precision, threads, memory, disk and what each extra needs."""
    return [
        Finding(
            "Python", f"{platform.python_version()} on {platform.system()} {platform.machine()}"
        ),
        *_packages(),
        *_compute(),
        _memory(),
        _disk(),
    ]


def _packages() -> Iterator[Finding]:
    try:
        version = importlib.metadata.version(DISTRIBUTION)
        requirements = importlib.metadata.requires(DISTRIBUTION) or []
    except importlib.metadata.PackageNotFoundError:
        yield Finding(DISTRIBUTION, "not installed; run `pip install knowledge-recycling`", True)
        return
    yield Finding(DISTRIBUTION, version)
    lacks: dict[str, list[str]] = {}
    for requirement in requirements:
        package, _, when = requirement.partition(";")
        extra, least_match = EXTRA.search(when), LEAST.search(package)
        name = NAME.findall(package)[0]
        least = least_match[1] if least_match else "0"
        installed = _version(name)
        enough = installed is not None and _numbers(installed) >= _numbers(least)
        if extra:
            lacks.setdefault(extra[1], []).extend([] if enough else [name])
        elif enough:
            yield Finding(name, str(installed))
        else:
            there = f"{installed} is installed" if installed else "not installed"
            yield Finding(name, f"{there}; run `pip install '{name}>={least}'`", True)
    for extra_name, names in lacks.items():
        cure = f"`pip install '{DISTRIBUTION}[{extra_name}]'` adds {', '.join(names)}"
        yield Finding(f"extra `{extra_name}`", f"not complete: {cure}" if names else "complete")


def _version(name: str) -> str | None:
    with contextlib.suppress(importlib.metadata.PackageNotFoundError):
        return importlib.metadata.version(name)
    return None


def _numbers(version: str) -> tuple[int, ...]:
    """The release as numbers.

    Example:
        >>> _numbers("2.13.0+cpu") >= _numbers("2.5")
        True
    """
    return tuple(map(int, re.findall(r"\d+", version.split("+")[0])[:3]))


def _compute() -> Iterator[Finding]:
    try:
        import torch

        from knowledge_recycling.config import Config
        from knowledge_recycling.training import precision
        from knowledge_recycling.training.provenance import device_name
        from knowledge_recycling.training.runtime import Runtime
    except (ImportError, OSError) as error:
        yield Finding("device", f"unknown, since torch cannot be imported: {error}", True)
        return
    runtime = Runtime.of(Config())
    name = device_name(runtime.device)
    if runtime.device.type == "cuda":
        name += f", {torch.cuda.get_device_properties(runtime.device).total_memory / 2**30:.0f} GiB"
    else:
        name += " (torch finds no usable CUDA device)"
    yield Finding("device", name)
    words = {"bf16": "bfloat16 autocast", "fp32": "float32"}
    chosen = words[precision.decide(runtime.device)["precision"]]
    yield Finding("precision", f"{chosen}, the faster one here")
    yield Finding("threads", f"{torch.get_num_threads()} of {os.cpu_count()} processors")


def _memory() -> Finding:
    free = _available_memory()
    if free is None:
        return Finding("memory", "unknown on this system")
    little = "; that is little: take small images (data.size)" if free < LOW_MEMORY else ""
    return Finding("memory", f"{free / 2**30:.1f} GiB available{little}")


def _available_memory() -> int | None:
    """Bytes that this process may still take, a container's limit counted in; None if unknown."""
    left = []
    with contextlib.suppress(OSError, ValueError, IndexError):
        meminfo = Path("/proc/meminfo").read_text(encoding="ascii")
        left.append(int(meminfo.split("MemAvailable:")[1].split()[0]) * 1024)
    with contextlib.suppress(OSError, ValueError):
        group = Path("/sys/fs/cgroup")
        limit = int((group / "memory.max").read_text(encoding="ascii"))
        left.append(limit - int((group / "memory.current").read_text(encoding="ascii")))
    return min(left, default=None)


def _disk() -> Finding:
    free = shutil.disk_usage(".").free
    little = "; that is little for runs with shadows" if free < LOW_DISK else ""
    return Finding("disk", f"{free / 2**30:.1f} GiB free in this folder{little}")
