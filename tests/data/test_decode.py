from __future__ import annotations

import os
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from knowledge_recycling.data.decode import Rule, decode, pages_note
from knowledge_recycling.errors import KRError

RNG = np.random.default_rng(0)
GREY = RNG.integers(0, 256, (8, 12), dtype=np.uint8)
COLOUR = RNG.integers(0, 256, (8, 12, 3), dtype=np.uint8)
KEEP = Rule(None)

# What a viewer does with the stored pixels, by EXIF orientation (the standard's table).
UPRIGHT = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.T,
    6: lambda a: a.T[:, ::-1],
    7: lambda a: a.T[::-1, ::-1],
    8: lambda a: a.T[::-1],
}


def chunk(name: bytes, content: bytes) -> bytes:
    """A part of a PNG file."""
    checksum = struct.pack(">I", zlib.crc32(name + content))
    return struct.pack(">I", len(content)) + name + content + checksum


def png(width: int, height: int, depth: int, kind: int, rows: bytes) -> bytes:
    """A PNG file from raw rows, each with its filter byte."""
    head = struct.pack(">IIBBBBB", width, height, depth, kind, 0, 0, 0)
    body = chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows, 9)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


def tiff(pixels: np.ndarray, photometric: int) -> bytes:
    """A grey little-endian TIFF file of one strip."""
    raw = pixels.astype(pixels.dtype.newbyteorder("<")).tobytes()
    height, width = pixels.shape
    tags = [
        (256, 3, width),
        (257, 3, height),
        (258, 3, 8 * pixels.itemsize),
        (259, 3, 1),
        (262, 3, photometric),
        (273, 4, 8 + 2 + 8 * 12 + 4),
        (278, 3, height),
        (279, 4, len(raw)),
    ]
    entries = b"".join(struct.pack("<HHII", tag, kind, 1, value) for tag, kind, value in tags)
    return b"II*\0" + struct.pack("<IH", 8, len(tags)) + entries + bytes(4) + raw


def square(pixels: np.ndarray) -> np.ndarray:
    return pixels[:8, :8]


@pytest.mark.parametrize("orientation", UPRIGHT)
@pytest.mark.parametrize("suffix", ["png", "tif", "webp"])
def test_orientation(tmp_path: Path, orientation: int, suffix: str) -> None:
    tag = Image.Exif()
    tag[0x112] = orientation
    path = tmp_path / f"x.{suffix}"
    more: dict[str, Any] = {"lossless": True} if suffix == "webp" else {}
    Image.fromarray(square(GREY)).convert("RGB").save(path, exif=tag, **more)
    found = decode(path, KEEP)
    assert found.pixels is not None
    np.testing.assert_array_equal(found.pixels, UPRIGHT[orientation](square(GREY)))
    assert found.turned is (orientation > 1)


def test_the_shape_is_that_of_the_upright_image(tmp_path: Path) -> None:
    tag = Image.Exif()
    tag[0x112] = 6
    for suffix in ("png", "tif", "jpg"):
        Image.fromarray(GREY).save(tmp_path / f"x.{suffix}", exif=tag)
        for look in (True, False):
            assert decode(tmp_path / f"x.{suffix}", KEEP, look).shape == (12, 8)


@pytest.mark.parametrize("photometric", [0, 1])
def test_white_is_zero(tmp_path: Path, photometric: int) -> None:
    path = tmp_path / "x.tif"
    path.write_bytes(tiff(square(GREY), photometric))
    shallow = decode(path, KEEP)
    deep = square(GREY).astype(np.uint16) * 257
    path.write_bytes(tiff(deep, photometric))
    expected = square(GREY) if photometric else 255 - square(GREY)
    assert shallow.pixels is not None
    np.testing.assert_array_equal(shallow.pixels, expected)
    for rule in (KEEP, Rule(None, (0.0, 65535.0))):
        found = decode(path, rule)
        assert found.pixels is not None
        np.testing.assert_array_equal(found.pixels, expected)


def test_transparency_shows_black_and_never_hidden_colours(tmp_path: Path) -> None:
    alpha = np.zeros((8, 8), np.uint8)
    alpha[:, :4] = 255
    hidden = np.dstack([square(COLOUR), alpha])
    Image.fromarray(hidden).save(tmp_path / "rgba.png")
    Image.fromarray(np.dstack([square(GREY), alpha])).save(tmp_path / "la.png")
    found = decode(tmp_path / "rgba.png", KEEP)
    assert found.pixels is not None
    np.testing.assert_array_equal(found.pixels, square(COLOUR) * (alpha > 0)[..., None])
    grey = decode(tmp_path / "la.png", KEEP)
    assert grey.pixels is not None
    np.testing.assert_array_equal(grey.pixels, square(GREY) * (alpha > 0))
    assert (found.transparent, grey.transparent, found.alpha) == (True, True, True)
    Image.fromarray(np.dstack([square(COLOUR), alpha * 0 + 255])).save(tmp_path / "full.png")
    full = decode(tmp_path / "full.png", KEEP)
    assert full.pixels is not None
    np.testing.assert_array_equal(full.pixels, square(COLOUR))
    assert not full.transparent


