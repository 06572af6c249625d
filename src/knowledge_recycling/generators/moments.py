"""A Generator in closed form, with differential privacy: Gaussians on low spatial frequencies.

With p the pixels in 0.05..0.95, u = DCT(logit p) / (3 sqrt(c h w)) cut to the lowest m x m
frequencies per channel, so that |u| < 1,

    m_y = noisy sum_{i in y} u_i / n_y,    S = noisy sum_i clip (u_i - m_y)(u_i - m_y)' / n,
    G(z, y) = sigmoid(3 sqrt(c h w) DCT^-1(m_y + L z)),  L L' = S where it stands out of the noise.

The noise alone gives S eigenvalues of up to sqrt(2 d) times its standard deviation in an entry
(Wigner's semicircle). Those under that edge say nothing; what is left of the trace goes to a
spectrum that falls with the frequency as that of natural images does. S is taken about the means
that were released before: images differ from those far less than from grey, so the clip, and the
noise with it, is small. Everything but the two sums is post-processing.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.fft import dctn, idct
from torch import Tensor

from knowledge_recycling.arrays import Floats, Stored
from knowledge_recycling.generators.interface import Generator
from knowledge_recycling.privacy.clipping import Units
from knowledge_recycling.privacy.mechanisms import noise_scale, noisy_outer_sum
from knowledge_recycling.privacy.noise import NoiseSource

MOST_FREQUENCIES = 12
LEAST_FREQUENCIES = 4
CHUNK = 1024
"""Images at a time, whose float64 planes would not all fit in memory."""
CLIP = 1.0
COUNT_COLUMN = 0.5
"""Beside u in the first sum, so that a patient who is clipped weighs less in sum and number
alike. |u| is under 0.85 in all but images of pure black or white: the clip hardly cuts one."""
MOVED_CLIP, MOVED_COLUMN = 0.1, 0.1
"""Of the second sum: images within 0.3 of their class mean are not cut."""


class MomentsGenerator(Generator):
    """G(z, y) with buffers: means (C, d), factor L (d, d), and the cosines (m, h), scaled."""

    means: Tensor
    factor: Tensor
    waves: Tensor

    def __init__(self, channels: int, classes: int, size: int, frequencies: int) -> None:
        super().__init__()
        d = channels * frequencies**2
        self.latent_dim = d
        self.spec = {
            "channels": channels,
            "classes": classes,
            "size": size,
            "frequencies": frequencies,
        }
        self.register_buffer("means", torch.zeros(classes, d))
        self.register_buffer("factor", torch.zeros(d, d))
        self.register_buffer("waves", torch.from_numpy(_waves(channels, size, frequencies)))

    def forward(self, z: Tensor, labels: Tensor) -> Tensor:
        """Images (n, c, h, w) in -1..1."""
        with torch.autocast(z.device.type, enabled=False):
            u = self.means[labels] + z.float() @ self.factor.T
            m = self.spec["frequencies"]
            u = u.unflatten(1, (self.spec["channels"], m, m))
            p = ((self.waves.T @ u @ self.waves).sigmoid() - 0.05) / 0.9
            return 2 * p.clamp(0, 1) - 1


def coefficients(images: Stored, frequencies: int) -> Floats:
    """U (n, c m^2), of norm below 1, of images (n, h, w, c) uint8."""
    parts = [
        _coefficients(images[start : start + CHUNK], frequencies)
        for start in range(0, max(len(images), 1), CHUNK)
    ]
    return np.concatenate(parts)


def _coefficients(images: NDArray[np.uint8], frequencies: int) -> Floats:
    planes = np.moveaxis((images.astype(np.float64) + 0.5) / 256, 3, 1)
    low = spectrum(planes)[:, :, :frequencies, :frequencies]
    return np.asarray(low.reshape(len(images), -1) / _scale(planes.shape[1], planes.shape[2]))


def spectrum(pixels: Floats) -> Floats:
    """DCT(logit p), p = 0.05 + 0.9 x, of pixels x (n, c, h, w) in 0..1."""
    p = 0.05 + 0.9 * pixels
    return np.asarray(dctn(np.log(p / (1 - p)), axes=(2, 3), norm="ortho"))


def fit(
    images: Stored,
    labels: NDArray[np.integer],
    counts: NDArray[np.floating],
    *,
    units: Units,
    mu: float,
    noise: NoiseSource,
) -> MomentsGenerator:
    """The Generator; mu-GDP for a unit of `units`, given that `counts` are released already.

    Args:
        images: (n, h, w, c) uint8, square.
        labels: (n,) in 0..C-1.
        counts: (C,) noisy numbers of images per class.
        units: whose images they are.
        mu: of both sums together.
        noise: the noise source.
    """
    n, (side, channels) = float(np.maximum(counts, 1.0).sum()), images.shape[2:]
    m = int(np.clip(math.sqrt(n * mu / channels), LEAST_FREQUENCIES, MOST_FREQUENCIES))
    m = min(m, side)
    network = MomentsGenerator(channels, len(counts), side, m)
    u, each = coefficients(images, m), mu / math.sqrt(2)
    means = _means(u, labels, len(counts), units, each, noise)
    moved = np.column_stack([u - means[labels], np.full(len(u), MOVED_COLUMN)])
    second = noisy_outer_sum(moved, moved, MOVED_CLIP, units, each, noise)
    whole = max(float(second[-1, -1]) / MOVED_COLUMN**2, 1.0)
    within = (second + second.T)[:-1, :-1] / (2 * whole)
    edge = 2 * math.sqrt(u.shape[1] / 2) * noise_scale(MOVED_CLIP, each, second.size) / whole
    network.means.copy_(torch.from_numpy(means))
    network.factor.copy_(torch.from_numpy(factor(within, edge, m)))
    return network.eval()


def _means(
    u: Floats,
    labels: NDArray[np.integer],
    classes: int,
    units: Units,
    mu: float,
    noise: NoiseSource,
) -> Floats:
    """Noisy class means (C, d), drawn to the mean of all as far as they are noise."""
    beside = np.column_stack([u, np.full(len(u), COUNT_COLUMN)])
    sums = noisy_outer_sum(np.eye(classes)[labels], beside, CLIP, units, mu, noise)
    weights = np.maximum(sums[:, -1] / COUNT_COLUMN, 1.0)
    pooled = sums[:, :-1].sum(0) / weights.sum()
    spread = noise_scale(CLIP, mu, sums.size)
    shifts = sums[:, :-1] / weights[:, None] - pooled
    return np.stack(
        [
            pooled + _kept(shift, spread / weight) * shift
            for shift, weight in zip(shifts, weights, strict=True)
        ]
    )


def factor(covariance: Floats, edge: float, frequencies: int) -> Floats:
    """L (d, d) with L L' = the eigenvalues above the edge, and a falling spectrum for the rest.

    Args:
        covariance: (d, d) symmetric, noisy.
        edge: largest eigenvalue that the noise alone makes.
        frequencies: m.
    """
    values, axes = np.linalg.eigh(covariance)
    # Noise lifts a true eigenvalue l to l + edge^2 / 4 l, and hides those under edge / 2.
    above = np.maximum(values, 1.05 * edge)
    kept = np.where(values > 1.05 * edge, (above + np.sqrt(above**2 - edge**2)) / 2, 0.0)
    index = np.arange(frequencies)
    prior = 1 / (1 + index[:, None] ** 2 + index[None, :] ** 2)
    prior = np.tile(prior.ravel(), len(values) // prior.size)
    rest = max(float(np.trace(covariance)) - kept.sum(), 0.0)
    whole = (axes * kept) @ axes.T + np.diag(rest * prior / prior.sum())
    values, axes = np.linalg.eigh(whole)
    return np.asarray(axes * np.sqrt(np.maximum(values, 0.0)))


def _kept(shift: Floats, spread: float) -> float:
    """James and Stein: the share of a noisy vector (d,) that is more than its noise."""
    return max(0.0, 1 - shift.size * spread**2 / max(float(shift @ shift), 1e-300))


def _scale(channels: int, size: int) -> float:
    return 3 * size * math.sqrt(channels)


def _waves(channels: int, size: int, frequencies: int) -> NDArray[np.float32]:
    """The lowest rows of the inverse DCT; image = waves' u waves for each channel."""
    rows = idct(np.eye(size)[:frequencies], axis=1, norm="ortho")
    return np.asarray(rows * math.sqrt(_scale(channels, size)), np.float32)
