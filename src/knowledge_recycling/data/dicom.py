"""Reads DICOM files: each frame an image, shown as a viewer shows it (extra `dicom`: pydicom).

Only the elements named here are looked at. Nothing that a header holds is shown or kept but counts
and codes; errors are in words of our own, since pydicom's may quote values.
"""

from __future__ import annotations

import io
import logging
import os
import warnings
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
from PIL import Image, UnidentifiedImageError

from knowledge_recycling.data.decode import (
    LARGE_PIXELS,
    MAX_PIXELS,
    PROBE,
    Decoded,
    Rule,
    eight_bits,
    fits,
    one_large,
    too_large,
)
from knowledge_recycling.data.dicom_levels import to_levels
from knowledge_recycling.data.files import check_memory, open_regular
from knowledge_recycling.data.scans import MODALITIES, Scan, digest, patient_digest
from knowledge_recycling.data.words import shown, size_of
from knowledge_recycling.errors import KRError

if TYPE_CHECKING:
    from pydicom.dataset import FileDataset

INSTALL = "DICOM files need pydicom: pip install 'knowledge-recycling[dicom]'"
MAX_FRAMES = 10_000
"""Frames of one file; a series of 4,000 slices is among the longest."""

GREY = ("MONOCHROME1", "MONOCHROME2")
COLOUR = ("RGB", "YBR_FULL", "YBR_FULL_422", "YBR_ICT", "YBR_RCT")
PALETTE = "PALETTE COLOR"
DEFLATED = "1.2.840.10008.1.2.1.99"
TAGS = (
    *("PatientID", "Modality", "Manufacturer", "BurnedInAnnotation", "NumberOfFrames"),
    *("SamplesPerPixel", "PhotometricInterpretation", "PlanarConfiguration", "Rows", "Columns"),
    *("BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation"),
    *("RescaleSlope", "RescaleIntercept", "ModalityLUTSequence"),
    *("WindowCenter", "WindowWidth", "VOILUTFunction", "VOILUTSequence"),
    *("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"),
    *(
        f"{c}PaletteColorLookupTable{part}"
        for c in ("Red", "Green", "Blue")
        for part in ("Descriptor", "Data")
    ),
    *(f"Segmented{c}PaletteColorLookupTableData" for c in ("Red", "Green", "Blue")),
    *("ExtendedOffsetTable", "ExtendedOffsetTableLengths"),
)


class _BrokenError(Exception):
    """Why a file cannot be read, in words of ours."""


def load_pydicom() -> Any:
    """The package pydicom, which is made to keep what it reads to itself.

    Raises:
        KRError: it is not installed.
    """
    try:
        import pydicom
    except ImportError:
        raise KRError(INSTALL) from None
    # Its warnings quote the values that they are about.
    pydicom.config.settings.reading_validation_mode = pydicom.config.IGNORE
    logging.getLogger("pydicom").setLevel(logging.CRITICAL)
    warnings.filterwarnings("ignore", module="pydicom")
    return pydicom


def read_dicom(path: Path, rule: Rule, look: bool = True) -> list[Decoded]:
    """Reads the frames of a file.

    Args:
        path: the file; the last part of it may not be a link.
        rule: how it is read; a range is in modality values, such as Hounsfield units.
        look: false reads only the header of an image that cannot run as it is.

    Returns:
        One image per frame; a single one that says why, where the file cannot be read.

    Raises:
        KRError: pydicom is not installed, the file may not be read, is no regular file or would
            not fit in memory.
    """
    load_pydicom()
    with open_regular(path, follow=False) as stream:
        size = os.fstat(stream.fileno()).st_size
        check_memory(2 * size, f"{shown(str(path))} ({size_of(size)})", "leave it out")
        try:
            return _read(stream, size, rule, look)
        except _BrokenError as error:
            return [Decoded(None, (0, 0), error=str(error))]
        except Exception:  # on corrupt bytes pydicom raises nearly anything, and quotes them
            return [Decoded(None, (0, 0), error="is damaged or cut off")]


def _read(stream: BinaryIO, size: int, rule: Rule, look: bool) -> list[Decoded]:
    import pydicom

    _check_syntax(stream)
    header = pydicom.dcmread(stream, stop_before_pixels=True, specific_tags=list(TAGS))
    facts, frames = _facts(header)
    if rule.size is None and not fits(facts.shape) and not look:
        return [facts] * frames
    large = max(size, facts.shape[0] * facts.shape[1]) > LARGE_PIXELS
    with one_large if large else nullcontext():
        stream.seek(0)
        whole = pydicom.dcmread(stream, specific_tags=[*TAGS, "PixelData"])
        _check_frames(whole, frames)
        images = [_image(x, whole, i, facts, rule) for i, x in enumerate(_pixels(whole, frames))]
    if len(images) != frames:
        raise _BrokenError(f"has {len(images)} frames, and its header promises {frames}")
    return images


def _check_syntax(stream: BinaryIO) -> None:
    """Refuses, by the file's first part alone, what could grow or cannot be decoded."""
    import pydicom
    from pydicom.pixels.decoders.base import get_decoder

    try:
        stream.seek(0)
        if stream.read(132)[128:] != b"DICM":
            raise _BrokenError("is no DICOM file (it lacks the mark DICM at byte 128)")
        meta = pydicom.filereader.read_dataset(stream, False, True, stop_when=_after_first_part)
        syntax = meta.TransferSyntaxUID
    except _BrokenError:
        raise
    except Exception:
        raise _BrokenError("is damaged or cut off in its first part") from None
    finally:
        stream.seek(0)
    if syntax == DEFLATED:
        raise _BrokenError(
            "is packed as a whole (deflated), and could grow beyond all measure; unpack it with "
            "`dcmconv +te`"
        )
    try:
        decoder = get_decoder(syntax)
    except NotImplementedError:
        raise _BrokenError(_undecoded(syntax)) from None
    if not decoder.is_available:
        raise _BrokenError(_undecoded(syntax))


