"""R3GAN for small images, arXiv:2501.05441: a GAN that a well-behaved loss keeps stable.

Real x and synthetic G(z, y) of the same class y are paired, and D learns which is which, not what
is real: no cut of the score separates all real from all synthetic images, so G cannot please D by
few modes. Zero-centred penalties on D's gradient at both make the game converge locally:

    L_D = E softplus(-(D(x, y) - D(G(z, y), y))) + R1 + R2,
    L_G = E softplus(-(D(G(z, y), y) - D(x, y))),
    R1 = gamma/2 E ||grad_x D(x, y)||^2,    R2 the same at G(z, y).

With such a loss the networks need no normalisation: residual blocks whose last convolution starts
at zero (arXiv:1901.09321), bilinear resampling, leaky ReLU. Small data sets train thanks to
differentiable augmentation (arXiv:2006.10738); the penalties are on D with the augmentation in
front of it.

Departures, for simplicity: blocks of two plain 3 x 3 convolutions, where the paper has grouped
ones between 1 x 1; one block a grid, where it has two; constant gamma; tanh. D learns faster than
G: at the paper's equal rates our small D fell behind, and G's images varied too little.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from knowledge_recycling.config import R3GAN as Config
from knowledge_recycling.generators.adversarial import (
    EMBEDDING,
    AdversarialTraining,
    GridGenerator,
    grid,
    pyramid,
)
from knowledge_recycling.training.pixels import fold, folded, unfolded


class Block(nn.Module):
    """h + f(h) at one grid; f starts at zero."""

    def __init__(self, width: int):
        super().__init__()
        self.conv1 = nn.Conv2d(width, width, 3, padding=1)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1)

    def forward(self, h: Tensor) -> Tensor:
        """Maps (n, width, g, g) to the same shape."""
        return h + self.conv2(F.leaky_relu(self.conv1(h), 0.2))


class R3GAN(GridGenerator):
    """The Generator G(z, y).

    Example:
        >>> g = R3GAN(channels=1, classes=3, size=8, width=4, latent_dim=6)
        >>> g(torch.randn(5, g.latent_dim), torch.tensor([0, 1, 2, 0, 1])).shape
        torch.Size([5, 1, 8, 8])
    """

    def __init__(self, **spec: int):
        super().__init__(**spec)
        self.first = nn.Linear(self.latent_dim + EMBEDDING, self.widths[0] * self.base**2)
        self.layers = nn.Sequential(Block(self.widths[0]))
        for inputs, outputs in pairwise(self.widths):
            # A 1x1 convolution commutes with bilinear upsampling: four times cheaper before it.
            self.layers.append(nn.Conv2d(inputs, outputs, 1))
            self.layers.append(nn.Upsample(scale_factor=2, mode="bilinear"))
            self.layers.append(Block(outputs))
        self.layers.append(nn.Conv2d(self.widths[-1], spec["channels"] * self.fold**2, 1))
        self.apply(_initialise)

    def forward(self, z: Tensor, labels: Tensor) -> Tensor:
        """Maps z (n, latent_dim), labels (n,) to images (n, c, size, size) in -1..1."""
        h = self.first(torch.cat([z, self.embed(labels)], 1))
        h = self.layers(h.unflatten(1, (-1, self.base, self.base)))
        return unfolded(torch.tanh(h.float()), self.fold)


class Discriminator(nn.Module):
    """Projection discriminator D(x, y) = <embed(y), phi(x)> + psi(phi(x)), arXiv:1802.05637."""

    def __init__(self, *, channels: int, classes: int, size: int, width: int):
        super().__init__()
        self.fold, (base, doublings) = fold(size), grid(size)
        widths = pyramid(width, doublings)
        self.phi = nn.Sequential(nn.Conv2d(channels * self.fold**2, width, 1), Block(width))
        for inputs, outputs in pairwise(widths):
            # At half the size this mean is bilinear downsampling.
            self.phi.append(nn.AvgPool2d(2))
            self.phi.append(nn.Conv2d(inputs, outputs, 1))
            self.phi.append(Block(outputs))
        # Each channel's weighted sum over the base grid.
        self.phi.append(nn.Conv2d(widths[-1], widths[-1], base, groups=widths[-1]))
        self.phi.append(nn.Flatten())
        self.psi = nn.Linear(widths[-1], 1)
        self.embed = nn.Embedding(classes, widths[-1])
        self.apply(_initialise)
        nn.init.zeros_(self.embed.weight)

    def forward(self, images: Tensor, labels: Tensor) -> Tensor:
        """Scores (n,) of images (n, channels, size, size) for labels (n,); high means real."""
        phi = self.phi(folded(images, self.fold))
        return self.psi(phi).squeeze(1) + (self.embed(labels) * phi).sum(1)


def _initialise(module: nn.Module) -> None:
    if isinstance(module, nn.Conv2d | nn.Linear):
        nn.init.kaiming_normal_(module.weight, nonlinearity="linear")
        assert module.bias is not None
        nn.init.zeros_(module.bias)
    if isinstance(module, Block):  # reached after its convolutions
        nn.init.zeros_(module.conv2.weight)


def pairing_discriminator(real: Tensor, fake: Tensor) -> Tensor:
    """L_D = E[softplus(-(D(x, y) - D(G(z, y), y)))].

    Args:
        real: (n,), D(x, y).
        fake: (n,), D(G(z, y), y), of the same classes in the same order.

    Returns:
        0-d loss, at least 0; ln 2 where D says nothing.
    """
    return F.softplus(fake - real).mean()


def pairing_generator(real: Tensor, fake: Tensor) -> Tensor:
    """L_G = E[softplus(-(D(G(z, y), y) - D(x, y)))], for scores (n,) each; 0-d."""
    return F.softplus(real - fake).mean()


def gradient_penalty(scores: Tensor, images: Tensor) -> Tensor:
    """E ||grad_x D(x, y)||^2, differentiable with respect to D's weights.

    Args:
        scores: (n,), each a function of its image alone.
        images: (n, channels, height, width), which the scores were computed from.

    Returns:
        0-d, at least 0.
    """
    (gradient,) = torch.autograd.grad(scores.sum(), images, create_graph=True)
    return gradient.square().sum((1, 2, 3)).mean()


class R3GANTraining(AdversarialTraining):
    """R3GAN's networks under the regularised pairing loss."""

    config: Config
    networks = (R3GAN, Discriminator)
    learning_rate = 2e-3
    # A step is at most lr / sqrt(1 - beta2) long. Nothing here is normalised, so after a quiet time
    # one batch of large gradients could otherwise throw the weights far off.
    beta2 = 0.99

    def discriminator_losses(
        self, images: Tensor, labels: Tensor, update: int
    ) -> dict[str, Tensor]:
        """The pairing loss and, every `penalty_every` updates, `penalty` (R1 + R2)."""
        weight, every = self.config.penalty, self.config.penalty_every
        penalised = weight > 0 and update % every == 0
        with self.autocast():
            both = self.with_synthetic(images, labels).requires_grad_(penalised)
            scores = self.score(both, labels.repeat(2))
        losses = {"discriminator": pairing_discriminator(*scores.chunk(2))}
        if penalised:
            # As many real as synthetic images: R1 + R2 is gamma times the mean over both.
            losses["penalty"] = every * weight * gradient_penalty(scores, both)
        return losses

    def generator_loss(self, images: Tensor, labels: Tensor) -> Tensor:
        """The pairing loss of G."""
        with torch.no_grad():
            real = self.score(images, labels)
        return pairing_generator(real, self.score(self.draw(labels), labels))
