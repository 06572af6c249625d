"""Latent Generator: an autoencoder, and a mixture of Gaussians a class on its latents.

Encoder E(x) = (m, v) with v a log-variance, decoder D, Teacher's feature maps phi_l:

    L = |D(e) - x|_1 + w_f mean_l |phi_l(D(e)) - phi_l(x)|_1 / sd(phi_l(x))
        + w_t mean_l sum_{f in M, V} |f(phi_l(D(e))) - f(phi_l(x))|_1 / sd(phi_l(x))
        - w_a mean A(D(e)) + w_k KL(N(m, exp(v)) || N(0, I))

with e ~ N(m, exp(v)), and M and V the mean and standard deviation of a feature map over its grid.
A judges patches (`patch_adversary`). The terms of w_t and w_a are about texture: the first two are
smallest for a blurred image, and a Student that only saw blurred images takes its BatchNorm
statistics from them and misjudges sharp ones.

Afterwards the latents of class y are taken to be sum_k p_yk N(mu_yk, S_y) and

    G(z, y) = D(mu_yk + L_y z),    L_y L_y^T = S_y,    z ~ N(0, s^2 I),

where two further coordinates of z choose k. It trains in minutes on a CPU and samples in one
decoder pass. The mixtures are fitted in `class_mixtures`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from knowledge_recycling.config import Latent as Config
from knowledge_recycling.generators.averaging import averaged
from knowledge_recycling.generators.class_mixtures import fit_mixtures
from knowledge_recycling.generators.interface import Generator
from knowledge_recycling.generators.patch_adversary import PatchAdversary
from knowledge_recycling.training.checkpoint import State
from knowledge_recycling.training.images import Images
from knowledge_recycling.training.pixels import fold, folded, to_float, unfolded

LEARNING_RATE = 2e-3
ADVERSARY_EVERY = 2
"""Updates from one of the adversary to the next: it learns faster than the decoder."""
WARM_UP = 0.1
"""Share of the training before the adversary is heard."""
FeatureMaps = Callable[[Tensor], list[Tensor]]


def grids(size: int) -> list[int]:
    """Grids from the finest (the image, folded) to the coarsest, each half of the one before.

    Example:
        >>> grids(28), grids(8), grids(64), grids(224)
        ([28, 14, 7], [8, 4], [64, 32, 16, 8], [56, 28, 14, 7])
    """
    found = [size // fold(size)]
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
        self.fold = fold(size)
        layers: list[nn.Module] = [_convolution(channels * self.fold**2, width)]
        for level in range(len(grids(size)) - 1):
            layers += [
                nn.Conv2d(width * 2**level, width * 2 ** (level + 1), 4, stride=2, padding=1),
                Residual(width * 2 ** (level + 1)),
            ]
        layers.append(nn.Conv2d(width * 2 ** (len(grids(size)) - 1), 2 * latent_channels, 1))
        self.layers = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Mean m and log-variance v of the latents."""
        mean, log_variance = self.layers(folded(x, self.fold)).float().chunk(2, dim=1)
        return mean, log_variance.clamp(-10, 4)


class Decoder(nn.Module):
    """D: latents (n, latent_channels, g, g) to images (n, c, size, size) in -1..1."""

    def __init__(self, channels: int, size: int, width: int, latent_channels: int) -> None:
        super().__init__()
        self.fold = fold(size)
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
        layers += [nn.Conv2d(width, channels * self.fold**2, 3, padding=1), nn.Tanh()]
        self.layers = nn.Sequential(*layers)

    def forward(self, e: Tensor) -> Tensor:
        """Decodes latents."""
        return unfolded(self.layers(e), self.fold)


