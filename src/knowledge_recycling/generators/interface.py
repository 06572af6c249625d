"""What every class-conditional Generator is, and what its training offers."""

from __future__ import annotations

from typing import Protocol

from torch import Tensor, nn

from knowledge_recycling.training.checkpoint import State
from knowledge_recycling.training.images import Images


class Generator(nn.Module):
    """G(z, y): one image for each z and class, in one forward pass.

    Attributes:
        latent_dim: length of z.
        spec: keyword arguments that rebuild the untrained network.
    """

    latent_dim: int
    spec: dict[str, int]

    def forward(self, z: Tensor, labels: Tensor) -> Tensor:
        """Maps z (n, latent_dim) ~ N(0, s^2 I), labels (n,) to images (n, c, h, w) in -1..1."""
        raise NotImplementedError


class Training(Protocol):
    """The training of one Generator.

    All randomness comes from torch's global generator, which the loop seeds before each step.
    """

    def step(self, images: Tensor, labels: Tensor, progress: float) -> dict[str, Tensor]:
        """One update.

        Args:
            images: (n, c, h, w) in -1..1.
            labels: (n,).
            progress: 0..1 through training.

        Returns:
            0-d detached losses by name.
        """

    def snapshot(self, images: Images, labels: Tensor) -> Generator:
        """G with averaged weights, in eval mode.

        Args:
            images: (n, c, h, w) uint8, the whole train set.
            labels: (n,).
        """

    def state_dict(self) -> State:
        """All that an exact resumption needs."""

    def load_state_dict(self, state: State) -> None:
        """Goes on from `state_dict`."""
