"""Differentiable augmentation of a discriminator's input, arXiv:2006.10738.

Augmenting real images only would teach the Generator the augmentation. Here the same random family
T is applied to real and synthetic images, and gradients flow through T to the Generator, so a
discriminator that sees few images cannot simply remember them.
"""

from __future__ import annotations

import torch
from torch import Tensor

TRANSLATION = 1 / 8
"""Largest shift as a share of the side, as in the paper."""
CUTOUT = 1 / 2
"""Side of the erased square as a share of the image's side, as in the paper."""


def augment(images: Tensor) -> Tensor:
    """Colour, translation and cutout, in this order, drawn anew for each image.

    Random numbers come from torch's global generator of the images' device.

    Args:
        images: (n, channels, height, width), in [-1, 1].

    Returns:
        Images of the same shape; colour may leave [-1, 1].

    Example:
        >>> augment(torch.zeros(2, 3, 8, 8)).shape
        torch.Size([2, 3, 8, 8])
    """
    return _random_cutout(_random_translation(_random_colour(images)))


def colour(images: Tensor, brightness: Tensor, saturation: Tensor, contrast: Tensor) -> Tensor:
    """Adds brightness, then scales saturation and contrast about the pixel's and the image's mean.

    Args:
        images: (n, channels, height, width).
        brightness: (n,), added; 0 changes nothing.
        saturation: (n,), factor about the mean over channels; without effect on grey images.
        contrast: (n,), factor about the mean of the image.

    Returns:
        Images of the same shape.
    """
    images = images + brightness.view(-1, 1, 1, 1)
    grey = images.mean(1, keepdim=True)
    images = grey + (images - grey) * saturation.view(-1, 1, 1, 1)
    mean = images.mean((1, 2, 3), keepdim=True)
    return mean + (images - mean) * contrast.view(-1, 1, 1, 1)


def translate(images: Tensor, down: Tensor, right: Tensor) -> Tensor:
    """Moves each image by whole pixels; what comes in from outside is 0 (mid-grey).

    Args:
        images: (n, channels, height, width).
        down: (n,) int64, pixels; negative moves up.
        right: (n,) int64, pixels; negative moves left.

    Returns:
        Images of the same shape.

    Example:
        >>> translate(torch.tensor([[[[1.0, 2.0]]]]), torch.tensor([0]), torch.tensor([1]))
        tensor([[[[0., 1.]]]])
    """
    return _shift(_shift(images, down, 2), right, 3)


def cutout(images: Tensor, top: Tensor, left: Tensor, height: int, width: int) -> Tensor:
    """Sets a rectangle of each image to 0; parts of it outside the image are ignored.

    Args:
        images: (n, channels, image height, image width).
        top: (n,) int64, first erased row; may be negative.
        left: (n,) int64, first erased column; may be negative.
        height: rows of the rectangle.
        width: columns of the rectangle.

    Returns:
        Images of the same shape.
    """
    rows = _inside(images.shape[2], top, height).view(-1, 1, images.shape[2], 1)
    columns = _inside(images.shape[3], left, width).view(-1, 1, 1, images.shape[3])
    return images * ~(rows & columns)


def _random_colour(images: Tensor) -> Tensor:
    u = torch.rand(3, len(images), device=images.device)
    return colour(images, brightness=u[0] - 0.5, saturation=2 * u[1], contrast=u[2] + 0.5)


def _random_translation(images: Tensor) -> Tensor:
    reach = [round(side * TRANSLATION) for side in images.shape[2:]]
    down, right = (_integers(images, -most, most) for most in reach)
    return translate(images, down, right)


def _random_cutout(images: Tensor) -> Tensor:
    (rows, columns), sides = ([round(side * CUTOUT) for side in images.shape[2:]], images.shape[2:])
    # The centre is uniform over the image, so the square may hang over the border.
    top = _integers(images, 0, sides[0] - 1) - rows // 2
    left = _integers(images, 0, sides[1] - 1) - columns // 2
    return cutout(images, top, left, rows, columns)


def _integers(images: Tensor, low: int, high: int) -> Tensor:
    """One integer for each image, uniform over low..high, both included."""
    return torch.randint(low, high + 1, (len(images),), device=images.device)


def _shift(images: Tensor, by: Tensor, dim: int) -> Tensor:
    """Moves along one axis. A gather, not a convolution or product: exact under autocast."""
    side = images.shape[dim]
    source = torch.arange(side, device=images.device) - by[:, None]
    shape = [len(images), 1, 1, 1]
    shape[dim] = side
    index = source.clamp(0, side - 1).view(shape).expand_as(images)
    known = (source >= 0) & (source < side)
    return images.gather(dim, index) * known.view(shape)


def _inside(side: int, start: Tensor, length: int) -> Tensor:
    """(n, side) bool: whether a position lies in start..start + length - 1."""
    position = torch.arange(side, device=start.device)
    return (position >= start[:, None]) & (position < start[:, None] + length)
