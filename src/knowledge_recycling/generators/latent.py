"""Latent Generator: an autoencoder, and one Gaussian a class on its latents.

Encoder E(x) = (m, v) with v a log-variance, decoder D, Teacher's feature maps phi_l:

    L = |D(e) - x|_1 + w_f mean_l |phi_l(D(e)) - phi_l(x)|_1 / sd(phi_l(x))
        + w_k KL(N(m, exp(v)) || N(0, I))

with e ~ N(m, exp(v)). Afterwards the latents of class y are taken to be N(mu_y, S_y) and

    G(z, y) = D(mu_y + L_y z),    L_y L_y^T = S_y,    z ~ N(0, s^2 I).

It trains in minutes on a CPU and samples in one decoder pass. S_y is shrunken towards the
covariance that the classes share, because classes can have fewer images than latents have
dimensions.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import numpy as np
import torch
from sklearn.covariance import ledoit_wolf
from torch import Tensor, nn
from torch.nn import functional as F

from knowledge_recycling.config import Generator as Config
from knowledge_recycling.generators.averaging import averaged
from knowledge_recycling.generators.interface import Generator
from knowledge_recycling.runtime import to_float

LEARNING_RATE = 2e-3
FeatureMaps = Callable[[Tensor], list[Tensor]]


def grids(size: int) -> list[int]:
    """Grids from the finest (the image) to the coarsest, each half of the one before.

    Example:
        >>> grids(28), grids(8), grids(64)
        ([28, 14, 7], [8, 4], [64, 32, 16, 8])
    """
    found = [size]
    while found[-1] > 8 or len(found) == 1:
        found.append(found[-1] // 2)
    return found


def _convolution(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, padding=1, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(inplace=True),
    )


class Residual(nn.Module):
    """x + f(x), two convolutions wide."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.f = nn.Sequential(_convolution(width, width), _convolution(width, width))

    def forward(self, x: Tensor) -> Tensor:
        """(n, width, h, w) to the same shape."""
        return x + self.f(x)


