"""Fine detail for the smooth images of a private Generator, from images that hold no private bit.

Noise leaves a `MomentsGenerator` the lowest m x m frequencies alone. A Student that only saw such
images misjudges sharp ones, as BatchNorm and edges differ. With p the pixels in 0.05..0.95, half of
the images keep their low frequencies and take the others from a procedural scene s:

    u = DCT(logit p),    u_ij <- a DCT(logit s)_ij where i >= m or j >= m,    a ~ U(0, 1).

Post-processing: no guarantee is spent. The Teacher labels what the Student sees, so that detail
which means another class is labelled so.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from scipy.fft import idctn
from torch import Tensor
from torch.nn.functional import interpolate

from knowledge_recycling.features.scenes import Dice, draw_scenes, render
from knowledge_recycling.generators.moments import MomentsGenerator, spectrum
from knowledge_recycling.synthesis.source import Source
from knowledge_recycling.training.pixels import to_bytes
from knowledge_recycling.training.seeds import derive

SHARE = 0.5
CHUNK = 512


@dataclass(frozen=True)
class DetailedSource(Source):
    """A source whose Generator is a `MomentsGenerator`; half of its images have fine detail."""

    def images(self, classes: Tensor, seed: int) -> tuple[Tensor, float]:
        """As `Source.images`; the first half of them detailed."""
        assert isinstance(self.generator, MomentsGenerator)
        images, accepted = super().images(classes, seed)
        count = round(SHARE * len(images))
        kept = self.generator.spec["frequencies"]
        chunks = images[:count].split(CHUNK)
        made = [detailed(c, kept, derive(seed, "detail", i)) for i, c in enumerate(chunks)]
        return torch.cat([*made, images[count:]]), accepted


def detailed(images: Tensor, kept: int, seed: int) -> Tensor:
    """Images with the frequencies above the lowest kept x kept taken from procedural scenes.

    Args:
        images: (n, c, h, h) uint8.
        kept: frequencies per axis that stay, m.
        seed: of the scenes and their strengths a.

    Returns:
        (n, c, h, h) uint8 on the images' device.
    """
    n, channels, side, _ = images.shape
    dice = Dice(seed % 2**31)
    scenes = render(draw_scenes(n, dice), dice)
    if channels == 1:
        scenes = scenes.mean(1, keepdim=True)
    if scenes.shape[2] != side:
        scenes = interpolate(scenes, (side, side), mode="bilinear", antialias=True)
    low, fine = (
        spectrum(x.astype(np.float64)) for x in (images.cpu().numpy() / 255, scenes.numpy())
    )
    fine[:, :, :kept, :kept] = 0
    strength = dice.uniform(n, 0, 1).numpy()[:, None, None, None]
    mask = np.zeros((side, side))
    mask[:kept, :kept] = 1
    logits = idctn(low * mask + strength * fine, axes=(2, 3), norm="ortho")
    pixels = np.clip((1 / (1 + np.exp(-logits)) - 0.05) / 0.9, 0, 1)
    return to_bytes(2 * torch.from_numpy(pixels).float() - 1).to(images.device)
