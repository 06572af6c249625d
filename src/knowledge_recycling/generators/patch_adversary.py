"""A small discriminator of patches, which makes decoded images as sharp as real ones.

    L_A = mean max(0, 1 - A(x)) + mean max(0, 1 + A(D(e)))        the adversary's hinge loss
    L_D = -mean A(D(e))                                           the decoder's

A sees patches of 18 pixels, so it judges texture and not what an image shows. Sources: Isola et al.
2017, arXiv:1611.07004, section 3.2.2 (patches); Miyato et al. 2018, arXiv:1802.05957 (spectral
normalisation, hinge loss).
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from knowledge_recycling.generators.adversarial import descend, hinge_discriminator
from knowledge_recycling.training.checkpoint import State

WIDTH = 32
LEARNING_RATE = 1e-3


class PatchAdversary:
    """A, and its update.

    Args:
        channels: 1 grey, 3 colour.
        device: where to train.
        autocast: gives the context of a forward pass.
    """

    def __init__(
        self,
        channels: int,
        device: torch.device,
        autocast: Callable[[], AbstractContextManager[Any]],
    ) -> None:
        self.autocast = autocast
        self.network = nn.Sequential(
            spectral_norm(nn.Conv2d(channels, WIDTH, 4, 2, 1)),
            nn.LeakyReLU(0.2),
            spectral_norm(nn.Conv2d(WIDTH, 2 * WIDTH, 4, 2, 1)),
            nn.LeakyReLU(0.2),
            spectral_norm(nn.Conv2d(2 * WIDTH, 1, 3, 1, 1)),
        ).to(device)
        self.network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.optimiser = torch.optim.Adam(
            self.network.parameters(), lr=LEARNING_RATE, betas=(0.0, 0.9)
        )

    def realism(self, made: Tensor) -> Tensor:
        """Mean A of images (n, c, h, w) in -1..1, a scalar whose gradient reaches the images."""
        self.network.requires_grad_(False)
        return self._judge(made).mean()

    def update(self, real: Tensor, made: Tensor) -> Tensor:
        """One update of A on images (n, c, h, w) each in -1..1; returns its loss."""
        self.network.requires_grad_(True)
        judged, fooled = self._judge(torch.cat([real, made.detach()])).split(len(real))
        loss = hinge_discriminator(judged, fooled)
        descend(loss, self.optimiser)
        return loss.detach()

    def _judge(self, images: Tensor) -> Tensor:
        with self.autocast():
            return self.network(images.contiguous(memory_format=torch.channels_last)).float()

    def state_dict(self) -> State:
        """All that an exact resumption needs."""
        return {"network": self.network.state_dict(), "optimiser": self.optimiser.state_dict()}

    def load_state_dict(self, state: State) -> None:
        """Goes on from `state_dict`."""
        self.network.load_state_dict(state["network"])
        self.optimiser.load_state_dict(state["optimiser"])