class Encoder(nn.Module):
    """E: images (n, c, size, size) to mean and log-variance, each (n, latent_channels, g, g)."""

    def __init__(self, channels: int, size: int, width: int, latent_channels: int) -> None:
        super().__init__()
        layers: list[nn.Module] = [_convolution(channels, width)]
        for level in range(len(grids(size)) - 1):
            layers += [
                nn.Conv2d(width * 2**level, width * 2 ** (level + 1), 4, stride=2, padding=1),
                Residual(width * 2 ** (level + 1)),
            ]
        layers.append(nn.Conv2d(width * 2 ** (len(grids(size)) - 1), 2 * latent_channels, 1))
        self.layers = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Mean m and log-variance v of the latents."""
        mean, log_variance = self.layers(x).float().chunk(2, dim=1)
        return mean, log_variance.clamp(-10, 4)


class Decoder(nn.Module):
    """D: latents (n, latent_channels, g, g) to images (n, c, size, size) in -1..1."""

    def __init__(self, channels: int, size: int, width: int, latent_channels: int) -> None:
        super().__init__()
        levels = len(grids(size)) - 1
        layers: list[nn.Module] = [
            nn.Conv2d(latent_channels, width * 2**levels, 3, padding=1),
            Residual(width * 2**levels),
        ]
        for level in reversed(range(levels)):
            layers += [
                nn.Upsample(scale_factor=2, mode="nearest"),
                _convolution(width * 2 ** (level + 1), width * 2**level),
                # A residual block at the finest grid would cost as much as all the rest.
                *([Residual(width * 2**level)] if level else []),
            ]
        layers += [nn.Conv2d(width, channels, 3, padding=1), nn.Tanh()]
        self.layers = nn.Sequential(*layers)

    def forward(self, e: Tensor) -> Tensor:
        """Decodes latents."""
        return self.layers(e)


class LatentGenerator(Generator):
    """G(z, y) = D(mu_y + L_y z).

    Args:
        channels: 1 grey, 3 colour.
        classes: C.
        size: side of the images in pixels.
        width: channels at the finest grid.
        latent_channels: channels of the latent grid.
    """

    mean: Tensor
    factor: Tensor

    def __init__(
        self, *, channels: int, classes: int, size: int, width: int, latent_channels: int
    ) -> None:
        super().__init__()
        self.spec = {
            "channels": channels,
            "classes": classes,
            "size": size,
            "width": width,
            "latent_channels": latent_channels,
        }
        self.shape = (latent_channels, grids(size)[-1], grids(size)[-1])
        self.latent_dim = int(np.prod(self.shape))
        self.decoder = Decoder(channels, size, width, latent_channels)
        self.register_buffer("mean", torch.zeros(classes, self.latent_dim))
        self.register_buffer("factor", torch.eye(self.latent_dim).repeat(classes, 1, 1))

    def forward(self, z: Tensor, labels: Tensor) -> Tensor:
        """Z (n, latent_dim) and labels (n,) to images (n, channels, size, size) in -1..1."""
        e = torch.empty_like(z)
        for y in labels.unique():
            of_class = labels == y
            e[of_class] = self.mean[y] + z[of_class].float() @ self.factor[y].T
        return self.decoder(e.unflatten(1, self.shape))


class LatentTraining:
    """Trains the autoencoder; fits the Gaussians whenever a snapshot is taken.

    Args:
        config: widths, weights of the losses, learning rate, averaging.
        channels, classes, size: shape of the data.
        device: where to train.
        autocast: gives the context of a forward pass.
        feature_maps: the Teacher's, images to a list of tensors; its weights are left alone.
    """

    def __init__(
        self,
        config: Config,
        *,
        channels: int,
        classes: int,
        size: int,
        device: torch.device,
        autocast: Callable[[], AbstractContextManager[Any]],
        feature_maps: FeatureMaps,
    ) -> None:
        self.learning_rate = config.learning_rate or LEARNING_RATE
        self.config, self.autocast, self.feature_maps = config, autocast, feature_maps
        self.spec = {
            "channels": channels,
            "classes": classes,
            "size": size,
            "width": config.width,
            "latent_channels": config.latent_channels,
        }
        shape = (channels, size, config.width, config.latent_channels)
        self.autoencoder = nn.ModuleDict({"encoder": Encoder(*shape), "decoder": Decoder(*shape)})
        self.autoencoder.to(device)
        self.average = averaged(self.autoencoder, config.averaging)
        self.optimiser = torch.optim.AdamW(
            self.autoencoder.parameters(), lr=self.learning_rate, betas=(0.9, 0.99)
        )

    def step(self, images: Tensor, labels: Tensor, progress: float) -> dict[str, Tensor]:
        """One update of the autoencoder; the labels play no part in it.

        Args:
            images: (n, c, h, w) in -1..1.
            labels: (n,).
            progress: 0..1 through training; the learning rate falls linearly over the last half.
        """
        for group in self.optimiser.param_groups:
            group["lr"] = self.learning_rate * min(1.0, 2 * (1 - progress))
        self.autoencoder.train()
        with self.autocast():
            losses = self._losses(images.contiguous(memory_format=torch.channels_last))
        total = (
            losses["reconstruction"]
            + self.config.feature_weight * losses["features"]
            + self.config.kl_weight * losses["kl"]
        )
        self.optimiser.zero_grad(set_to_none=True)
        total.backward()
        nn.utils.clip_grad_norm_(self.autoencoder.parameters(), 1.0)
        self.optimiser.step()
        self.average.update_parameters(self.autoencoder)
        return {name: loss.detach() for name, loss in losses.items()}

    def _losses(self, x: Tensor) -> dict[str, Tensor]:
        mean, log_variance = self.autoencoder["encoder"](x)
        e = mean + torch.randn_like(mean) * (0.5 * log_variance).exp()
        decoded = self.autoencoder["decoder"](e)
        return {
            "reconstruction": F.l1_loss(decoded.float(), x),
            "features": feature_loss(self.feature_maps, decoded, x),
            "kl": kl_to_standard_normal(mean, log_variance),
        }

    @torch.no_grad()
    def snapshot(self, images: Tensor, labels: Tensor) -> LatentGenerator:
        """The averaged decoder, with Gaussians fitted to the latents of the whole train set.

        Args:
            images: (n, c, h, w) uint8; encoded in chunks.
            labels: (n,).
        """
        encoder = self._averaged("encoder").eval()
        means, variances = [], []
        for chunk in images.split(256):
            x = to_float(chunk).contiguous(memory_format=torch.channels_last)
            with self.autocast():
                mean, log_variance = encoder(x)
            means.append(mean.flatten(1).cpu())
            variances.append(log_variance.exp().flatten(1).cpu())
        mu, factor = fit_gaussians(
            torch.cat(means).double().numpy(),
            torch.cat(variances).double().numpy(),
            labels.cpu().numpy(),
            self.spec["classes"],
        )
        made = LatentGenerator(**self.spec)
        made.decoder.load_state_dict(self._averaged("decoder").state_dict())
        made.mean.copy_(torch.from_numpy(mu))
        made.factor.copy_(torch.from_numpy(factor))
        return made.eval()

    def _averaged(self, part: str) -> nn.Module:
        return self.average.module.get_submodule(part)

    def state_dict(self) -> dict[str, Any]:
        """All that an exact resumption needs."""
        return {
            "autoencoder": self.autoencoder.state_dict(),
            "average": self.average.state_dict(),
            "optimiser": self.optimiser.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Goes on from `state_dict`."""
        self.autoencoder.load_state_dict(state["autoencoder"])
        self.average.load_state_dict(state["average"])
        self.optimiser.load_state_dict(state["optimiser"])


