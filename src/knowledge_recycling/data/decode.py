"""Decodes one image file to 8 bits, grey or colour, as a viewer shows it."""

from __future__ import annotations

import re
import threading
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from knowledge_recycling.data.files import open_regular
from knowledge_recycling.data.kinds import kind_of_bytes
from knowledge_recycling.data.resize import ALLOWED_SIZES
from knowledge_recycling.data.scale import Range, apply_range
from knowledge_recycling.data.scans import Scan
from knowledge_recycling.data.words import count, size_of

Image.init()
KNOWN = {"AVIF", "BMP", "GIF", "JPEG", "JPEG2000", "PCX", "PNG", "PPM", "SGI", "TIFF", "WEBP"}
FORMATS = tuple(sorted(KNOWN & set(Image.OPEN)))
"""What is opened. Pillow knows more, among them EPS, which starts an external program."""

SUFFIXES = frozenset(s for s, name in Image.registered_extensions().items() if name in FORMATS)
MAX_PIXELS = 50_000_000
"""Pixels of one file, all that is decoded at once; a photograph of 8,000 x 6,000 has 48 million."""

LARGE_PIXELS = 10_000_000
one_large = threading.Lock()
"""Images from here up are decoded one at a time: a thread needs about 12 bytes per pixel."""

PROBE = 28
"""Side at which an image that cannot run as it is looked at, to say at once what else is wrong."""

ORIENTATION = 0x0112
PHOTOMETRIC = 262
BITS_PER_SAMPLE = 258


class Rule(NamedTuple):
    """How all images of a folder are read: side, stated range, colour; see `config.Data`."""

    size: int | None
    range: Range | None = None
    color: str | None = None


@dataclass(frozen=True, eq=False)
class Decoded:
    """One image.

    Attributes:
        pixels: (h, w) or (h, w, 3) uint8, resized where a size is given; None where the file is
            broken or only its header was read; h = w = 0 once they are kept elsewhere.
        shape: (height, width) as a viewer shows it, before resizing.
        format: such as `PNG`.
        depth: `8-bit`, `16-bit`, `32-bit` or `fractional`; of grey DICOM images the scale that
            `dicom_levels` names.
        grey_file: whether the file itself has one channel.
        alpha: whether the file has an alpha channel or a transparent colour.
        low, high: of the values in a file of more than 8 bits, else None.
        turned: whether its EXIF orientation turned it.
        transparent: whether black shows through somewhere.
        outside: whether values outside the stated range were clipped.
        pages: how many it has; only the first is read.
        error: why the file is broken; None where it is not.
        scan: what its DICOM header says; None for other files.
    """

    pixels: np.ndarray | None
    shape: tuple[int, int]
    format: str = ""
    depth: str = "8-bit"
    grey_file: bool = False
    alpha: bool = False
    low: float | None = None
    high: float | None = None
    turned: bool = False
    transparent: bool = False
    outside: bool = False
    pages: int = 1
    error: str | None = None
    scan: Scan | None = None

    @property
    def coloured(self) -> bool:
        """Whether the three channels differ anywhere."""
        return self.pixels is not None and self.pixels.ndim == 3


def fits(shape: tuple[int, int]) -> bool:
    """Whether images of this (height, width) run as they are."""
    return shape[0] == shape[1] and shape[0] in ALLOWED_SIZES


def decode(path: Path, rule: Rule, look: bool = True) -> Decoded:
    """Reads the first page of an image file, upright, and resized where a size is given.

    16-bit values are scaled from 0..65535, or from the stated range, to 0..255; transparency shows
    black; colour whose three channels are equal becomes grey.

    Args:
        path: the file.
        rule: how it is read.
        look: false reads only the header of an image that cannot run as it is; true looks at it
            in a small size.

    Returns:
        The image, or why it cannot be decoded.

    Raises:
        KRError: the file may not be read, or is no regular file.
    """
    with open_regular(path) as stream:
        return decode_stream(stream, rule, look)


def decode_stream(stream: BinaryIO, rule: Rule, look: bool = True) -> Decoded:
    """Reads an image that lies in a file or in memory; see `decode`."""
    try:
        with Image.open(stream, formats=FORMATS) as image:
            return _read(image, rule, look)
    except Image.DecompressionBombError as error:  # Pillow's own limit lies higher
        pixels = int(re.findall(r"\d+", str(error))[0])
        return Decoded(None, (0, 0), error=too_large(pixels))
    except UnidentifiedImageError:
        stream.seek(0)
        kind = kind_of_bytes(stream.read(512))
        reason = f"not an image but a {kind} file" if kind else "not an image"
        return Decoded(None, (0, 0), error=reason)
    except Exception as error:  # Pillow's decoders raise nearly anything on corrupt bytes
        return Decoded(None, (0, 0), error=str(error)[:200] or type(error).__name__)


def too_large(pixels: int) -> str:
    """Why an image of so many pixels is not decoded."""
    return (
        f"would grow to {pixels:,} pixels ({size_of(3 * pixels)} in colour); more than "
        f"{MAX_PIXELS // 10**6} million are never decoded"
    )


def _read(image: Image.Image, rule: Rule, look: bool) -> Decoded:
    pixels = image.width * image.height
    if pixels > MAX_PIXELS:
        return Decoded(None, (0, 0), error=too_large(pixels))
    with one_large if pixels > LARGE_PIXELS else nullcontext():
        return _read_whole(image, rule, look)


