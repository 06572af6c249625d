"""What was computed lately, in memory alone and up to a limit."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Callable

from torch import Tensor

LIMIT = 2**28
"""Bytes."""


class Memory:
    """The tensors asked for last, at most `limit` bytes of them."""

    def __init__(self, limit: int = LIMIT) -> None:
        self.limit = limit
        self.kept: OrderedDict[bytes, Tensor] = OrderedDict()
        self.size = 0

    def get(self, key: bytes, compute: Callable[[], Tensor]) -> Tensor:
        """The tensor of this key, computed where it is not there; nobody may write into it."""
        if key in self.kept:
            self.kept.move_to_end(key)
            return self.kept[key]
        found = compute()
        self.kept[key] = found
        self.size += found.nbytes
        while self.size > self.limit:
            self.size -= self.kept.popitem(last=False)[1].nbytes
        return found


MEMORY = Memory()


def digest(*tensors: Tensor) -> bytes:
    """Digest of shapes, types and values."""
    found = hashlib.blake2b(digest_size=32)
    for tensor in tensors:
        found.update(f"{tuple(tensor.shape)} {tensor.dtype} {tensor.device}".encode())
        found.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return found.digest()