def test_palettes_show_their_colours(tmp_path: Path) -> None:
    image = Image.fromarray(square(COLOUR)).quantize(16)
    image.save(tmp_path / "p.png")
    image.save(tmp_path / "p.gif")
    for name in ("p.png", "p.gif"):
        found = decode(tmp_path / name, KEEP)
        assert found.pixels is not None
        np.testing.assert_array_equal(found.pixels, np.asarray(image.convert("RGB")))
    image.save(tmp_path / "t.png", transparency=0)
    assert decode(tmp_path / "t.png", KEEP).transparent


def test_sixteen_bit_colour_is_known_as_such(tmp_path: Path) -> None:
    rows = RNG.integers(0, 65536, (8, 24)).astype(">u2")
    body = b"".join(b"\0" + row.tobytes() for row in rows)
    (tmp_path / "x.png").write_bytes(png(8, 8, 16, 2, body))
    found = decode(tmp_path / "x.png", KEEP)
    assert found.pixels is not None
    np.testing.assert_array_equal(found.pixels.reshape(8, 24), rows >> 8)
    assert found.depth == "16-bit"
    assert found.high is not None
    assert found.high >= rows.max() - 256
    assert not found.grey_file


@pytest.mark.parametrize("first", [True, False])
def test_sixteen_bit_colour_with_exif_is_known_as_such(tmp_path: Path, first: bool) -> None:
    """Once Pillow has loaded a file, for EXIF data behind its pixels, nothing tells its depth."""
    tag = Image.Exif()
    tag[0x112] = 6
    exif = chunk(b"eXIf", tag.tobytes()[6:])
    whole = png(8, 8, 16, 2, b"".join(b"\0" + bytes(range(48)) for _ in range(8)))
    place = whole.index(b"IDAT" if first else b"IEND") - 4
    (tmp_path / "x.png").write_bytes(whole[:place] + exif + whole[place:])
    found = decode(tmp_path / "x.png", KEEP)
    assert (found.depth, found.turned, found.grey_file) == ("16-bit", True, False)


def test_sixteen_bits_with_a_transparent_value_are_refused(tmp_path: Path) -> None:
    Image.fromarray(square(GREY).astype(np.uint16) * 257).save(tmp_path / "x.png", transparency=0)
    assert decode(tmp_path / "x.png", KEEP).error == (
        "has 16 bits and a transparent value, which are not read together; save it with 8"
    )


@pytest.mark.parametrize("suffix", ["tif", "gif", "webp", "png"])
def test_pages_are_counted(tmp_path: Path, suffix: str) -> None:
    pages = [Image.fromarray(RNG.integers(0, 256, (8, 8), dtype=np.uint8)) for _ in range(3)]
    path = tmp_path / f"x.{suffix}"
    pages[0].save(path, save_all=True, append_images=pages[1:])
    found = decode(path, KEEP)
    assert found.pages == 3
    note = "1 file with several pages or frames: only the first was read, 2 pages left out"
    assert pages_note([found]) == note
    assert pages_note([decode(path, KEEP)] * 0) is None


def test_colour_and_range(tmp_path: Path) -> None:
    Image.fromarray(square(COLOUR)).save(tmp_path / "c.png")
    Image.fromarray(square(GREY)).save(tmp_path / "g.png")
    luma = np.asarray(Image.fromarray(square(COLOUR)).convert("L"))
    grey = decode(tmp_path / "c.png", Rule(None, None, "grey"))
    rgb = decode(tmp_path / "g.png", Rule(None, None, "rgb"))
    half = decode(tmp_path / "g.png", Rule(None, (100.0, 200.0)))
    assert grey.pixels is not None
    assert rgb.pixels is not None
    assert half.pixels is not None
    np.testing.assert_array_equal(grey.pixels, luma)
    np.testing.assert_array_equal(rgb.pixels, np.repeat(square(GREY)[..., None], 3, axis=2))
    stretched = np.rint(np.clip((square(GREY) - 100.0) / 100, 0, 1) * 255)
    np.testing.assert_array_equal(half.pixels, stretched)
    assert half.outside


@pytest.mark.parametrize(("side", "message"), [(8000, "64,000,000 pix"), (20000, "400,000,000 pi")])
def test_bombs_are_refused_with_their_size(tmp_path: Path, side: int, message: str) -> None:
    (tmp_path / "z.png").write_bytes(png(side, side, 8, 2, b"\0" * 100))
    found = decode(tmp_path / "z.png", KEEP)
    assert found.error is not None
    assert message in found.error
    assert found.error.endswith("more than 50 million are never decoded")


def test_pipes_are_refused_without_being_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "z.png")
    with pytest.raises(KRError, match=r"z.png: is a pipe, a socket or a device, which is never"):
        decode(tmp_path / "z.png", KEEP)


def test_what_is_no_image_is_named(tmp_path: Path) -> None:
    path = tmp_path / "x.png"
    path.write_bytes(bytes(128) + b"DICM")
    assert decode(path, KEEP).error == "not an image but a DICOM file"
    path.write_bytes(b"hello")
    assert decode(path, KEEP).error == "not an image"
    values = np.full((8, 8), np.nan, np.float32)
    Image.fromarray(values).save(tmp_path / "x.tif")
    assert decode(tmp_path / "x.tif", KEEP).error == "holds NaN or infinite values"