def _read_whole(image: Image.Image, rule: Rule, look: bool) -> Decoded:
    facts = _facts(image)
    if rule.size is None and not fits(facts.shape) and not look:
        return facts
    image.load()
    if facts.format != "TIFF":  # which Pillow turns when it loads
        facts = replace(facts, turned=facts.turned or image.getexif().get(ORIENTATION, 1) > 1)
        ImageOps.exif_transpose(image, in_place=True)
    facts = replace(facts, shape=(image.height, image.width))
    side = rule.size if rule.size or fits(facts.shape) else PROBE
    if facts.depth == "8-bit" or not facts.grey_file:
        return eight_bits(image, facts, rule, side)
    return _deep_grey(image, facts, rule, side)


def _facts(image: Image.Image) -> Decoded:
    """What the header says."""
    depth = _depth(image)  # first: once a file is loaded, nothing tells 16-bit colour from 8-bit
    # For want of EXIF data in a PNG's header Pillow would decode all of it.
    asked = image.format != "PNG" or "exif" in image.info
    orientation = image.getexif().get(ORIENTATION, 1) if asked else 1
    shape = (image.height, image.width)
    if orientation >= 5 and image.format != "TIFF":
        shape = shape[::-1]
    grey = image.mode in ("1", "L", "LA", "La", "I", "F") or image.mode.startswith("I;")
    return Decoded(
        None,
        shape,
        format=str(image.format),
        depth=depth,
        grey_file=grey,
        alpha=image.has_transparency_data,
        turned=orientation > 1,
        pages=getattr(image, "n_frames", 1),
    )


def _depth(image: Image.Image) -> str:
    if image.mode == "F":
        return "fractional"
    bits = getattr(image, "tag_v2", {}).get(BITS_PER_SAMPLE, (8,))
    if image.mode.startswith("I;") or (image.mode == "I" and image.format != "TIFF"):
        return "16-bit"
    if image.mode == "I":
        return "16-bit" if bits[0] == 16 else "32-bit"
    # Pillow has no 16-bit colour: the tile says that it keeps the upper 8 bits alone.
    tiles = [str(tile) for tile in getattr(image, "tile", [])]
    return "16-bit" if bits[0] == 16 or any(";16" in tile for tile in tiles) else "8-bit"


def eight_bits(image: Image.Image, facts: Decoded, rule: Rule, side: int | None) -> Decoded:
    """The pixels of an image without 16-bit values, in grey or colour.

    It is resized before anything becomes an array, so that few full-size copies exist.
    """
    transparent = False
    if image.has_transparency_data:
        image = image.convert("RGBA")
        transparent = image.getchannel("A").getextrema() != (255, 255)
        black = Image.new("RGBA", image.size, (0, 0, 0, 255))
        image = Image.alpha_composite(black, image).convert("RGB")
    grey_mode = image.mode in ("1", "L", "LA", "La")
    image = image.convert("L" if grey_mode else "RGB")
    high = None
    if facts.depth == "16-bit":
        high = float(np.max(image.getextrema())) * 257
    outside = False
    if rule.range:
        scaled, outside = apply_range(np.asarray(image), rule.range)
        image = Image.fromarray(scaled)
    pixels = np.asarray(_resized(_in_color(image, rule), side))
    if rule.color != "rgb" and pixels.ndim == 3 and (pixels == pixels[..., :1]).all():
        pixels = pixels[..., 0]
    return replace(
        facts,
        pixels=pixels,
        low=None if high is None else 0,
        high=high,
        transparent=transparent,
        outside=outside,
    )


def _deep_grey(image: Image.Image, facts: Decoded, rule: Rule, side: int | None) -> Decoded:
    if facts.alpha:
        why = "has 16 bits and a transparent value, which are not read together; save it with 8"
        return replace(facts, error=why)
    values = np.asarray(image)
    if not np.isfinite(values).all():
        return replace(facts, error="holds NaN or infinite values")
    scaled, outside = apply_range(values, rule.range or (0.0, 65535.0))
    if getattr(image, "tag_v2", {}).get(PHOTOMETRIC) == 0:  # "white is zero", which Pillow leaves
        scaled = 255 - scaled
    small = _resized(_in_color(Image.fromarray(scaled), rule), side)
    return replace(
        facts,
        pixels=np.asarray(small),
        low=float(values.min()),
        high=float(values.max()),
        outside=bool(rule.range) and outside,
    )


def _in_color(image: Image.Image, rule: Rule) -> Image.Image:
    return image.convert({"grey": "L", "rgb": "RGB"}.get(rule.color or "", image.mode))


def _resized(image: Image.Image, side: int | None) -> Image.Image:
    if side is None or image.size == (side, side):
        return image
    return image.resize((side, side), Image.Resampling.LANCZOS)


def pages_note(decoded: list[Decoded]) -> str | None:
    """Counts the files of several pages or frames, and what of them was not read."""
    several = [d.pages for d in decoded if d.pages > 1]
    if not several:
        return None
    return (
        f"{count(len(several), 'file')} with several pages or frames: only the first was read, "
        f"{count(sum(several) - len(several), 'page')} left out"
    )
