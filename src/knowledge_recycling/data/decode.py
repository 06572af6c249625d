"""Decodes one image file to 8 bits, grey or colour."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from knowledge_recycling.data.resize import ALLOWED_SIZES, resize_image
from knowledge_recycling.errors import KRError

SUFFIXES = frozenset(Image.registered_extensions())
# Pillow hands EPS to an external program; a data folder must not be able to start one.
FORMATS = tuple(sorted(set(Image.OPEN) - {"EPS"}))


@dataclass(frozen=True, eq=False)
class Decoded:
    """One image.

    Attributes:
        pixels: (h, w) or (h, w, 3) uint8; None where the file is broken or of a size that cannot
            run, so that a folder of large photographs is refused without being held in memory.
        shape: (height, width) in the file.
        grey_file: whether the file itself has one channel.
        peak: the largest 16-bit value; None for 8-bit files.
        error: why the file is broken; None where it is not.
    """

    pixels: np.ndarray | None
    shape: tuple[int, int]
    grey_file: bool = False
    peak: int | None = None
    error: str | None = None

    @property
    def coloured(self) -> bool:
        """Whether the three channels differ anywhere."""
        return self.pixels is not None and self.pixels.ndim == 3


def decode(path: Path, size: int | None) -> Decoded:
    """Reads an image file, resized where a size is given.

    16-bit grey is scaled to 8 bits (65535 becomes 255), alpha is dropped, and colour whose three
    channels are equal becomes grey.

    Args:
        path: the file.
        size: side in pixels; None keeps the file's.

    Returns:
        The image, or why it cannot be decoded.

    Raises:
        KRError: on pixels that are neither 8-bit nor 16-bit.
    """
    try:
        with Image.open(path, formats=FORMATS) as image:
            shape = (image.height, image.width)
            if size is None and (shape[0] != shape[1] or shape[0] not in ALLOWED_SIZES):
                return Decoded(None, shape)
            image.load()
            pixels, grey_file, peak = _eight_bits(image, path)
    except KRError:
        raise
    except Exception as error:  # Pillow's decoders raise nearly anything on corrupt bytes
        reason = "not an image" if isinstance(error, UnidentifiedImageError) else str(error)
        return Decoded(None, (0, 0), error=reason or type(error).__name__)
    if size is not None:
        pixels = resize_image(pixels, size)
    return Decoded(pixels, shape, grey_file, peak)


def _eight_bits(image: Image.Image, path: Path) -> tuple[np.ndarray, bool, int | None]:
    """Pixels, whether the file is grey, and the peak of 16-bit values."""
    if image.mode in ("1", "L", "LA", "La"):
        return np.asarray(image.convert("L")), True, None
    if image.mode in ("I", "F") or image.mode.startswith("I;"):
        values = np.asarray(image)
        low, high = values.min(), values.max()
        if image.mode == "F" or low < 0 or high > 65535:
            raise KRError(
                f"{path}: holds values {low:g}..{high:g} of more than 16 bits or with a fraction; "
                "save it with 8 or 16 bits a channel"
            )
        return np.rint(values / 257).astype(np.uint8), True, int(high)
    pixels = np.asarray(image.convert("RGB"))
    if (pixels == pixels[..., :1]).all():
        pixels = pixels[..., 0]
    return pixels, False, None
