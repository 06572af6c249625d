"""Images drawn by a fixed programme from a seed: they hold no bit of anybody's data.

Five kinds are mixed, each at random parameters: dead leaves (overlapping ellipses, Lee, Mumford and
Huang 2001), cells (a few soft ellipses with a core on a plain ground), gratings, Gaussian fields of
spectrum 1/f^a, and objects (a convex outline on black or white, filled with a texture).
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import interpolate

SIDE = 28
"""Side of the images in pixels."""


def draw(count: int, channels: int, seed: int) -> Tensor:
    """Draws `count` images (count, channels, 28, 28), float32 in 0..1, the same for a seed.

    Example:
        >>> draw(3, 1, seed=0).shape
        torch.Size([3, 1, 28, 28])
    """
    random = torch.Generator().manual_seed(seed)
    kinds = (_leaves, _cells, _gratings, _fields, _objects)
    share = -(-count // len(kinds))
    images = torch.cat([kind(share, random) for kind in kinds])
    images = _finish(images[torch.randperm(len(images), generator=random)[:count]], random)
    return images if channels == 3 else images.mean(1, keepdim=True)


def _uniform(shape: tuple[int, ...], low: float, high: float, random: torch.Generator) -> Tensor:
    return low + (high - low) * torch.rand(shape, generator=random)


def _grid() -> tuple[Tensor, Tensor]:
    axis = (torch.arange(SIDE) + 0.5) / SIDE * 2 - 1
    return axis[None, :, None], axis[None, None, :]


def _ellipse(count: int, low: float, high: float, spread: float, random: torch.Generator) -> Tensor:
    """Signed distance, about, to a random ellipse, (count, 28, 28); negative inside."""
    y, x = _grid()
    cy, cx = _uniform((2, count, 1, 1), -spread, spread, random)
    angle = _uniform((count, 1, 1), 0, torch.pi, random)
    # Radii with density r^-3 make dead leaves scale-invariant, as natural images are.
    radius = _uniform((count, 1, 1), high**-2, low**-2, random) ** -0.5
    flat = _uniform((count, 1, 1), 0.5, 1.0, random)
    u = (x - cx) * angle.cos() + (y - cy) * angle.sin()
    v = (y - cy) * angle.cos() - (x - cx) * angle.sin()
    return ((u**2 + (v / flat) ** 2).sqrt() - radius) * flat


def _colours(count: int, random: torch.Generator) -> Tensor:
    """Colours (count, 3, 1, 1) near grey, as those of an image mostly are."""
    grey = torch.rand((count, 1, 1, 1), generator=random)
    return (grey + 0.2 * torch.randn((count, 3, 1, 1), generator=random)).clamp(0, 1)


def _paint(images: Tensor, distance: Tensor, colour: Tensor, softness: Tensor | float) -> Tensor:
    cover = torch.sigmoid(-distance / softness)[:, None]
    return images + cover * (colour - images)


def _leaves(count: int, random: torch.Generator) -> Tensor:
    images = _colours(count, random).expand(-1, -1, SIDE, SIDE)
    softness = _uniform((count, 1, 1), 0.01, 0.08, random)
    for _ in range(30):
        distance = _ellipse(count, 0.08, 1.0, 1.2, random)
        images = _paint(images, distance, _colours(count, random), softness)
    return images


def _cells(count: int, random: torch.Generator) -> Tensor:
    ground = _colours(count, random) + 0.05 * _fields(count, random)
    images = ground
    softness = _uniform((count, 1, 1), 0.02, 0.08, random)
    body, core = _colours(count, random), _colours(count, random)
    for _ in range(4):
        distance = _ellipse(count, 0.3, 0.7, 0.9, random)
        shade = 0.2 * (_fields(count, random) - 0.5)
        images = _paint(images, distance, body + shade, softness)
        inner = _uniform((count, 1, 1), 0.05, 0.4, random)
        images = _paint(images, distance + inner, core + shade, softness)
    return images


def _gratings(count: int, random: torch.Generator) -> Tensor:
    y, x = _grid()
    images = _colours(count, random).expand(-1, -1, SIDE, SIDE)
    for _ in range(3):
        angle = _uniform((count, 1, 1), 0, torch.pi, random)
        frequency = 2 ** _uniform((count, 1, 1), 0, 4.5, random)
        phase = _uniform((count, 1, 1), 0, 2 * torch.pi, random)
        wave = torch.cos(frequency * (x * angle.cos() + y * angle.sin()) + phase)
        images = images + 0.3 * wave[:, None] * _colours(count, random)
    return images


def _fields(count: int, random: torch.Generator) -> Tensor:
    """Gaussian fields of amplitude spectrum 1/f^a, a in 0.3..2.5; colours partly correlated."""
    fy, fx = torch.fft.fftfreq(SIDE)[:, None], torch.fft.rfftfreq(SIDE)[None, :]
    frequency = (fy**2 + fx**2).sqrt().clamp(min=1 / SIDE)
    slope = _uniform((count, 1, 1, 1), 0.3, 2.5, random)
    white = torch.randn((count, 3, SIDE, SIDE), generator=random)
    white = white + 2 * torch.randn((count, 1, SIDE, SIDE), generator=random)
    field = torch.fft.irfft2(torch.fft.rfft2(white) * frequency**-slope, s=(SIDE, SIDE))
    return 0.5 + 0.2 * field / field.std((1, 2, 3), keepdim=True)


def _objects(count: int, random: torch.Generator) -> Tensor:
    distance = torch.full((count, SIDE, SIDE), -1.0)
    y, x = _grid()
    for _ in range(5):
        angle = _uniform((count, 1, 1), 0, 2 * torch.pi, random)
        offset = _uniform((count, 1, 1), 0.3, 1.0, random)
        distance = torch.maximum(distance, x * angle.cos() + y * angle.sin() - offset)
    hole = _ellipse(count, 0.1, 0.5, 0.8, random)
    distance = torch.maximum(distance, torch.where(hole.amin((1, 2), True) < -0.2, -hole, distance))
    ground = (torch.rand((count, 1, 1, 1), generator=random) < 0.3).float()
    texture = _fields(count, random) + _colours(count, random) - 0.5
    return _paint(ground.expand(-1, 3, SIDE, SIDE), distance, texture, 0.03)


def _finish(images: Tensor, random: torch.Generator) -> Tensor:
    """Blurs some, adds shading, noise and another contrast, as cameras do."""
    count = len(images)
    small = interpolate(images, size=(SIDE // 2, SIDE // 2), mode="area")
    blurred = interpolate(small, size=(SIDE, SIDE), mode="bilinear", align_corners=False)
    images = torch.lerp(images, blurred, _uniform((count, 1, 1, 1), 0, 1, random))
    y, x = _grid()
    tilt = _uniform((2, count, 1, 1), -0.2, 0.2, random)
    images = images + (tilt[0] * y + tilt[1] * x)[:, None]
    contrast = _uniform((count, 1, 1, 1), 0.3, 1.2, random)
    level = _uniform((count, 1, 1, 1), 0.3, 0.7, random)
    noise = torch.randn(images.shape, generator=random)
    noise = noise * _uniform((count, 1, 1, 1), 0, 0.05, random)
    return (level + contrast * (images - 0.5) + noise).clamp(0, 1)
