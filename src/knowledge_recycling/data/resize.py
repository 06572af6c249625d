"""Sizes that run, and antialiased resizing to them."""

from __future__ import annotations

import numpy as np
from PIL import Image

from knowledge_recycling.errors import KRError

LARGEST = 224
ALLOWED_SIZES = tuple(
    sorted({g * 2**k for g in range(4, 9) for k in range(1, 6) if g * 2**k <= LARGEST})
)
"""Sides in pixels that run: g * 2^k up to 224, a coarse grid g of 4 to 8 doubled k >= 1 times.

Example:
    >>> ALLOWED_SIZES[:13], ALLOWED_SIZES[13:]
    ((8, 10, 12, 14, 16, 20, 24, 28, 32, 40, 48, 56, 64), (80, 96, 112, 128, 160, 192, 224))
"""


def nearest_size(side: float) -> int:
    """The allowed size nearest to a side in pixels, the smaller of two equally near.

    Example:
        >>> nearest_size(27), nearest_size(100), nearest_size(1024)
        (28, 96, 224)
    """
    return min(ALLOWED_SIZES, key=lambda size: abs(size - side))


FAST = 28
"""The side that the preset `fast` was made for."""


def size_advice(side: float) -> tuple[str, str]:
    """Advice on the side for images that cannot run as they are, and the setting.

    Time grows a little slower than the number of pixels up to 64, and little beyond, where networks
    see blocks of pixels (benchmarks/results/sizes.json).

    Example:
        >>> size_advice(63)
        ('28 is the fast choice, 64 shows more and takes about 5 times as long', 'data.size=28')
        >>> size_advice(9)
        ('8 is the nearest that runs', 'data.size=8')
    """
    near = nearest_size(side)
    if near <= FAST + 4:
        return f"{near} is the nearest that runs", f"data.size={near}"
    if near > 64:
        more = f"64 and {near} show more and take about 5 and 10 times as long"
    else:
        more = f"{near} shows more and takes about {_slower(near)} times as long"
    return f"{FAST} is the fast choice, {more}", f"data.size={FAST}"


def _slower(side: int) -> str:
    return f"{(side / FAST) ** 1.95:.1f}".removesuffix(".0") if side < 64 else "5"


def check_square_size(size: int, what: str = "data.size") -> None:
    """Refuses a side that the Generator's grid cannot reach.

    Args:
        size: side in pixels.
        what: what has that side, for the message.

    Raises:
        KRError: names the nearest allowed size and the setting that chooses it.
    """
    if size not in ALLOWED_SIZES:
        raise KRError(
            f"{what}: a side of {size} pixels does not fit the Generator's grid "
            f"(allowed: {', '.join(map(str, ALLOWED_SIZES))}); "
            f"choose the nearest with the setting data.size={nearest_size(size)}"
        )


def check_shape(height: int, width: int, where: str) -> None:
    """Refuses images that are not square or whose side is not allowed.

    Raises:
        KRError: says which setting `data.size` resizes them, and what that costs.
    """
    if height == width and height in ALLOWED_SIZES:
        return
    advice, setting = size_advice((height + width) / 2)
    if height != width:
        problem = "are not square; resizing changes their aspect ratio"
    else:
        problem = f"do not fit the Generator's grid ({', '.join(map(str, ALLOWED_SIZES))})"
    raise KRError(
        f"{where}: the images of {height} x {width} pixels (height x width) {problem}; {advice}; "
        f"use the setting {setting}"
    )


def resize_image(image: np.ndarray, size: int) -> np.ndarray:
    """Resizes one image with Pillow's Lanczos filter, whose support grows when it shrinks.

    Args:
        image: (h, w) or (h, w, 3) uint8.
        size: side of the result in pixels.

    Returns:
        (size, size) or (size, size, 3) uint8; the image itself where it already has that size.
    """
    if image.shape[:2] == (size, size):
        return image
    return np.asarray(Image.fromarray(image).resize((size, size), Image.Resampling.LANCZOS))


def resize_stack(images: np.ndarray, size: int) -> np.ndarray:
    """Resizes each image of a stack.

    Args:
        images: (n, h, w, c) uint8, c in {1, 3}.
        size: side of the result in pixels.

    Returns:
        (n, size, size, c) uint8; the stack itself where it already has that size.
    """
    n, height, width, channels = images.shape
    if (height, width) == (size, size):
        return images
    result = np.empty((n, size, size, channels), np.uint8)
    for target, image in zip(result, images, strict=True):
        plain = image[..., 0] if channels == 1 else image
        target[...] = resize_image(plain, size).reshape(target.shape)
    return result


def color_stack(images: np.ndarray, color: str | None) -> np.ndarray:
    """Brings a stack to grey (ITU-R 601 luma, as Pillow's) or to three channels.

    Args:
        images: (n, h, w, c) uint8, c in {1, 3}.
        color: `grey`, `rgb` or None, which changes nothing.

    Returns:
        (n, h, w, 1) or (n, h, w, 3) uint8.
    """
    if color == "grey" and images.shape[-1] == 3:
        return np.stack([np.asarray(Image.fromarray(i).convert("L")) for i in images])[..., None]
    if color == "rgb" and images.shape[-1] == 1:
        return np.repeat(images, 3, axis=-1)
    return images


def resize_note(shapes: set[tuple[int, int]], size: int) -> str | None:
    """The note on a resizing, None where nothing changed.

    Args:
        shapes: the (height, width) met before resizing.
        size: side after it.

    Example:
        >>> resize_note({(200, 180)}, 32)
        'resized from 200x180 (height x width) to 32x32, Lanczos; the aspect ratio changed'
    """
    if shapes <= {(size, size)}:
        return None
    low, high = min(shapes), max(shapes)
    origin = f"{low[0]}x{low[1]}"
    if len(shapes) > 1:
        origin = f"{len(shapes):,} sizes, {origin} to {high[0]}x{high[1]}"
    squeezed = "; the aspect ratio changed" if any(h != w for h, w in shapes) else ""
    return f"resized from {origin} (height x width) to {size}x{size}, Lanczos{squeezed}"
