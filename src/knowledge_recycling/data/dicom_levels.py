"""From the stored values of a DICOM image to 0..255, as a viewer shows it.

DICOM PS3.3 C.7.6.3 (pixels), C.11.1 (modality), C.11.2 (window and table of values of interest).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from knowledge_recycling.data.scale import Range, apply_range
from knowledge_recycling.data.scans import digest

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

STATED, WINDOWED, EIGHT_BITS, UNSCALED = "stated", "windowed", "8-bit", "without a window"


class Window(NamedTuple):
    """Centre and width, in modality values, and the function that lies over them."""

    center: float
    width: float
    function: str = "LINEAR"


class Levels(NamedTuple):
    """A grey image on the scale 0..255.

    Attributes:
        pixels: (h, w) uint8.
        scale: where 0 and 255 come from: `STATED`, `WINDOWED`, `EIGHT_BITS` or `UNSCALED`.
        low, high: of the modality values, such as Hounsfield units.
        outside: whether values outside a stated range were clipped.
        window: digest of the window or table; empty where there is none.
    """

    pixels: np.ndarray
    scale: str
    low: float
    high: float
    outside: bool = False
    window: str = ""


def apply_window(values: np.ndarray, window: Window) -> np.ndarray:
    """Maps values to 0..1 through a window of centre c and width w (PS3.3 C.11.2.1.2, C.11.2.1.3).

    LINEAR: (x - (c - 0.5)) / (w - 1) + 0.5, clipped; LINEAR_EXACT: (x - c) / w + 0.5, clipped;
    SIGMOID: 1 / (1 + exp(-4 (x - c) / w)).

    Raises:
        ValueError: the width is too small, or the function is none of these.

    Example:
        >>> apply_window(np.array([0.0, 50.0, 100.0]), Window(50, 100, "LINEAR_EXACT")).tolist()
        [0.0, 0.5, 1.0]
    """
    center, width, function = window
    if not np.isfinite([center, width]).all() or width < (1 if function == "LINEAR" else 1e-9):
        raise ValueError("its window is no window")
    if function == "SIGMOID":
        return 1 / (1 + np.exp(np.clip(-4 * (values - center) / width, -700, 700)))
    if function == "LINEAR_EXACT":
        return np.clip((values - center) / width + 0.5, 0, 1)
    if function != "LINEAR":
        raise ValueError("its window has a function that is not known")
    if width == 1:
        return (values > center - 0.5).astype(float)
    return np.clip((values - (center - 0.5)) / (width - 1) + 0.5, 0, 1)


def to_levels(stored: np.ndarray, header: Dataset, frame: int, limits: Range | None) -> Levels:
    """Modality values by table or slope and intercept, then range, window or table, then polarity.

    Args:
        stored: (h, w) whole numbers, as they are in the file.
        header: what the file says beside its pixels.
        frame: number of the frame, from 0.
        limits: the stated range, in modality values; it goes before any window.

    Returns:
        The image; where its scale is `UNSCALED`, its pixels are of no use.

    Raises:
        ValueError: what the file says cannot be applied.
    """
    from pydicom.pixels.processing import apply_modality_lut

    macro = _of_frame(header, frame, "PixelValueTransformationSequence")
    wide = np.int64 if stored.dtype.itemsize > 2 else np.int32  # tables subtract their first value
    values = apply_modality_lut(stored.astype(wide), macro)
    if not np.isfinite(values).all():
        raise ValueError("its values are not finite")
    found = _scaled(values, header, frame, limits)
    if header.PhotometricInterpretation == "MONOCHROME1":
        found = found._replace(pixels=255 - found.pixels)
    return found


def _scaled(values: np.ndarray, header: Dataset, frame: int, limits: Range | None) -> Levels:
    low, high = float(values.min()), float(values.max())
    if limits:
        pixels, outside = apply_range(values, limits)
        return Levels(pixels, STATED, low, high, outside)
    interest = _of_frame(header, frame, "FrameVOILUTSequence")
    if interest.get("VOILUTSequence"):
        return _through_table(values, interest, low, high)
    if window := _window(interest):
        shown = np.rint(apply_window(values, window) * 255).astype(np.uint8)
        return Levels(shown, WINDOWED, low, high, window=digest(window))
    bits = int(header.BitsStored)
    if bits <= 8 and low >= 0 and high <= 2**bits - 1:
        return Levels(apply_range(values, (0.0, 2.0**bits - 1))[0], EIGHT_BITS, low, high)
    return Levels(np.zeros(values.shape, np.uint8), UNSCALED, low, high)


def _through_table(values: np.ndarray, interest: Dataset, low: float, high: float) -> Levels:
    from pydicom.pixels.processing import apply_voi

    table = interest.VOILUTSequence[0]
    looked_up = apply_voi(np.rint(values).astype(np.int64), interest)
    shown, _ = apply_range(looked_up, (0.0, 2.0 ** int(table.LUTDescriptor[2]) - 1))
    name = digest((table.LUTDescriptor, table.LUTData))
    return Levels(shown, WINDOWED, low, high, window=name)


def _window(header: Dataset) -> Window | None:
    """The first window of a header."""
    center, width = (_first(header.get(key)) for key in ("WindowCenter", "WindowWidth"))
    if center is None or width is None:
        return None
    return Window(
        float(center), float(width), str(header.get("VOILUTFunction") or "LINEAR").upper()
    )


def _first(value: Any) -> Any:
    if value is None or isinstance(value, (str, float, int)):
        return None if value == "" else value
    return next(iter(value), None)


def _of_frame(header: Dataset, frame: int, name: str) -> Dataset:
    """What holds for a frame: its own functional group, else the shared one, else the header."""
    own = header.get("PerFrameFunctionalGroupsSequence") or []
    shared = header.get("SharedFunctionalGroupsSequence") or []
    for group in (*own[frame : frame + 1], *shared[:1]):
        if found := group.get(name):
            return found[0]
    return header
