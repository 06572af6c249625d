"""Residual network for small images, after He et al. 2016 (arXiv:1512.03385), section 4.2.

The stem is one 3x3 convolution without pooling, as is usual for 28 to 32 pixels. Width 64 and
blocks (2, 2, 2, 2) give the ResNet-18 of the MedMNIST baselines.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from knowledge_recycling.training.pixels import fold, folded


class Pointwise(nn.Conv2d):
    """1x1 convolution of every `step`-th row and column.

    The same as with a stride. PyTorch 2.13's own with a stride writes beyond its memory when it
    goes back through fewer than 8 channels, channels last, on processors with AVX2 alone.
    """

    def __init__(self, inputs: int, outputs: int, step: int) -> None:
        super().__init__(inputs, outputs, 1, bias=False)
        self.step = step

    def forward(self, x: Tensor) -> Tensor:
        """(n, inputs, h, w) to (n, outputs, h / step, w / step)."""
        return super().forward(x[:, :, :: self.step, :: self.step])


class Block(nn.Module):
    """Two 3x3 convolutions beside a shortcut: relu(shortcut(x) + f(x))."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.residual = nn.Sequential(
            nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False),
            nn.BatchNorm2d(outputs),
            nn.ReLU(inplace=True),
            nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False),
            nn.BatchNorm2d(outputs),
        )
        same = inputs == outputs and stride == 1
        self.shortcut = (
            nn.Identity()
            if same
            else nn.Sequential(Pointwise(inputs, outputs, stride), nn.BatchNorm2d(outputs))
        )

    def forward(self, x: Tensor) -> Tensor:
        """(n, inputs, h, w) to (n, outputs, h / stride, w / stride)."""
        return torch.relu(self.shortcut(x) + self.residual(x))


class ResNet(nn.Module):
    """Classifier of small images; larger ones are folded first (`training.pixels.fold`).

    Args:
        channels: 1 grey, 3 colour.
        classes: C.
        width: channels of the first stage; each further stage has twice as many.
        blocks: residual blocks of each stage; every stage but the first halves the grid.
        size: side of the images in pixels; matters above 64 alone.
    """

    def __init__(
        self, channels: int, classes: int, width: int, blocks: tuple[int, ...], size: int = 64
    ) -> None:
        super().__init__()
        self.fold = fold(size)
        widths = [width * 2**stage for stage in range(len(blocks))]
        self.stem = nn.Sequential(
            nn.Conv2d(channels * self.fold**2, width, 3, 1, 1, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(inplace=True),
        )
        self.stages = nn.ModuleList(
            nn.Sequential(
                Block(([width, *widths])[stage], out, 1 if stage == 0 else 2),
                *(Block(out, out, 1) for _ in range(count - 1)),
            )
            for stage, (out, count) in enumerate(zip(widths, blocks, strict=True))
        )
        self.head = nn.Linear(widths[-1], classes)

    def feature_maps(self, x: Tensor) -> list[Tensor]:
        """Output of the stem and of every stage: [(n, width, h, w), ...], finest first."""
        maps = [self.stem(folded(x, self.fold))]
        for stage in self.stages:
            maps.append(stage(maps[-1]))
        return maps

    def classify(self, maps: list[Tensor]) -> Tensor:
        """Logits (n, C) from the feature maps of a batch."""
        return self.head(maps[-1].mean((2, 3)))

    def forward(self, x: Tensor) -> Tensor:
        """Images (n, channels, h, w) in -1..1 to logits (n, C)."""
        return self.classify(self.feature_maps(x))
