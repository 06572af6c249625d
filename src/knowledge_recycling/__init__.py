"""Knowledge Recycling: give away what private images taught, without the images.

A Teacher and a class-conditional Generator learn from private images; a Student learns from
synthetic images that the Teacher labels; what that costs and what leaks is measured.

Source: E. Lomurno, M. Matteucci, Pattern Recognition Letters 190 (2025), arXiv:2407.15526.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from knowledge_recycling.api import (
        Run,
        audit,
        budget,
        compare,
        configuration,
        gate,
        load,
        open_run,
        predictions,
        release,
        report,
        run,
        shadows,
        stage,
        student,
        upload,
        verify,
    )
    from knowledge_recycling.auditing import audit_scores
    from knowledge_recycling.config import Config
    from knowledge_recycling.errors import KRError
    from knowledge_recycling.storage.run_dir import RunDir
    from knowledge_recycling.training.doctor import doctor

__all__ = [
    "Config",
    "KRError",
    "Run",
    "RunDir",
    "audit",
    "audit_scores",
    "budget",
    "compare",
    "configuration",
    "doctor",
    "gate",
    "load",
    "open_run",
    "predictions",
    "release",
    "report",
    "run",
    "shadows",
    "stage",
    "student",
    "upload",
    "verify",
]

_HOMES = {
    "Config": "config",
    "KRError": "errors",
    "RunDir": "storage.run_dir",
    "audit_scores": "auditing",
    "doctor": "training.doctor",
}
"""Of those public names that do not live in `api`."""


def __getattr__(name: str) -> Any:
    """Imports a public name when it is first asked for: the auditor needs no torch."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    home = importlib.import_module(f"{__name__}.{_HOMES.get(name, 'api')}")
    return getattr(home, name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
