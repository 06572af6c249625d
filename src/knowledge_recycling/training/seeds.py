"""All randomness of a run derives from (seed, stage, step)."""

from __future__ import annotations

import hashlib


def derive(seed: int, *keys: str | int) -> int:
    """A seed in 0..2^63-1 for one purpose, independent of those for other purposes.

    All randomness of a run comes from (seed, stage, step) through this function: that is why
    a killed and resumed run equals an uninterrupted one.
    """
    text = "/".join(str(key) for key in (seed, *keys))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1