def _after_first_part(tag: Any, vr: str | None, length: int) -> bool:
    return int(tag) >> 16 != 2


def _undecoded(syntax: Any) -> str:
    # The name comes from the standard's table; of an unknown one only the fact is told.
    name = (
        "by an unknown method"
        if syntax.is_private or syntax.name == syntax
        else f"as {syntax.name}"
    )
    return (
        f"is compressed {name}, for which no decoder is installed; install one (pip install "
        "pylibjpeg pylibjpeg-libjpeg pylibjpeg-openjpeg, whose licence is the GPL), or unpack the "
        "files with `gdcmconv --raw`"
    )


def _facts(header: FileDataset) -> tuple[Decoded, int]:
    """What the header says, and the number of frames."""
    if "Rows" not in header or "Columns" not in header:
        raise _BrokenError("holds no image (a report, an index or the like)")
    shape = (int(header.Rows), int(header.Columns))
    frames = int(header.get("NumberOfFrames") or 1)
    kind = str(header.get("PhotometricInterpretation"))
    if shape[0] * shape[1] > MAX_PIXELS:
        raise _BrokenError(too_large(shape[0] * shape[1]))
    if min(shape) < 1 or frames < 1:
        raise _BrokenError("has no pixels")
    if frames > MAX_FRAMES:
        raise _BrokenError(f"claims {frames:,} frames; more than {MAX_FRAMES:,} are never read")
    if kind not in (*GREY, *COLOUR, PALETTE):
        raise _BrokenError("has a photometric interpretation that is not known")
    modality = str(header.get("Modality"))
    scan = Scan(
        patient=patient_digest(header.get("PatientID") or ""),
        frames=frames,
        modality=modality if modality in MODALITIES else "other",
        maker=digest(header.get("Manufacturer")),
        inverted=kind == "MONOCHROME1",
        burnt_in=str(header.get("BurnedInAnnotation")).strip().upper() == "YES",
    )
    syntax = f"DICOM {header.file_meta.TransferSyntaxUID}"
    return Decoded(None, shape, format=syntax, grey_file=kind in GREY, scan=scan), frames


def _check_frames(whole: FileDataset, frames: int) -> None:
    """Refuses a compressed frame that is larger than the header says."""
    if "PixelData" not in whole:
        raise _BrokenError("holds no image, or its pixels are cut off")
    syntax = whole.file_meta.TransferSyntaxUID
    if not syntax.is_compressed or syntax.name.startswith("RLE"):
        return
    from pydicom.encaps import generate_frames

    for frame in generate_frames(whole.PixelData, number_of_frames=frames):
        try:
            with Image.open(io.BytesIO(frame), formats=("JPEG", "JPEG2000")) as image:
                side = image.size
        except Image.DecompressionBombError:
            raise _BrokenError("has a frame larger than its header says") from None
        except UnidentifiedImageError:
            continue  # a form that Pillow does not know
        if side != (whole.Columns, whole.Rows):
            raise _BrokenError("has a frame of another size than its header says")


def _pixels(whole: FileDataset, frames: int) -> Iterator[np.ndarray]:
    from pydicom.pixels.utils import iter_pixels

    syntax = whole.file_meta.TransferSyntaxUID
    try:
        yield from iter_pixels(whole, indices=range(frames))
    except Exception:
        if not syntax.is_compressed:
            raise
        raise _BrokenError(
            f"is compressed as {syntax.name}, and is damaged, or of a kind that the installed "
            "decoder does not read (such as 12 bits in JPEG Extended); unpack it with "
            "`gdcmconv --raw`"
        ) from None


def _image(
    stored: np.ndarray, whole: FileDataset, frame: int, facts: Decoded, rule: Rule
) -> Decoded:
    side = rule.size if rule.size or fits(facts.shape) else PROBE
    if not facts.grey_file:
        return eight_bits(Image.fromarray(_colour(stored, whole)), facts, rule, side)
    try:
        found = to_levels(stored, whole, frame, rule.range)
    except ValueError as error:
        raise _BrokenError(str(error)) from None
    assert facts.scan
    return replace(
        eight_bits(Image.fromarray(found.pixels), facts, rule._replace(range=None), side),
        depth=found.scale,
        low=found.low,
        high=found.high,
        outside=found.outside,
        scan=replace(facts.scan, window=found.window),
    )


def _colour(stored: np.ndarray, whole: FileDataset) -> np.ndarray:
    """(h, w, 3) uint8."""
    if whole.PhotometricInterpretation == PALETTE:
        from pydicom.pixels.processing import apply_color_lut

        stored = apply_color_lut(stored, whole)
        if stored.dtype == np.uint16:
            stored = (stored >> 8).astype(np.uint8)
    if stored.dtype != np.uint8 or stored.ndim != 3 or stored.shape[2] != 3:
        raise _BrokenError("has colour of more than 8 bits, which is not read")
    return np.ascontiguousarray(stored)
