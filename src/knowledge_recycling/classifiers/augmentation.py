"""Augmentation fit for medical images: small shifts and blends; flips only where asked for."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.distributions import Beta
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


def blend(count: int, *rows: Tensor, alpha: float = 1.0) -> tuple[Tensor, ...]:
    """The first `count` rows, each blended with another of the batch: a x_i + (1 - a) x_j.

    The Teacher learns by mixup: images and labels are blended alike (Zhang et al. 2018,
    arXiv:1710.09412). For the Student images alone are blended, and the Teacher labels the blend
    as it is: the Student is to be its equal as a function, and a blend lies where the Generator
    puts nothing (function matching: Beyer et al. 2022, arXiv:2106.05237).

    Args:
        count: 1..n.
        rows: float tensors (n, ...) that get the same partners j and proportions a.
        alpha: a ~ Beta(alpha, alpha): 1 is uniform, small values mostly leave one image alone.
    """
    n, device = len(rows[0]), rows[0].device
    share = Beta(*torch.full((2,), alpha, device=device)).sample((count,))
    other = torch.randperm(n, device=device)[:count]
    return tuple(torch.lerp(x[other], x[:count], share.view(-1, *[1] * (x.ndim - 1))) for x in rows)
