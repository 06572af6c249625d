"""Class-conditional BigGAN for small images, arXiv:1809.11096.

The paper's design at 8 to 64 pixels: hierarchical latents and a shared class embedding drive the
class-conditional batch normalisation of the Generator; a spectrally normalised projection
discriminator (arXiv:1802.05957, arXiv:1802.05637) judges image and class; hinge loss; averaged
weights. Small data sets train thanks to differentiable augmentation (arXiv:2006.10738).

Two departures, for simplicity. Spectral normalisation is in the discriminator only: the Generator's
averaged weights are then plain weights (averaged power-iteration vectors would no longer be unit
vectors). There is no self-attention: on grids this small the convolutions reach across the image.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from copy import deepcopy
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import parametrizations, parametrize

from knowledge_recycling import config
from knowledge_recycling.errors import KRError
from knowledge_recycling.generators.averaging import averaged
from knowledge_recycling.generators.diff_augment import augment
from knowledge_recycling.generators.interface import Generator

LEARNING_RATE = 1e-3
EMBEDDING = 32
"""Length of the Generator's shared class embedding."""


def grid(size: int) -> tuple[int, int]:
    """The base grid g and the number k of doublings with size = g * 2^k, g in 4..7, k >= 1.

    Raises:
        KRError: no such pair; names the sizes that have one.

    Example:
        >>> grid(28), grid(32), grid(8)
        ((7, 2), (4, 3), (4, 1))
    """
    doublings = max(size.bit_length() - 3, 0)  # size / 2^doublings is in 4..7 (rounded down)
    if doublings < 1 or size % 2**doublings:
        known = [g * 2**k for k in range(1, 5) for g in range(4, 8) if g * 2**k <= 64]
        raise KRError(
            f"biggan: images of {size} pixels do not fit its grid; set data.size to one of "
            f"{', '.join(map(str, known))}"
        )
    return size >> doublings, doublings


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


class BigGAN(Generator):
    """The Generator G(z, y).

    Args:
        channels: 1 or 3.
        classes: number of classes.
        size: side of the images in pixels, see `grid`.
        width: channels at the finest grid; coarser grids double them, up to 8 times.
        latent_dim: length of z; each level of the grid reads its own slice.

    Example:
        >>> g = BigGAN(channels=1, classes=3, size=8, width=4, latent_dim=6)
        >>> g(torch.randn(5, g.latent_dim), torch.tensor([0, 1, 2, 0, 1])).shape
        torch.Size([5, 1, 8, 8])
    """

    def __init__(self, *, channels: int, classes: int, size: int, width: int, latent_dim: int):
        super().__init__()
        self.spec = {"channels": channels, "classes": classes, "size": size, "width": width}
        self.spec["latent_dim"] = latent_dim
        self.latent_dim = latent_dim
        self.base, doublings = grid(size)
        widths = [width * min(2**level, 8) for level in reversed(range(doublings + 1))]
        slices = [len(part) for part in torch.arange(latent_dim).tensor_split(doublings + 1)]
        self.embed = nn.Embedding(classes, EMBEDDING)
        self.first = nn.Linear(EMBEDDING + slices[0], widths[0] * self.base**2)
        self.blocks = nn.ModuleList(
            UpBlock(inputs, outputs, EMBEDDING + length)
            for (inputs, outputs), length in zip(pairwise(widths), slices[1:], strict=True)
        )
        self.norm = nn.BatchNorm2d(width)
        self.last = nn.Conv2d(width, channels, 3, padding=1)
        self.apply(_orthogonal)

    def forward(self, z: Tensor, labels: Tensor) -> Tensor:
        """Draws images.

        Args:
            z: (n, latent_dim), z ~ N(0, s^2 I); s = 1 in training.
            labels: (n,) int64, the wanted classes.

        Returns:
            Images (n, channels, size, size) float32 in [-1, 1].
        """
        y = self.embed(labels)
        first, *rest = z.tensor_split(len(self.blocks) + 1, dim=1)
        h = self.first(torch.cat([y, first], 1)).unflatten(1, (-1, self.base, self.base))
        for block, part in zip(self.blocks, rest, strict=True):
            h = block(h, torch.cat([y, part], 1))
        return torch.tanh(self.last(F.relu(self.norm(h))).float())


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
        _, doublings = grid(size)
        widths = [width * min(2**level, 8) for level in range(doublings + 1)]
        self.phi = nn.Sequential(DownBlock(channels, width, halve=True, first=True))
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
            phi = F.relu(self.phi(images)).sum((2, 3))
            return self.psi(phi).squeeze(1) + (self.embed(labels) * phi).sum(1)


_WEIGHTED = (nn.Conv2d, nn.Linear, nn.Embedding)


def _orthogonal(module: nn.Module) -> None:
    if isinstance(module, _WEIGHTED):
        nn.init.orthogonal_(module.weight)
    if isinstance(module, nn.Conv2d | nn.Linear) and module.bias is not None:
        nn.init.zeros_(module.bias)