class LatentGenerator(Generator):
    """G(z, y) = D(mu_yk + L_y z), the component k chosen by the last two coordinates of z.

    Args:
        channels: 1 grey, 3 colour.
        components: Gaussians of each class.
        size: side of the images in pixels.
        width: channels at the finest grid.
        latent_channels: channels of the latent grid.
    """

    mean: Tensor
    weight: Tensor
    factor: Tensor

    def __init__(
        self,
        *,
        channels: int,
        components: Sequence[int],
        size: int,
        width: int,
        latent_channels: int,
    ) -> None:
        super().__init__()
        self.spec: dict[str, Any] = {
            "channels": channels,
            "components": list(components),
            "size": size,
            "width": width,
            "latent_channels": latent_channels,
        }
        self.shape = (latent_channels, grids(size)[-1], grids(size)[-1])
        d = int(np.prod(self.shape))
        self.latent_dim = d + 2
        self.decoder = Decoder(channels, size, width, latent_channels)
        self.register_buffer("mean", torch.zeros(sum(components), d))
        self.register_buffer("weight", torch.cat([torch.full((k,), 1 / k) for k in components]))
        self.register_buffer("factor", torch.eye(d).repeat(len(components), 1, 1))

    def forward(self, z: Tensor, labels: Tensor) -> Tensor:
        """Z (n, latent_dim) and labels (n,) to images (n, channels, size, size) in -1..1."""
        z = z.float()
        e = torch.empty_like(z[:, :-2])
        means, weights = (part.split(self.spec["components"]) for part in (self.mean, self.weight))
        # The angle of two Gaussian coordinates is uniform whatever their standard deviation s is.
        uniform = torch.atan2(z[:, -1], z[:, -2]) / (2 * torch.pi) + 0.5
        for y in labels.unique():
            of_class = labels == y
            bounds = weights[y].cumsum(0)[:-1]
            component = torch.searchsorted(bounds, uniform[of_class].contiguous(), right=True)
            e[of_class] = means[y][component] + z[of_class, :-2] @ self.factor[y].T
        return self.decoder(e.unflatten(1, self.shape))


