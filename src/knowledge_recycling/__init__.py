"""Knowledge Recycling: give away what private images taught, without the images.

A Teacher and a class-conditional Generator learn from private images; a Student learns from
synthetic images that the Teacher labels; what that costs and what leaks is measured.

Source: E. Lomurno, M. Matteucci, Pattern Recognition Letters 190 (2025), arXiv:2407.15526.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from knowledge_recycling.api import predictions, run, student
    from knowledge_recycling.config import Config
    from knowledge_recycling.errors import KRError
    from knowledge_recycling.storage.run_dir import RunDir

__all__ = ["Config", "KRError", "RunDir", "predictions", "run", "student"]

_HOMES = {
    "Config": "config",
    "KRError": "errors",
    "RunDir": "storage.run_dir",
    "predictions": "api",
    "run": "api",
    "student": "api",
}


def __getattr__(name: str) -> Any:
    """Imports a public name when it is first asked for: the auditor needs no torch."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
