"""Logits of a classifier for many images."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from knowledge_recycling.runtime import Runtime, to_float

CHUNK = 512


@torch.no_grad()
def logits_of(network: nn.Module, images: Tensor, runtime: Runtime) -> Tensor:
    """Logits (n, C) float32 for images (n, c, h, w) uint8, computed in chunks in eval mode."""
    network.eval()
    chunks = []
    for chunk in images.split(CHUNK):
        x = to_float(chunk.to(runtime.device)).contiguous(memory_format=torch.channels_last)
        with runtime.autocast():
            chunks.append(network(x).float())
    return torch.cat(chunks)


def probabilities_of(network: nn.Module, images: Tensor, runtime: Runtime) -> np.ndarray:
    """Softmax probabilities (n, C) float64 for images (n, c, h, w) uint8."""
    return logits_of(network, images, runtime).double().softmax(1).cpu().numpy()
