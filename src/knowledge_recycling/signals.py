"""What an attacker sees of one pipeline: its signals on every record of the pool."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from knowledge_recycling.classifiers.inference import logits_of
from knowledge_recycling.runtime import Runtime, to_float
from knowledge_recycling.synthesis import SyntheticSet

SHIFTS = ((0, 0), (0, 1), (0, -1), (1, 0), (-1, 0))
"""Test-time augmentations (down, right) in pixels, the image itself first."""
NEIGHBOURS = 5
FEATURE_SIDE = 14
"""Images are compared as pixels, averaged down to at most this side: a space fixed beforehand."""


def of_classifier(network: nn.Module, images: Tensor, runtime: Runtime) -> np.ndarray:
    """Logits (A, N, C) float32 of images (N, c, h, w) uint8, one slice an augmentation."""
    slices = [logits_of(network, _moved(images, *by), runtime).cpu().numpy() for by in SHIFTS]
    return np.stack(slices).astype(np.float32)


def of_synthetic(images: Tensor, labels: Tensor, made: SyntheticSet) -> dict[str, np.ndarray]:
    """Signals of the records in a synthetic set, higher for members if it gives them away.

    Args:
        images: (N, c, h, w) uint8, the pool.
        labels: (N,) its classes.
        made: the synthetic set.

    Returns:
        `synthetic` (N,): minus the log of the distance to the nearest synthetic image.
        `soft_labels` (N,): logit of the mean soft label, for the record's class, of its nearest
        synthetic images.
    """
    near, reveals = [], []
    reference = _features(made.images)
    for chunk, classes in zip(images.split(256), labels.split(256), strict=True):
        distance, index = torch.cdist(_features(chunk), reference).topk(
            min(NEIGHBOURS, len(reference)), largest=False
        )
        near.append(-(distance[:, 0] + 1e-6).log())
        soft = made.targets[index].double().mean(1).gather(1, classes[:, None])[:, 0]
        reveals.append(soft.clamp(1e-6, 1 - 1e-6).logit())
    return {
        "synthetic": torch.cat(near).double().cpu().numpy(),
        "soft_labels": torch.cat(reveals).cpu().numpy(),
    }


def blind_features(images: Tensor) -> np.ndarray:
    """Features (N, d) of the images alone, for the control that never saw a target."""
    side = min(7, images.shape[-1])
    return F.adaptive_avg_pool2d(to_float(images), side).flatten(1).cpu().numpy()


def _features(images: Tensor) -> Tensor:
    side = min(FEATURE_SIDE, images.shape[-1])
    return F.adaptive_avg_pool2d(to_float(images), side).flatten(1)


def _moved(images: Tensor, down: int, right: int) -> Tensor:
    """Moves images by whole pixels, edges replicated."""
    _, _, height, width = images.shape
    rows = (torch.arange(height, device=images.device) - down).clamp(0, height - 1)
    columns = (torch.arange(width, device=images.device) - right).clamp(0, width - 1)
    return images[:, :, rows][:, :, :, columns]