def feature_loss(feature_maps: FeatureMaps, decoded: Tensor, x: Tensor) -> Tensor:
    """mean_l |phi_l(decoded) - phi_l(x)|_1 / sd(phi_l(x)); a scalar."""
    with torch.no_grad():
        wanted = feature_maps(x)
    terms = [
        F.l1_loss(got.float(), want.float()) / (want.float().std() + 1e-6)
        for got, want in zip(feature_maps(decoded), wanted, strict=True)
    ]
    return torch.stack(terms).mean()


def kl_to_standard_normal(mean: Tensor, log_variance: Tensor) -> Tensor:
    """KL(N(m, e^v) || N(0, 1)) in nats, averaged over images and latents.

    Source: Kingma & Welling 2013, arXiv:1312.6114, appendix B.
    """
    return 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).mean()


def fit_gaussians(
    means: np.ndarray, variances: np.ndarray, labels: np.ndarray, classes: int
) -> tuple[np.ndarray, np.ndarray]:
    """Fits N(mu_y, S_y) to the latents of each class.

    S_y = (n_y C_y + d P) / (n_y + d) + diag(mean posterior variance), where C_y is the covariance
    of the class, P the Ledoit-Wolf covariance within the classes and d the latents' dimension:
    a class needs d images to be trusted as much as what all classes share.

    Args:
        means: (n, d) posterior means of the images.
        variances: (n, d) posterior variances.
        labels: (n,) in 0..C-1.
        classes: C; each has at least one image.

    Returns:
        mu (C, d) and lower triangular factors L (C, d, d) with L_y L_y^T = S_y.
    """
    d = means.shape[1]
    mu = np.stack([means[labels == y].mean(0) for y in range(classes)])
    centred = means - mu[labels]
    shared = ledoit_wolf(centred, assume_centered=True)[0]
    posterior = np.diag(variances.mean(0))
    factors = []
    for y in range(classes):
        of_class = centred[labels == y]
        scatter = of_class.T @ of_class
        covariance = (scatter + d * shared) / (len(of_class) + d) + posterior
        factors.append(np.linalg.cholesky(covariance))
    return mu, np.stack(factors)
