"""The resume state of one long loop."""

from __future__ import annotations

import hashlib
import io
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypedDict

import torch

from knowledge_recycling.errors import KRError
from knowledge_recycling.storage.files import write_bytes
from knowledge_recycling.training import progress

State = dict[str, Any]
"""What a `state_dict` returns: tensors and plain values, which `torch.load` reads unpickled."""


class Saved(TypedDict):
    """What a loop saves."""

    step: int
    """Steps done."""
    learner: State


MAGIC = b"KRSTATE2"
"""Raise the number when what the loop saves changes its shape. Then come 32 bytes of SHA-256, and
what it is of: the state as torch writes it."""
OTHERS = (b"KRSTATE", b"PK")
"""How files of other versions begin; the first had no such mark and were zip archives."""


class Checkpoint:
    """Saved now and then, read back after a kill.

    Args:
        path: the file; `RunDir.write_result` removes it when the stage is done.
        every_seconds: time between two saves.
    """

    def __init__(self, path: Path, every_seconds: float) -> None:
        self._path, self._every = path, every_seconds
        self._last = time.monotonic()

    def restore(self) -> Saved | None:
        """The saved state, or None. Tensors and plain values only: nothing is unpickled.

        A state that is not whole is told of and left aside: the work starts anew.

        Raises:
            KRError: the state was saved by another version, which could go on with it.
        """
        if not self._path.exists():
            return None
        content = self._path.read_bytes()
        if content.startswith(OTHERS) and not content.startswith(MAGIC):
            raise KRError(
                f"{self._path}: was saved by another version of kr. Remove this file and run the "
                "same command again: the stage then starts over."
            )
        payload = content[len(MAGIC) + 32 :]
        if content[: len(MAGIC) + 32] != MAGIC + hashlib.sha256(payload).digest():
            progress.say(
                f"{self._path}: is damaged; the stage `{self._path.parent.name}` starts anew"
            )
            return None
        saved: Saved = torch.load(io.BytesIO(payload), map_location="cpu", weights_only=True)
        return saved

    def offer(self, state: Callable[[], Saved]) -> None:
        """Saves the state when the last save is long enough ago."""
        if time.monotonic() - self._last >= self._every:
            buffer = io.BytesIO()
            torch.save(state(), buffer)
            payload = buffer.getvalue()
            write_bytes(self._path, MAGIC + hashlib.sha256(payload).digest() + payload)
            self._last = time.monotonic()
