"""A classifier on features that hold no private bit: the Teacher of a private run.

    logits(image) = (unit(phi(image) - c), bias) W

phi is fixed (see `features`); only the centre c and the weights W are learnt, both by mechanisms
with a formal guarantee. All that an image goes through is stored with it.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from knowledge_recycling.classifiers.linear_head import BIAS
from knowledge_recycling.features import Features


class FeatureNetwork(nn.Module):
    """Images (n, channels, h, w) in -1..1 to logits (n, C); untrained it says zero of each class.

    Args:
        channels: 1 grey, 3 colour.
        classes: C.
        symmetry: see `features.Features`.
        block: likewise.
    """

    centre: Tensor

    def __init__(self, channels: int, classes: int, symmetry: str, block: int) -> None:
        super().__init__()
        self.features = Features(channels, symmetry, block)
        self.register_buffer("centre", torch.zeros(self.features.dim))
        self.weights = nn.Parameter(torch.zeros(self.features.dim + 1, classes))

    def share_features(self) -> None:
        """Takes features made in this process for the stored ones, which they equal to rounding.

        Shadows ask many networks about the same images, and made ones compute each image once.
        """
        of = self.features
        made = Features.make(channels=of.channels, symmetry=of.symmetry, block=of.block)
        self.features = made.to(self.centre.device)

    def inputs(self, images: Tensor) -> Tensor:
        """(unit(phi - c), bias), (n, k + 1)."""
        # Features were scaled in float32; a head learnt on those means nothing on others.
        with torch.autocast(images.device.type, enabled=False):
            moved = self.features((images.float() + 1) / 2) - self.centre
            moved = moved / moved.norm(dim=1, keepdim=True).clamp(min=1e-12)
            return torch.cat([moved, torch.full_like(moved[:, :1], BIAS)], 1)

    def forward(self, images: Tensor) -> Tensor:
        """Logits (n, C)."""
        x = self.inputs(images)
        with torch.autocast(images.device.type, enabled=False):
            return x @ self.weights
