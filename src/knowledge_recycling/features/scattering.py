"""Wavelet-modulus (scattering) maps of two orders, Bruna and Mallat 2013 (arXiv:1203.1513).

Fixed filters, no parameter is learnt. With x_1 the image and x_2 its 2x2 averages:

    S_0 = pool(x_1),  S_1 = pool |x_1 * w_a|,  S_1' = pool |x_2 * w_a|,
    S_2 = pool | |x_1 * w_a|_2 * w_b |

for 8 orientations a, b: 81 maps a channel.
"""

from __future__ import annotations

import math
from functools import cache

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d, conv2d, pad

from knowledge_recycling.features.symmetry import ORIENTATIONS, average

KERNEL = 9
OPPONENT = torch.tensor([[1 / 3, 1 / 3, 1 / 3], [0.5, -0.5, 0.0], [0.25, 0.25, -0.5]])
"""Lightness, red against green, yellow against blue."""


@cache
def morlet(orientations: int = ORIENTATIONS, side: int = KERNEL) -> Tensor:
    """Complex Morlet wavelets as kernels (2 orientations, 1, side, side): real, imaginary parts.

    w(u) = exp(-|u|^2 / 2 s^2) (exp(i x u_a) - b), b such that the mean is 0; |w|_1 = 1.
    """
    axis = torch.arange(side, dtype=torch.float64) - side // 2
    y, x = axis[:, None], axis[None, :]
    window = torch.exp(-(x**2 + y**2) / (2 * 1.3**2))
    waves = []
    for step in range(orientations):
        angle = math.pi * step / orientations
        phase = 0.6 * math.pi * (x * math.cos(angle) + y * math.sin(angle))
        wave = window * torch.exp(1j * phase)
        wave = wave - window * (wave.sum() / window.sum())
        waves.append(wave / wave.abs().sum())
    stacked = torch.stack(waves)
    return torch.cat([stacked.real, stacked.imag])[:, None].float()


def features(images: Tensor, symmetry: str) -> Tensor:
    """Signed square roots of the maps, averaged over the symmetries: (n, c 81 h/4 w/4)."""
    if images.shape[1] == 3:
        images = torch.einsum("oc,nchw->nohw", OPPONENT, images)
    maps = scattering(images, morlet())
    return average(maps.sign() * maps.abs().sqrt(), symmetry).flatten(1)


def moduli(maps: Tensor, kernels: Tensor) -> Tensor:
    """|x * w_a| for maps (n, m, h, w): (n, m, orientations, h, w); edges are repeated."""
    n, m, h, w = maps.shape
    margin = kernels.shape[-1] // 2
    padded = pad(maps.reshape(n * m, 1, h, w), (margin,) * 4, mode="replicate")
    real, imaginary = conv2d(padded, kernels).chunk(2, dim=1)
    # A small number added under the root would be lost on the way to ONNX.
    power = (real**2 + imaginary**2).clamp(min=1e-12)
    return torch.sqrt(power).reshape(n, m, -1, h, w)


def scattering(images: Tensor, kernels: Tensor) -> Tensor:
    """Maps (n, c, 81, h/4, w/4) of images (n, c, h, w); h and w are multiples of 4."""
    n, c, h, w = images.shape
    first = moduli(images, kernels)
    half = avg_pool2d(images, 2)[:, :, None]
    first_half = avg_pool2d(first.flatten(1, 2), 2).reshape(n, c, -1, h // 2, w // 2)
    stack = torch.cat([half, first_half], 2)
    second = moduli(stack.flatten(1, 2), kernels)
    second = second.reshape(n, c, -1, h // 2, w // 2)
    pooled = avg_pool2d(torch.cat([stack, second], 2).flatten(1, 2), 2)
    return pooled.reshape(n, c, -1, h // 4, w // 4)
