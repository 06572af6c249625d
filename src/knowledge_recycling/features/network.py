"""A small convolutional network pretrained on procedural scenes, and its feature maps."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn.functional import adaptive_avg_pool2d, normalize
from torch.nn.utils.fusion import fuse_conv_bn_eval

from knowledge_recycling.features.symmetry import views

FILE = Path(__file__).with_name("network.safetensors")
"""Weights, float16, written by `python -m knowledge_recycling.features.pretraining`."""
WIDTH = 24


class Network(nn.Module):
    """Five convolutions to a 7 x 7 grid, and a projection for the contrastive loss alone."""

    def __init__(self, width: int = WIDTH) -> None:
        super().__init__()
        self.first = _layer(3, width, 2)
        self.second = _layer(width, 2 * width, 1)
        self.third = _layer(2 * width, 3 * width, 2)
        self.fourth = _layer(3 * width, 4 * width, 1)
        self.fifth = _layer(4 * width, 4 * width, 1)
        self.projection = nn.Sequential(nn.Linear(8 * width, 256), nn.ReLU(), nn.Linear(256, 64))

    def maps(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Maps of the second, fourth and fifth layer of images (n, 3, h, w) in 0..1."""
        second = self.second(self.first(images - 0.5))
        fourth = self.fourth(self.third(second))
        return second, fourth, fourth + self.fifth(fourth)

    def forward(self, images: Tensor) -> Tensor:
        """Unit vectors (n, 64)."""
        last = self.maps(images)[-1]
        pooled = torch.cat([last.mean((2, 3)), last.amax((2, 3))], 1)
        return normalize(self.projection(pooled), dim=1)


def _layer(inputs: int, outputs: int, stride: int) -> nn.Sequential:
    convolution = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(outputs), nn.ReLU())


@cache
def pretrained() -> Network:
    """The network of the file beside this module, in eval mode, as quick as a CPU runs it."""
    network = Network()
    network.load_state_dict({k: v.float() for k, v in load_file(FILE).items()}, strict=False)
    network.eval()
    for name, layer in network.named_children():
        if name != "projection" and isinstance(layer, nn.Sequential):
            fused = fuse_conv_bn_eval(layer[0], layer[1])  # type: ignore[type-var, arg-type]
            setattr(network, name, nn.Sequential(fused, nn.ReLU()))
    return network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]


def features(images: Tensor, symmetry: str) -> Tensor:
    """Roots of the maps' means on a 2 x 2 grid and of the last one's largest, (n, 44 width).

    Args:
        images: (n, c, h, w) in 0..1; grey ones are shown as colour.
        symmetry: the features are means over these views of the image.
    """
    seen = views(images.expand(-1, 3, -1, -1), symmetry)
    return torch.stack([_pooled(view) for view in seen]).mean(0)


def _pooled(images: Tensor) -> Tensor:
    maps = pretrained().maps(images.contiguous(memory_format=torch.channels_last))
    means = [adaptive_avg_pool2d(each, 2).flatten(1) for each in maps]
    return torch.cat([*means, maps[-1].amax((2, 3))], 1).clamp(min=0).sqrt()
