"""Augmentation fit for medical images: small shifts; flips only where asked for."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from knowledge_recycling.config import Classifier


def augment(images: Tensor, config: Classifier) -> Tensor:
    """Moves each image by up to `config.shift` pixels, and flips it where the config allows.

    Args:
        images: (n, c, h, w), any dtype; edges are replicated.
        config: which changes leave the class of these images as it is.

    Returns:
        Images of the same shape and dtype. Randomness: torch's global generator of the device.
    """
    if config.shift:
        images = _shifted(images, config.shift)
    for wanted, axis in ((config.horizontal_flip, 3), (config.vertical_flip, 2)):
        if wanted:
            flip = torch.rand(len(images), device=images.device) < 0.5
            images = torch.where(flip[:, None, None, None], images.flip(axis), images)
    return images


def _shifted(images: Tensor, reach: int) -> Tensor:
    n, _, height, width = images.shape
    reach = min(reach, height - 1, width - 1)
    padded = F.pad(images.float(), (reach,) * 4, mode="replicate").to(images.dtype)
    offset = torch.randint(0, 2 * reach + 1, (2, n, 1), device=images.device)
    rows = offset[0] + torch.arange(height, device=images.device)
    columns = offset[1] + torch.arange(width, device=images.device)
    picked = padded.permute(0, 2, 3, 1)[
        torch.arange(n, device=images.device)[:, None, None], rows[:, :, None], columns[:, None, :]
    ]
    return picked.permute(0, 3, 1, 2)
