"""Between pixels as stored and pixels as networks see them."""

from __future__ import annotations

import torch


def to_float(images: torch.Tensor) -> torch.Tensor:
    """Maps uint8 0..255 to float32 -1..1."""
    return images.float() / 127.5 - 1.0


def to_bytes(images: torch.Tensor) -> torch.Tensor:
    """Maps float -1..1 to uint8 0..255, rounding; the inverse of `to_float`."""
    return ((images.float() + 1.0) * 127.5).round().clamp(0, 255).to(torch.uint8)
