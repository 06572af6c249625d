"""What an attacker sees of one pipeline: its signals on every record of the pool."""

from __future__ import annotations

from functools import partial

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from knowledge_recycling.classifiers.inference import logits_of
from knowledge_recycling.synthesis.source import SyntheticSet
from knowledge_recycling.training.images import CHUNK, Images
from knowledge_recycling.training.pixels import to_float
from knowledge_recycling.training.runtime import Runtime

SHIFTS = ((0, 0), (0, 1), (0, -1), (1, 0), (-1, 0))
"""Test-time augmentations (down, right) in pixels, the image itself first."""
NEIGHBOURS = 5
FEATURE_SIDE = 14
"""Images are compared as pixels, averaged down to at most this side: a space fixed beforehand."""


def of_classifier(network: nn.Module, images: Images, runtime: Runtime) -> np.ndarray:
    """Logits (A, N, C) float32 of images (N, c, h, w) uint8, one slice an augmentation."""
    slices = [
        logits_of(network, images, runtime, partial(_moved, down=down, right=right)).cpu().numpy()
        for down, right in SHIFTS
    ]
    return np.stack(slices).astype(np.float32)


def of_synthetic(
    images: Images, labels: Tensor, member: Tensor, made: SyntheticSet
) -> dict[str, np.ndarray]:
    """Signals of the records in a synthetic set, higher for members if it gives them away.

    Args:
        images: (N, c, h, w) uint8, the pool.
        labels: (N,) its classes.
        member: (N,) bool, which of them trained the pipeline.
        made: the synthetic set.

    Returns:
        `synthetic` (N,): minus the log of the distance to the nearest synthetic image.
        `held_out` (N,): the same to the nearest record of the other side: for a member, of those
        that did not train the pipeline. Copy detector: a synthetic image nearer than that.
        `soft_labels`, `hard_labels`, `tempered_labels`, `rounded_labels` (N,): logit of the mean
        label, for the record's class, of its nearest synthetic images, see `release_labels`.
    """
    reference, pool = _features(made.images), _features(images)
    released = release_labels(made)
    columns: dict[str, list[Tensor]] = {name: [] for name in ("synthetic", "held_out", *released)}
    for chunk, classes, inside in zip(
        pool.split(256), labels.split(256), member.split(256), strict=True
    ):
        distance, index = torch.cdist(chunk, reference).topk(
            min(NEIGHBOURS, len(reference)), largest=False
        )
        same_side = inside[:, None] == member
        others = torch.cdist(chunk, pool).masked_fill(same_side, torch.inf).amin(1)
        columns["synthetic"].append(_nearness(distance[:, 0]))
        columns["held_out"].append(_nearness(others))
        for name, values in released.items():
            mean = values[index].mean(1).gather(1, classes[:, None])[:, 0]
            columns[name].append(mean.clamp(1e-6, 1 - 1e-6).logit())
    return {name: torch.cat(parts).double().cpu().numpy() for name, parts in columns.items()}


def release_labels(made: SyntheticSet) -> dict[str, Tensor]:
    """Ways to label the same synthetic images for release, (n, C) float64 each.

    Soft: the Teacher's softmax. Hard: the class that the Generator was asked for. Tempered: soft
    at twice the temperature. Rounded: soft to one decimal.
    """
    soft = made.targets.double()
    tempered = soft.sqrt()
    return {
        "soft_labels": soft,
        "hard_labels": F.one_hot(made.classes, soft.shape[1]).double(),
        "tempered_labels": tempered / tempered.sum(1, keepdim=True),
        "rounded_labels": soft.round(decimals=1),
    }


def _nearness(distance: Tensor) -> Tensor:
    return -(distance + 1e-6).log()


def blind_features(images: Images) -> np.ndarray:
    """Features (N, d) of the images alone, for the control that never saw a target."""
    return _averaged(images, 7).cpu().numpy()


def _features(images: Images) -> Tensor:
    return _averaged(images, FEATURE_SIDE)


def _averaged(images: Images, side: int) -> Tensor:
    """Images averaged down to at most `side` pixels, flat; in chunks, for floats take much room."""
    side = min(side, images.shape[-1])
    return torch.cat(
        [F.adaptive_avg_pool2d(to_float(chunk), side).flatten(1) for chunk in images.split(CHUNK)]
    )


def _moved(images: Tensor, down: int, right: int) -> Tensor:
    """Moves images by whole pixels, edges replicated."""
    _, _, height, width = images.shape
    rows = (torch.arange(height, device=images.device) - down).clamp(0, height - 1)
    columns = (torch.arange(width, device=images.device) - right).clamp(0, width - 1)
    return images[:, :, rows][:, :, :, columns]
