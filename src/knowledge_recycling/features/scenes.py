"""Pairs of procedural images of the same scene, to pretrain a network without anybody's data.

A scene is a ground and up to four objects: an outline r(phi) = r (1 + a cos(m phi + s)) or a box,
a texture, stripes, a ring, and a core of one to four lobes. Two renderings of a scene differ in
place, angle, scale, light, contrast and noise: what a classifier of medical images should not see.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d, interpolate

SIDE = 28
TURN = 2 * torch.pi


class Dice:
    """Random numbers from one generator."""

    def __init__(self, seed: int) -> None:
        self.random = torch.Generator().manual_seed(seed)

    def uniform(self, count: int, low: float, high: float) -> Tensor:
        """(count,) in low..high."""
        return low + (high - low) * torch.rand(count, generator=self.random)

    def often(self, count: int, share: float) -> Tensor:
        """(count,) 1.0 with probability `share`, otherwise 0.0."""
        return (torch.rand(count, generator=self.random) < share).float()

    def whole(self, count: int, low: int, high: int) -> Tensor:
        """(count,) whole numbers low..high, as floats."""
        return torch.randint(low, high + 1, (count,), generator=self.random).float()

    def normal(self, *shape: int) -> Tensor:
        """Standard normal numbers."""
        return torch.randn(shape, generator=self.random)


@dataclass(frozen=True)
class Shape:
    """One object in each of n scenes; every field is (n,) but the colours, (n, 3)."""

    shown: Tensor
    y: Tensor
    x: Tensor
    radius: Tensor
    flat: Tensor
    angle: Tensor
    bumps: Tensor
    bump_size: Tensor
    phase: Tensor
    box: Tensor
    softness: Tensor
    colour: Tensor
    slope: Tensor
    texture: Tensor
    ring: Tensor
    stripes: Tensor
    stripe_frequency: Tensor
    stripe_angle: Tensor
    core: Tensor
    core_colour: Tensor
    lobes: Tensor


@dataclass(frozen=True)
class Scenes:
    """What n scenes show: fields are (n,), `ground` (n, 3)."""

    ground: Tensor
    ground_slope: Tensor
    ground_texture: Tensor
    shapes: tuple[Shape, ...]
    blur: Tensor
    grey: Tensor
    turned: Tensor
    """1 where any quarter turn leaves the scene the same."""


def draw_scenes(count: int, dice: Dice) -> Scenes:
    """Draws what `count` scenes show; half of them are grey."""
    grey = dice.often(count, 0.5)
    number = dice.whole(count, 0, 4)
    body, radius = _colour(grey, dice), dice.uniform(count, 0.15, 0.8)
    alike = dice.often(count, 0.5)[:, None]
    shapes = []
    for order in range(4):
        colour = torch.lerp(_colour(grey, dice), body, alike)
        shown = (number > order).float()
        shapes.append(_draw_shape(shown, 0.32 if order == 0 else 0.8, radius, colour, grey, dice))
    return Scenes(
        ground=_colour(grey, dice),
        ground_slope=dice.uniform(count, 0.5, 2.5),
        ground_texture=dice.uniform(count, 0, 0.2) * dice.often(count, 0.7),
        shapes=tuple(shapes),
        blur=dice.uniform(count, 0, 1) * dice.often(count, 0.5),
        grey=grey,
        turned=dice.often(count, 0.5),
    )


def _draw_shape(
    shown: Tensor, spread: float, radius: Tensor, colour: Tensor, grey: Tensor, dice: Dice
) -> Shape:
    n = len(shown)
    return Shape(
        shown=shown,
        y=dice.uniform(n, -spread, spread),
        x=dice.uniform(n, -spread, spread),
        radius=radius * dice.uniform(n, 0.8, 1.2),
        flat=dice.uniform(n, 0.4, 1),
        angle=dice.uniform(n, 0, torch.pi),
        bumps=dice.whole(n, 2, 5),
        bump_size=dice.uniform(n, 0, 0.35) * dice.often(n, 0.5),
        phase=dice.uniform(n, 0, TURN),
        box=dice.often(n, 0.25),
        softness=dice.uniform(n, 0.02, 0.12),
        colour=colour,
        slope=dice.uniform(n, 0.3, 2.5),
        texture=dice.uniform(n, 0, 0.25),
        ring=dice.uniform(n, -0.3, 0.3) * dice.often(n, 0.4),
        stripes=dice.uniform(n, 0, 0.3) * dice.often(n, 0.3),
        stripe_frequency=dice.uniform(n, 3, 20),
        stripe_angle=dice.uniform(n, 0, torch.pi),
        core=dice.uniform(n, 0.05, 0.7) * dice.often(n, 0.7),
        core_colour=_colour(grey, dice),
        lobes=dice.whole(n, 1, 4),
    )


def render(scenes: Scenes, dice: Dice) -> Tensor:
    """Renders each scene once, (n, 3, 28, 28) in 0..1; a second call gives the other of a pair."""
    n = len(scenes.blur)
    y, x = _view(scenes, dice)
    image = scenes.ground[:, :, None, None] + _grid(scenes.ground_texture)[:, None] * _field(
        scenes.ground_slope, dice
    )
    for shape in scenes.shapes:
        image = _paint(image, shape, y, x, dice)
    half = interpolate(avg_pool2d(image, 2), scale_factor=2, mode="bilinear", align_corners=False)
    image = torch.lerp(image, half, scenes.blur[:, None, None, None])
    tilt = _grid(dice.uniform(n, -0.15, 0.15)) * x + _grid(dice.uniform(n, -0.15, 0.15)) * y
    tint = (
        0.03 * dice.normal(n, 3) * (1 - scenes.grey[:, None]) + dice.uniform(n, -0.1, 0.1)[:, None]
    )
    image = image + tilt[:, None] + tint[:, :, None, None]
    noise = _grid(dice.uniform(n, 0, 0.05))[:, None] * dice.normal(n, 3, SIDE, SIDE)
    image = 0.5 + (image - 0.5) * _grid(dice.uniform(n, 0.6, 1.3))[:, None] + noise
    grey = image.mean(1, keepdim=True).expand_as(image)
    return torch.where(scenes.grey[:, None, None, None] > 0, grey, image).clamp(0, 1)


def _view(scenes: Scenes, dice: Dice) -> tuple[Tensor, Tensor]:
    """Coordinates (n, 28, 28) of the pixels in the scene: another place, angle and scale."""
    n = len(scenes.blur)
    axis = (torch.arange(SIDE) + 0.5) / SIDE * 2 - 1
    angle = dice.uniform(n, -0.3, 0.3) + scenes.turned * dice.whole(n, 0, 3) * TURN / 4
    scale = dice.uniform(n, 0.85, 1.2)
    mirror = 1 - 2 * dice.often(n, 0.5)
    x = (axis[None, None, :] - _grid(dice.uniform(n, -0.2, 0.2))) * _grid(mirror / scale)
    y = (axis[None, :, None] - _grid(dice.uniform(n, -0.2, 0.2))) / _grid(scale)
    cos, sin = _grid(angle.cos()), _grid(angle.sin())
    return y * cos - x * sin, x * cos + y * sin


def _paint(image: Tensor, shape: Shape, y: Tensor, x: Tensor, dice: Dice) -> Tensor:
    n = len(image)
    dy = y - _grid(shape.y + dice.uniform(n, -0.06, 0.06))
    dx = x - _grid(shape.x + dice.uniform(n, -0.06, 0.06))
    cos, sin = _grid(shape.angle.cos()), _grid(shape.angle.sin())
    u, v = dx * cos + dy * sin, (dy * cos - dx * sin) / _grid(shape.flat)
    distance = torch.lerp(
        (u**2 + v**2 + 1e-6).sqrt(), torch.maximum(u.abs(), v.abs()), _grid(shape.box)
    )
    polar = torch.atan2(v, u)
    wave = torch.cos(_grid(shape.bumps) * polar + _grid(shape.phase))
    edge = distance - _grid(shape.radius) * (1 + _grid(shape.bump_size) * wave)
    along = u * _grid(shape.stripe_angle.cos()) + v * _grid(shape.stripe_angle.sin())
    shade = _grid(shape.texture) * _field(shape.slope, dice)[:, 0]
    shade = shade + _grid(shape.stripes) * torch.cos(_grid(shape.stripe_frequency) * along)
    shade = shade + _grid(shape.ring) * torch.exp(-((edge / 0.08) ** 2))
    body = shape.colour[:, :, None, None] + shade[:, None]
    image = _cover(image, edge, shape.softness, shape.shown, body)
    core = shape.core_colour[:, :, None, None] + 0.5 * shade[:, None]
    inner = _core_edge(shape, distance, polar)
    return _cover(image, inner, shape.softness, shape.shown * (shape.core > 0), core)


def _core_edge(shape: Shape, distance: Tensor, polar: Tensor) -> Tensor:
    """Signed distance to a core: one disc in the middle, or lobes on a ring."""
    several = (shape.lobes > 1).float()
    sector = _grid(TURN / shape.lobes)
    turn = torch.remainder(polar + _grid(shape.phase), sector) - sector / 2
    u = distance * turn.cos() - _grid(shape.radius * 0.35 * several)
    v = distance * turn.sin()
    return (u**2 + v**2 + 1e-6).sqrt() - _grid(shape.radius * shape.core * (1 - 0.4 * several))


def _cover(image: Tensor, edge: Tensor, softness: Tensor, shown: Tensor, paint: Tensor) -> Tensor:
    opacity = torch.sigmoid(-edge / _grid(softness)) * _grid(shown)
    return image + opacity[:, None] * (paint - image)


def _field(slope: Tensor, dice: Dice) -> Tensor:
    """Gaussian fields (n, 1, 28, 28) of amplitude spectrum 1/f^slope and variance 1."""
    fy, fx = torch.fft.fftfreq(SIDE)[:, None], torch.fft.rfftfreq(SIDE)[None, :]
    frequency = (fy**2 + fx**2).sqrt().clamp(min=1 / SIDE)
    white = torch.fft.rfft2(dice.normal(len(slope), 1, SIDE, SIDE))
    field = torch.fft.irfft2(white * frequency ** -slope[:, None, None, None], s=(SIDE, SIDE))
    return field / field.std((1, 2, 3), keepdim=True)


def _colour(grey: Tensor, dice: Dice) -> Tensor:
    n = len(grey)
    colour = (dice.uniform(n, 0, 1)[:, None] + 0.25 * dice.normal(n, 3)).clamp(0, 1)
    return torch.where(grey[:, None] > 0, colour.mean(1, keepdim=True), colour)


def _grid(values: Tensor) -> Tensor:
    return values[:, None, None]
