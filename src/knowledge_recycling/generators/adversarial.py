"""What adversarial methods share: grids from coarse to fine, the update, the hinge loss."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from copy import deepcopy
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from knowledge_recycling.config import Adversarial as Config
from knowledge_recycling.errors import KRError
from knowledge_recycling.generators.averaging import averaged
from knowledge_recycling.generators.diff_augment import augment
from knowledge_recycling.generators.interface import Generator
from knowledge_recycling.training.checkpoint import State
from knowledge_recycling.training.images import Images
from knowledge_recycling.training.pixels import fold

EMBEDDING = 32
"""Length of the Generator's class embedding."""


def grid(size: int) -> tuple[int, int]:
    """The base grid g and the number k of doublings of images of a size.

    The folded side (see `training.pixels.fold`) is g * 2^k, g in 4..7, k >= 1.

    Raises:
        KRError: no such pair; names the sizes that have one.

    Example:
        >>> grid(28), grid(32), grid(8), grid(224)
        ((7, 2), (4, 3), (4, 1), (7, 3))
    """
    side = size // fold(size)
    doublings = max(side.bit_length() - 3, 0)  # side / 2^doublings is in 4..7 (rounded down)
    if doublings < 1 or size % (fold(size) * 2**doublings):
        known = [g * 2**k for k in range(1, 6) for g in range(4, 8) if g * 2**k <= 224]
        raise KRError(
            f"biggan, r3gan: images of {size} pixels do not fit the grid; set data.size to one of "
            f"{', '.join(map(str, known))}"
        )
    return side >> doublings, doublings


def pyramid(width: int, doublings: int) -> list[int]:
    """Channels from the finest grid to the coarsest: doubled each time, up to 8 times the first.

    Example:
        >>> pyramid(16, 4)
        [16, 32, 64, 128, 128]
    """
    return [width * min(2**level, 8) for level in range(doublings + 1)]


class GridGenerator(Generator):
    """What Generators have in common that start at the base grid and double it.

    Args:
        channels: 1 or 3.
        classes: number of classes.
        size: side of the images in pixels, see `grid`.
        width: channels at the finest grid, see `pyramid`.
        latent_dim: length of z.

    Attributes:
        base: side of the base grid.
        widths: channels from the coarsest grid to the finest.
        embed: labels (n,) to (n, EMBEDDING).
    """

    def __init__(self, *, channels: int, classes: int, size: int, width: int, latent_dim: int):
        super().__init__()
        self.spec = {"channels": channels, "classes": classes, "size": size, "width": width}
        self.spec["latent_dim"] = latent_dim
        self.latent_dim = latent_dim
        self.base, doublings = grid(size)
        self.fold = fold(size)
        self.widths = pyramid(width, doublings)[::-1]
        self.embed = nn.Embedding(classes, EMBEDDING)