def hinge_discriminator(real: Tensor, fake: Tensor) -> Tensor:
    """L_D = E[max(0, 1 - D(x, y))] + E[max(0, 1 + D(G(z, y), y))].

    Args:
        real: (n,), D(x, y).
        fake: (m,), D(G(z, y), y).

    Returns:
        0-d loss, at least 0; 2 where D says nothing (all scores 0).
    """
    return F.relu(1 - real).mean() + F.relu(1 + fake).mean()


def hinge_generator(fake: Tensor) -> Tensor:
    """L_G = -E[D(G(z, y), y)], for scores (n,); 0-d."""
    return -fake.mean()


class BigGANTraining:
    """The adversarial update of Generator and discriminator, and the Generator's averaged weights.

    Random numbers come from torch's global generator of the device: reseed it before each step,
    and a resumed training repeats an uninterrupted one.

    Args:
        config: width, latent_dim, learning_rate, averaging, discriminator_steps, augmentation.
        channels: 1 or 3.
        classes: number of classes.
        size: side of the images in pixels, see `grid`.
        device: where networks and images live.
        autocast: makes the context of the forward passes.
    """

    def __init__(
        self,
        config: config.Generator,
        *,
        channels: int,
        classes: int,
        size: int,
        device: torch.device,
        autocast: Callable[[], AbstractContextManager[Any]],
    ):
        self.config, self.device, self.autocast = config, device, autocast
        shape = {"channels": channels, "classes": classes, "size": size, "width": config.width}
        self.generator = BigGAN(**shape, latent_dim=config.latent_dim).to(device)
        self.discriminator = Discriminator(**shape).to(device)
        for network in (self.generator, self.discriminator):
            network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.average = averaged(self.generator, config.averaging)
        # Two time scales (arXiv:1706.08500): the discriminator learns four times faster.
        learning_rate = config.learning_rate or LEARNING_RATE
        self.generator_optimiser = _adam(self.generator, learning_rate / 4)
        self.discriminator_optimiser = _adam(self.discriminator, learning_rate)

    def step(self, images: Tensor, labels: Tensor, progress: float) -> dict[str, Tensor]:
        """`discriminator_steps` updates of D on these images, then one of G.

        Args:
            images: (n, channels, size, size) in [-1, 1].
            labels: (n,) int64; the synthetic images are drawn for the same labels.
            progress: unused; the learning rate is constant, the averaged weights do the annealing.

        Returns:
            0-d detached losses `generator` and `discriminator`, the latter of the last update.
        """
        images = images.contiguous(memory_format=torch.channels_last)
        for _ in range(self.config.discriminator_steps):
            loss_d = self._discriminator_loss(images, labels)
            _descend(loss_d, self.discriminator_optimiser)
        self.discriminator.requires_grad_(False)
        with self.autocast():
            loss_g = hinge_generator(self._score(self._draw(labels), labels))
        _descend(loss_g, self.generator_optimiser)
        self.discriminator.requires_grad_(True)
        self.average.update_parameters(self.generator)
        return {"generator": loss_g.detach(), "discriminator": loss_d.detach()}

    def _discriminator_loss(self, images: Tensor, labels: Tensor) -> Tensor:
        with self.autocast():
            with torch.no_grad():
                synthetic = self._draw(labels)
            scores = self._score(torch.cat([images, synthetic]), labels.repeat(2))
            return hinge_discriminator(*scores.chunk(2))

    def _draw(self, labels: Tensor) -> Tensor:
        z = torch.randn(len(labels), self.config.latent_dim, device=self.device)
        return self.generator(z, labels)

    def _score(self, images: Tensor, labels: Tensor) -> Tensor:
        if self.config.augmentation:
            images = augment(images)
        return self.discriminator(images, labels).float()

    def snapshot(self, images: Tensor, labels: Tensor) -> BigGAN:
        """A copy of the Generator with averaged weights, in evaluation mode.

        Args:
            images: unused; the interface is shared with Generators that need the train images.
            labels: unused.

        Returns:
            The Generator; its image of (z, y) does not depend on the rest of the batch.
        """
        copy: Any = deepcopy(self.average.module)
        return copy.eval().requires_grad_(False).to(memory_format=torch.contiguous_format)

    def state_dict(self) -> dict[str, Any]:
        """All that `load_state_dict` needs: tensors (not copies) and plain Python values."""
        return {name: getattr(self, name).state_dict() for name in _STATE}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Goes on from `state_dict`, bit for bit on the CPU."""
        for name in _STATE:
            getattr(self, name).load_state_dict(state[name])


_NETWORKS = ("generator", "discriminator", "average")
_STATE = (*_NETWORKS, "generator_optimiser", "discriminator_optimiser")


def _adam(network: nn.Module, learning_rate: float) -> torch.optim.Adam:
    return torch.optim.Adam(network.parameters(), lr=learning_rate, betas=(0.0, 0.999), fused=True)


def _descend(loss: Tensor, optimiser: torch.optim.Optimizer) -> None:
    optimiser.zero_grad(set_to_none=True)
    loss.backward()
    optimiser.step()
