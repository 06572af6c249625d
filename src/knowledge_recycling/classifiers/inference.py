"""Logits and features of a classifier for many images."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn

from knowledge_recycling.training.images import CHUNK, Images
from knowledge_recycling.training.pixels import to_float
from knowledge_recycling.training.runtime import Runtime


def unchanged(images: Tensor) -> Tensor:
    """The images themselves."""
    return images


@torch.no_grad()
def logits_of(
    network: nn.Module,
    images: Images,
    runtime: Runtime,
    change: Callable[[Tensor], Tensor] = unchanged,
) -> Tensor:
    """Logits (n, C) float32 for images (n, c, h, w) uint8, computed in chunks in eval mode.

    Args:
        network: on the device.
        images: what it is asked about.
        runtime: device and precision.
        change: made to the images of a chunk first, uint8 to uint8.
    """
    network.eval()
    return _in_chunks(network, images, runtime, change)


@torch.no_grad()
def features_of(network: nn.Module, images: Images, runtime: Runtime) -> tuple[Tensor, str]:
    """Features (n, d) float32 for images (n, c, h, w) uint8, in eval mode, and what they are.

    `penultimate features`: the last of the network's `feature_maps`, averaged over its grid.
    `logits`, where a network of the user's own does not show its feature maps.
    """
    network.eval()
    maps = getattr(network, "feature_maps", None)
    if maps is None:
        return _in_chunks(network, images, runtime), "logits"

    def penultimate(x: Tensor) -> Tensor:
        last: Tensor = maps(x)[-1]
        return last.flatten(2).mean(2) if last.ndim > 2 else last

    return _in_chunks(penultimate, images, runtime), "penultimate features"


def _in_chunks(
    forward: Callable[[Tensor], Tensor],
    images: Images,
    runtime: Runtime,
    change: Callable[[Tensor], Tensor] = unchanged,
) -> Tensor:
    chunks = []
    for chunk in images.split(CHUNK):
        x = to_float(change(chunk.to(runtime.device)))
        x = x.contiguous(memory_format=torch.channels_last)
        with runtime.autocast():
            chunks.append(forward(x).float())
    return torch.cat(chunks)


def probabilities_of(network: nn.Module, images: Images, runtime: Runtime) -> np.ndarray:
    """Softmax probabilities (n, C) float64 for images (n, c, h, w) uint8."""
    return logits_of(network, images, runtime).double().softmax(1).cpu().numpy()