class AdversarialTraining:
    """The adversarial update of Generator and discriminator, and the Generator's averaged weights.

    A method says which networks and losses. Random numbers come from torch's global generator of
    the device: reseed it before each step, and a resumed training repeats an uninterrupted one.

    Args:
        config: width, latent_dim, learning_rate, averaging, discriminator_steps, augmentation,
            and what the method's losses read.
        channels: 1 or 3.
        classes: number of classes.
        size: side of the images in pixels, see `grid`.
        device: where networks and images live.
        autocast: makes the context of the forward passes.

    Attributes:
        networks: classes of Generator and discriminator.
        learning_rate: of the discriminator, where the config names none.
        beta2: of Adam, whose beta1 is 0.
    """

    config: Config
    networks: tuple[type[Generator], type[nn.Module]]
    learning_rate: float
    beta2: float

    def __init__(
        self,
        config: Config,
        *,
        channels: int,
        classes: int,
        size: int,
        device: torch.device,
        autocast: Callable[[], AbstractContextManager[Any]],
    ):
        self.config = config
        self.device, self.autocast = device, autocast
        shape = {"channels": channels, "classes": classes, "size": size, "width": config.width}
        generator, discriminator = self.networks
        self.generator = generator(**shape, latent_dim=config.latent_dim).to(device)
        self.discriminator = discriminator(**shape).to(device)
        for network in (self.generator, self.discriminator):
            network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.average = averaged(self.generator, config.averaging)
        # Two time scales (arXiv:1706.08500): the discriminator learns four times faster.
        learning_rate = config.learning_rate or self.learning_rate
        self.generator_optimiser = self._adam(self.generator, learning_rate / 4)
        self.discriminator_optimiser = self._adam(self.discriminator, learning_rate)

    def _adam(self, network: nn.Module, learning_rate: float) -> torch.optim.Adam:
        betas = (0.0, self.beta2)
        return torch.optim.Adam(network.parameters(), lr=learning_rate, betas=betas, fused=True)

    def discriminator_losses(
        self, images: Tensor, labels: Tensor, update: int
    ) -> dict[str, Tensor]:
        """Losses of D, 0-d; it minimises their sum.

        Args:
            images: (n, channels, size, size) in [-1, 1].
            labels: (n,) int64.
            update: how many updates D has had.
        """
        raise NotImplementedError

    def generator_loss(self, images: Tensor, labels: Tensor) -> Tensor:
        """Loss of G, 0-d, for the same batch; runs under autocast, D's weights frozen."""
        raise NotImplementedError

    def step(self, images: Tensor, labels: Tensor, progress: float) -> dict[str, Tensor]:
        """`discriminator_steps` updates of D on these images, then one of G.

        Args:
            images: (n, channels, size, size) in [-1, 1].
            labels: (n,) int64; the synthetic images are drawn for the same labels.
            progress: unused; the learning rate is constant, the averaged weights do the annealing.

        Returns:
            0-d detached losses: `generator`, and those of the last update of D.
        """
        images = images.contiguous(memory_format=torch.channels_last)
        done = int(self.average.n_averaged) * self.config.discriminator_steps
        for update in range(done, done + self.config.discriminator_steps):
            losses = self.discriminator_losses(images, labels, update)
            descend(torch.stack([*losses.values()]).sum(), self.discriminator_optimiser)
        self.discriminator.requires_grad_(False)
        with self.autocast():
            loss = self.generator_loss(images, labels)
        descend(loss, self.generator_optimiser)
        self.discriminator.requires_grad_(True)
        self.average.update_parameters(self.generator)
        return {name: value.detach() for name, value in {"generator": loss, **losses}.items()}

    def draw(self, labels: Tensor) -> Tensor:
        """Synthetic images (n, channels, size, size) of the classes (n,)."""
        z = torch.randn(len(labels), self.config.latent_dim, device=self.device)
        return self.generator(z, labels)

    def with_synthetic(self, images: Tensor, labels: Tensor) -> Tensor:
        """(2n, channels, size, size): images (n, ...), then as many synthetic ones, detached."""
        with torch.no_grad():
            return torch.cat([images, self.draw(labels)])

    def score(self, images: Tensor, labels: Tensor) -> Tensor:
        """D's float32 scores (n,) of the augmented images."""
        if self.config.augmentation:
            images = augment(images)
        return self.discriminator(images, labels).float()

    def snapshot(self, images: Images, labels: Tensor) -> Generator:
        """A copy of the Generator with averaged weights, in evaluation mode.

        Args:
            images: unused; the interface is shared with Generators that need the train images.
            labels: unused.

        Returns:
            The Generator; its image of (z, y) does not depend on the rest of the batch.
        """
        copy: Any = deepcopy(self.average.module)
        return copy.eval().requires_grad_(False).to(memory_format=torch.contiguous_format)

    def state_dict(self) -> State:
        """All that `load_state_dict` needs: tensors (not copies) and plain Python values."""
        return {name: getattr(self, name).state_dict() for name in _STATE}

    def load_state_dict(self, state: State) -> None:
        """Goes on from `state_dict`, bit for bit on the CPU."""
        for name in _STATE:
            getattr(self, name).load_state_dict(state[name])


_OPTIMISERS = ("generator_optimiser", "discriminator_optimiser")
_STATE = ("generator", "discriminator", "average", *_OPTIMISERS)


def descend(loss: Tensor, optimiser: torch.optim.Optimizer) -> None:
    """One step of the optimiser down the loss, 0-d."""
    optimiser.zero_grad(set_to_none=True)
    loss.backward()
    optimiser.step()


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