class LatentTraining:
    """Trains the autoencoder; fits the Gaussians whenever a snapshot is taken.

    Args:
        config: widths, weights of the losses, learning rate, averaging.
        channels, classes, size: shape of the data.
        latent_channels: channels of the latent grid.
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
        latent_channels: int,
        device: torch.device,
        autocast: Callable[[], AbstractContextManager[Any]],
        feature_maps: FeatureMaps,
    ) -> None:
        self.learning_rate = config.learning_rate or LEARNING_RATE
        self.config, self.autocast, self.feature_maps = config, autocast, feature_maps
        self.classes = classes
        self.shape = {
            "channels": channels,
            "size": size,
            "width": config.width,
            "latent_channels": latent_channels,
        }
        self.autoencoder = nn.ModuleDict(
            {"encoder": Encoder(**self.shape), "decoder": Decoder(**self.shape)}
        )
        self.autoencoder.to(device)
        self.average = averaged(self.autoencoder, config.averaging)
        self.adversary = PatchAdversary(channels, device, autocast)
        self.optimiser = torch.optim.AdamW(
            self.autoencoder.parameters(), lr=self.learning_rate, betas=(0.9, 0.99), fused=True
        )
        self.updates = 0

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
        x = images.contiguous(memory_format=torch.channels_last)
        with self.autocast():
            decoded, losses = self._losses(x)
        weights = {
            "reconstruction": 1.0,
            "features": self.config.feature_weight,
            "texture": self.config.texture_weight,
            "kl": self.config.kl_weight,
        }
        if self.config.adversary_weight and progress >= WARM_UP:
            losses["adversary"] = -self.adversary.realism(decoded)
            weights["adversary"] = self.config.adversary_weight
        total = torch.stack([weights[name] * loss for name, loss in losses.items()]).sum()
        self.optimiser.zero_grad(set_to_none=True)
        total.backward()
        nn.utils.clip_grad_norm_(self.autoencoder.parameters(), 1.0)
        self.optimiser.step()
        self.average.update_parameters(self.autoencoder)
        if self.config.adversary_weight and self.updates % ADVERSARY_EVERY == 0:
            self.adversary.update(x, decoded)
        self.updates += 1
        return {name: loss.detach() for name, loss in losses.items()}

    def _losses(self, x: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """The decoded images (n, c, h, w) and the unweighted terms that need no adversary."""
        mean, log_variance = self.autoencoder["encoder"](x)
        e = mean + torch.randn_like(mean) * (0.5 * log_variance).exp()
        decoded = self.autoencoder["decoder"](e).float()
        features, texture = feature_losses(self.feature_maps, decoded, x)
        return decoded, {
            "reconstruction": F.l1_loss(decoded, x),
            "features": features,
            "texture": texture,
            "kl": kl_to_standard_normal(mean, log_variance),
        }

    @torch.no_grad()
    def snapshot(self, images: Images, labels: Tensor) -> LatentGenerator:
        """The averaged decoder, with mixtures fitted to the latents of the whole train set.

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
        mixtures = fit_mixtures(
            torch.cat(means).double().numpy(),
            torch.cat(variances).double().numpy(),
            labels.cpu().numpy(),
            self.classes,
            component_images=self.config.component_images,
            minimum=self.config.component_minimum,
            shared_covariance=self.config.shared_covariance,
        )
        made = LatentGenerator(components=[len(p) for p in mixtures.weights], **self.shape)
        made.decoder.load_state_dict(self._averaged("decoder").state_dict())
        made.mean.copy_(torch.from_numpy(np.concatenate(mixtures.means)))
        made.weight.copy_(torch.from_numpy(np.concatenate(mixtures.weights)))
        made.factor.copy_(torch.from_numpy(np.stack(mixtures.factors)))
        return made.eval()

    def _averaged(self, part: str) -> nn.Module:
        return self.average.module.get_submodule(part)

    def state_dict(self) -> State:
        """All that an exact resumption needs."""
        return {
            "autoencoder": self.autoencoder.state_dict(),
            "average": self.average.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "adversary": self.adversary.state_dict(),
            "updates": self.updates,
        }

    def load_state_dict(self, state: State) -> None:
        """Goes on from `state_dict`."""
        self.autoencoder.load_state_dict(state["autoencoder"])
        self.average.load_state_dict(state["average"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.adversary.load_state_dict(state["adversary"])
        self.updates = state["updates"]


def feature_losses(feature_maps: FeatureMaps, decoded: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
    """The second and the third term of the loss, unweighted; two scalars."""
    with torch.no_grad():
        wanted = feature_maps(x)
    features, textures = [], []
    for got, want in zip(feature_maps(decoded), wanted, strict=True):
        got, want = got.float(), want.float()
        scale = want.std() + 1e-6
        features.append(F.l1_loss(got, want) / scale)
        if got.ndim == 4:  # a network of the user's own may show vectors only
            apart = [F.l1_loss(a, b) for a, b in zip(moments(got), moments(want), strict=True)]
            textures.append(torch.stack(apart).sum() / scale)
    texture = torch.stack(textures).mean() if textures else features[0].new_zeros(())
    return torch.stack(features).mean(), texture


def moments(maps: Tensor) -> tuple[Tensor, Tensor]:
    """M and V: mean and standard deviation (n, c) of maps (n, c, h, w) over their grids.

    V has a gradient also where all values are equal. The variance is taken as the mean square less
    the square of the mean, which costs a third of `Tensor.var` and its gradient.
    """
    maps = maps.permute(0, 2, 3, 1).flatten(1, 2)  # as they lie in memory
    mean = maps.mean(1)
    variance = (maps * maps).mean(1) - mean.square()
    return mean, (variance.clamp_min(0) + 1e-6).sqrt()


def kl_to_standard_normal(mean: Tensor, log_variance: Tensor) -> Tensor:
    """KL(N(m, e^v) || N(0, 1)) in nats, averaged over images and latents.

    Source: Kingma & Welling 2013, arXiv:1312.6114, appendix B.
    """
    return 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).mean()
