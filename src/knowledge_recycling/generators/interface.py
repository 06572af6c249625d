"""What every class-conditional Generator is."""

from __future__ import annotations

from torch import Tensor, nn


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
