"""The resume state of one long loop."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from knowledge_recycling.errors import KRError
from knowledge_recycling.storage.files import atomic

FORMAT = 2
"""Of the file. Raise it when what the loop saves changes its shape."""


class Checkpoint:
    """Saved now and then, read back after a kill.

    Args:
        path: the file; `RunDir.write_result` removes it when the stage is done.
        every_seconds: time between two saves.
    """

    def __init__(self, path: Path, every_seconds: float) -> None:
        self._path, self._every = path, every_seconds
        self._last = time.monotonic()

    def restore(self) -> dict[str, Any] | None:
        """The saved state, or None. Tensors and plain values only: nothing is unpickled.

        Raises:
            KRError: the file is damaged or was saved by another version.
        """
        if not self._path.exists():
            return None
        try:
            state = torch.load(self._path, map_location="cpu", weights_only=True)
        except Exception:  # whatever a damaged file makes the reader raise
            raise KRError(f"{self._path}: is damaged. {self._advice}") from None
        if not isinstance(state, dict) or state.pop("format", None) != FORMAT:
            raise KRError(f"{self._path}: was saved by another version of kr. {self._advice}")
        return state

    def offer(self, state: Callable[[], dict[str, Any]]) -> None:
        """Saves the state when the last save is long enough ago."""
        if time.monotonic() - self._last >= self._every:
            with atomic(self._path) as temporary:
                torch.save({"format": FORMAT, **state()}, temporary)
            self._last = time.monotonic()

    _advice = "Remove this file and run the same command again: the stage then starts over."
