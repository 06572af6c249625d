"""Class-conditional BigGAN for small images, arXiv:1809.11096.

The paper's design at 8 to 224 pixels: hierarchical latents and a shared class embedding drive the
class-conditional batch normalisation of the Generator; a spectrally normalised projection
discriminator (arXiv:1802.05957, arXiv:1802.05637) judges image and class; hinge loss; averaged
weights. Small data sets train thanks to differentiable augmentation (arXiv:2006.10738).

Two departures, for simplicity. Spectral normalisation is in the discriminator only: the Generator's
averaged weights are then plain weights (averaged power-iteration vectors would no longer be unit
vectors). There is no self-attention: on grids this small the convolutions reach across the image.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import parametrizations, parametrize

from knowledge_recycling.generators.adversarial import (
    EMBEDDING,
    AdversarialTraining,
    GridGenerator,
    grid,
    hinge_discriminator,
    hinge_generator,
    pyramid,
)
from knowledge_recycling.training.pixels import fold, folded, unfolded


class ClassConditionalNorm(nn.Module):
    """Batch normalisation whose affine part is read from a condition: (1 + W c) * h^ + V c."""

    def __init__(self, channels: int, condition: int):
        super().__init__()
        self.norm = nn.BatchNorm2d(channels, affine=False)
        self.gain = nn.Linear(condition, channels, bias=False)
        self.bias = nn.Linear(condition, channels, bias=False)

    def forward(self, h: Tensor, condition: Tensor) -> Tensor:
        """Normalises h (n, channels, height, width) given the condition (n, condition)."""
        gain, bias = self.gain(condition)[..., None, None], self.bias(condition)[..., None, None]
        return (1 + gain) * self.norm(h) + bias


class UpBlock(nn.Module):
    """Residual block that doubles the grid."""

    def __init__(self, inputs: int, outputs: int, condition: int):
        super().__init__()
        self.norm1 = ClassConditionalNorm(inputs, condition)
        self.conv1 = nn.Conv2d(inputs, outputs, 3, padding=1)
        self.norm2 = ClassConditionalNorm(outputs, condition)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1)
        self.skip = nn.Conv2d(inputs, outputs, 1)

    def forward(self, h: Tensor, condition: Tensor) -> Tensor:
        """Maps (n, inputs, g, g) to (n, outputs, 2g, 2g)."""
        x = F.interpolate(F.relu(self.norm1(h, condition)), scale_factor=2)
        x = self.conv2(F.relu(self.norm2(self.conv1(x), condition)))
        # A 1x1 convolution commutes with nearest upsampling: four times cheaper before it.
        return x + F.interpolate(self.skip(h), scale_factor=2)


class BigGAN(GridGenerator):
    """The Generator G(z, y); each level of the grid reads its own slice of z.

    Example:
        >>> g = BigGAN(channels=1, classes=3, size=8, width=4, latent_dim=6)
        >>> g(torch.randn(5, g.latent_dim), torch.tensor([0, 1, 2, 0, 1])).shape
        torch.Size([5, 1, 8, 8])
    """

    def __init__(self, **spec: int):
        super().__init__(**spec)
        levels = len(self.widths)
        slices = [len(part) for part in torch.arange(self.latent_dim).tensor_split(levels)]
        self.first = nn.Linear(EMBEDDING + slices[0], self.widths[0] * self.base**2)
        self.blocks = nn.ModuleList(
            UpBlock(inputs, outputs, EMBEDDING + length)
            for (inputs, outputs), length in zip(pairwise(self.widths), slices[1:], strict=True)
        )
        self.norm = nn.BatchNorm2d(self.widths[-1])
        self.last = nn.Conv2d(self.widths[-1], spec["channels"] * self.fold**2, 3, padding=1)
        self.apply(_orthogonal)

    def forward(self, z: Tensor, labels: Tensor) -> Tensor:
        """Maps z (n, latent_dim), labels (n,) to images (n, c, size, size) in -1..1."""
        y = self.embed(labels)
        first, *rest = z.tensor_split(len(self.blocks) + 1, dim=1)
        h = self.first(torch.cat([y, first], 1)).unflatten(1, (-1, self.base, self.base))
        for block, part in zip(self.blocks, rest, strict=True):
            h = block(h, torch.cat([y, part], 1))
        return unfolded(torch.tanh(self.last(F.relu(self.norm(h))).float()), self.fold)


class DownBlock(nn.Module):
    """Residual block of the discriminator; `halve` averages 2 x 2 pixels."""

    def __init__(self, inputs: int, outputs: int, *, halve: bool, first: bool = False):
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, padding=1)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1)
        self.skip = nn.Conv2d(inputs, outputs, 1)
        self.halve, self.first = halve, first

    def forward(self, h: Tensor) -> Tensor:
        """Maps (n, inputs, g, g) to (n, outputs, g, g), or to half the grid."""
        x = h if self.first else F.relu(h)  # a ReLU on pixels would discard the dark half
        x = self.conv2(F.relu(self.conv1(x)))
        if self.halve:
            x, h = F.avg_pool2d(x, 2), F.avg_pool2d(h, 2)
        return x + self.skip(h)


class Discriminator(nn.Module):
    """Projection discriminator D(x, y) = <embed(y), phi(x)> + psi(phi(x)), arXiv:1802.05637."""

    def __init__(self, *, channels: int, classes: int, size: int, width: int):
        super().__init__()
        self.fold, (_, doublings) = fold(size), grid(size)
        widths = pyramid(width, doublings)
        self.phi = nn.Sequential(DownBlock(channels * self.fold**2, width, halve=True, first=True))
        for level, (inputs, outputs) in enumerate(pairwise(widths), 1):
            self.phi.append(DownBlock(inputs, outputs, halve=level < doublings))
        self.psi = nn.Linear(widths[-1], 1)
        self.embed = nn.Embedding(classes, widths[-1])
        self.apply(_orthogonal)
        self.normalised = [m for m in self.modules() if isinstance(m, _WEIGHTED)]
        for layer in self.normalised:
            parametrizations.spectral_norm(layer)

    def forward(self, images: Tensor, labels: Tensor) -> Tensor:
        """Scores (n,) of images (n, channels, size, size) for labels (n,); high means real."""
        with parametrize.cached():
            # The power iteration runs here once, in float32 even under autocast.
            with torch.autocast(images.device.type, enabled=False):
                _ = [layer.weight for layer in self.normalised]
            phi = F.relu(self.phi(folded(images, self.fold))).sum((2, 3))
            return self.psi(phi).squeeze(1) + (self.embed(labels) * phi).sum(1)


_WEIGHTED = (nn.Conv2d, nn.Linear, nn.Embedding)


def _orthogonal(module: nn.Module) -> None:
    if isinstance(module, _WEIGHTED):
        nn.init.orthogonal_(module.weight)
    if isinstance(module, nn.Conv2d | nn.Linear) and module.bias is not None:
        nn.init.zeros_(module.bias)


class BigGANTraining(AdversarialTraining):
    """BigGAN's networks under the hinge loss."""

    networks = (BigGAN, Discriminator)
    learning_rate = 1e-3
    beta2 = 0.999

    def discriminator_losses(
        self, images: Tensor, labels: Tensor, update: int
    ) -> dict[str, Tensor]:
        """The hinge loss of D; `update` plays no part in it."""
        with self.autocast():
            scores = self.score(self.with_synthetic(images, labels), labels.repeat(2))
            return {"discriminator": hinge_discriminator(*scores.chunk(2))}

    def generator_loss(self, images: Tensor, labels: Tensor) -> Tensor:
        """The hinge loss of G; the real images play no part in it."""
        return hinge_generator(self.score(self.draw(labels), labels))
