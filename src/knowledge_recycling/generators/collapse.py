"""Has a Generator collapsed: does it make nearly the same image whatever z is?"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from knowledge_recycling.generators.interface import Generator
from knowledge_recycling.training.images import Images
from knowledge_recycling.training.pixels import to_float
from knowledge_recycling.training.runtime import Runtime

COLLAPSED = 0.1
"""A snapshot with less than this share of the real images' variation within a class collapsed."""
SAMPLES = 64
MOST_BYTES = 2**28
"""Of real images of a class as float32: of more, some say how much they vary."""


@torch.no_grad()
def variation(
    networks: Sequence[Generator], images: Images, labels: Tensor, runtime: Runtime
) -> float:
    """Least ratio of synthetic to real standard deviation of the pixels within a class.

    Args:
        networks: on the device, in eval mode.
        images: real (n, c, h, w) uint8.
        labels: (n,).
        runtime: device and precision.

    Returns:
        The least over Generators and classes of two images or more; NaN where one is not finite.
    """
    ratios = []
    for y in labels.unique():
        real = to_float(images[_some(labels == y, images.shape)])
        if len(real) < 2:
            continue
        spread = max(real.std(0).mean().item(), 1e-6)
        for network in networks:
            z = torch.randn(SAMPLES, network.latent_dim, device=runtime.device)
            with runtime.autocast():
                made = network(z, y.expand(len(z))).float()
            ratios.append(made.std(0).mean().item() / spread)
    return min(ratios, default=1.0) if all(map(math.isfinite, ratios)) else math.nan


def _some(of_class: Tensor, shape: Sequence[int]) -> Tensor:
    """Numbers of the images of a class (n,) bool, evenly spaced where they are too many."""
    found = of_class.nonzero()[:, 0]
    most = max(2, MOST_BYTES // (4 * math.prod(shape[1:])))
    return found[:: -(-len(found) // most)] if len(found) > most else found
