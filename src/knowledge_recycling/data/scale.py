"""Values of any type brought to 0..255: one scale for all images, stated or plain to see."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from knowledge_recycling.arrays import Stored
from knowledge_recycling.data.rows import blocks
from knowledge_recycling.data.words import count
from knowledge_recycling.errors import KRError

Range = tuple[float, float]

ROUNDING = 1e-3
"""How far a float may leave 0..1 and still be taken for a rounding."""


def apply_range(values: np.ndarray, limits: Range) -> tuple[np.ndarray, bool]:
    """Maps low..high to 0..255 and clips what lies outside.

    Args:
        values: any shape, numbers or booleans.
        limits: (low, high).

    Returns:
        uint8 of the same shape, and whether anything was clipped.

    Example:
        >>> apply_range(np.array([0, 2048, 5000]), (0, 4095))
        (array([  0, 128, 255], dtype=uint8), True)
    """
    low, high = limits
    wide = values.astype(np.float64)
    outside = bool((wide < low).any() or (wide > high).any())
    return np.rint(np.clip((wide - low) / (high - low), 0, 1) * 255).astype(np.uint8), outside


def suggest(low: float, high: float) -> str:
    """A setting `data.range` for values that were found to reach from low to high.

    Whole numbers from 0 on get the next power of two: scanners give 12 or 14 bits.

    Example:
        >>> suggest(0, 3071), suggest(-1024, 3071), suggest(0, 0.9)
        ('data.range=0,4095', 'data.range=-1024,3071', 'data.range=0,1')
    """
    if low < 0:
        return f"data.range={_plain(math.floor(low))},{_plain(math.ceil(high))}"
    if high <= 1:
        return "data.range=0,1"
    return f"data.range=0,{2 ** max(8, math.ceil(math.log2(math.floor(high) + 1))) - 1}"


def _plain(number: int) -> str:
    return str(number) if abs(number) < 10**6 else f"{number:g}"


@dataclass
class Seen:
    """What the blocks of one array of images held, so that it can be judged as a whole.

    Attributes:
        images: how many.
        low, high: least and largest value.
        broken: images with NaN or infinite values.
        outside: images with values outside the range.
    """

    images: int = 0
    low: float = math.inf
    high: float = -math.inf
    broken: int = 0
    outside: int = 0

    def convert(self, block: np.ndarray, limits: Range | None) -> np.ndarray:
        """Brings (k, h, w, c) values to uint8 and remembers what they were.

        Args:
            block: uint8, bool, float in 0..1; any numbers where `limits` are stated.
            limits: the stated range.

        Returns:
            (k, h, w, c) uint8; of no use where `judge` refuses.
        """
        self.images += len(block)
        if block.dtype.kind == "f":
            finite = np.isfinite(block).all(axis=(1, 2, 3))
            self.broken += len(block) - int(finite.sum())
            block = np.where(np.isfinite(block), block, 0)
        if block.size:
            self.low = min(self.low, float(block.min()))
            self.high = max(self.high, float(block.max()))
        if block.dtype == np.uint8 and limits is None:
            return block
        limits = limits or (0.0, 1.0)
        flat = block.reshape(len(block), -1)
        beyond = (flat.min(axis=1) < limits[0]) | (flat.max(axis=1) > limits[1])
        self.outside += int(beyond.sum())
        return apply_range(block, limits)[0]

    def judge(self, dtype: np.dtype, limits: Range | None, where: str) -> list[str]:
        """Says what must be stated of the conversion.

        Raises:
            KRError: the values are on no known scale.
        """
        if self.broken:
            raise KRError(
                f"{where}: {self.broken} of {self.images} images hold NaN or infinite values; "
                "remove or repair them"
            )
        if limits:
            return [f"values {limits[0]:g}..{limits[1]:g} scaled to 0..255", *self._clipped()]
        if dtype == np.uint8:
            return []
        if dtype.kind == "b":
            return ["True and False read as 255 and 0"]
        if dtype.kind == "f":
            return self._judge_float(where)
        advice = f"state one range for all with the setting {suggest(self.low, self.high)}"
        if self.low >= 0 and 1 < self.high <= 255:
            advice = "convert with images.astype('uint8')"
        elif self.low >= 0 and self.high == 1:
            advice = "multiply by 255 and convert with astype('uint8')"
        raise KRError(
            f"{where}: expected uint8 values 0..255 or float values 0..1, found {dtype} values "
            f"{self.low:g}..{self.high:g}; {advice}"
        )

    def _judge_float(self, where: str) -> list[str]:
        excess = max(-self.low, self.high - 1)
        if excess > ROUNDING:
            hint = f"state one range for all with the setting {suggest(self.low, self.high)}"
            if self.low >= 0 and 127 < self.high <= 255:
                hint = "divide by 255 first, or use the setting data.range=0,255"
            elif self.low >= -0.05 and self.high <= 1.05:
                hint = "clip them (numpy.clip(images, 0, 1)) if the excess is the trace of a resize"
            raise KRError(
                f"{where}: float images must lie in 0..1, found {self.low:.7g}..{self.high:.7g}, "
                f"outside by {excess:.3g}; {hint}"
            )
        return ["float values 0..1 scaled to 0..255", *self._clipped()]

    def _clipped(self) -> list[str]:
        if not self.outside:
            return []
        return [f"{count(self.outside, 'image')} with values outside that range, clipped"]


def check_contrast(
    images: Stored, limits: Range | None, where: str, said: Sequence[str] = ()
) -> list[str]:
    """Refuses sets that would be black, or that hold nothing; notes dark ones.

    Args:
        images: (n, h, w, c) uint8, all that was read.
        limits: the stated range; what it brings about is not doubted.
        where: what to call the data in a message.
        said: notes on how they were read, one of which may be the reason.

    Returns:
        Notes.

    Raises:
        KRError: all images are constant, or hold only the values 0 and 1.
    """
    peaks = np.concatenate([block.max(axis=(1, 2, 3)) for block in blocks(images)])
    blank = constant(images)
    if blank.all():
        how = f" (they were read thus: {'; '.join(said)})" if said else ""
        raise KRError(
            f"{where}: each image is of one value throughout (constant), so there is nothing to "
            f"learn; look at how the images were made{how}"
        )
    peak = int(peaks.max())
    if limits is None and peak <= 1:
        raise KRError(
            f"{where}: the images hold only the values 0 and 1 of 0..255, so they would be black; "
            "multiply them by 255, or use the setting data.range=0,1"
        )
    if limits is None and peak < 64:
        return [
            f"the largest value is {peak} of 255, so all images are dark; the setting "
            f"data.range=0,{peak} stretches them"
        ]
    faint = int(((peaks <= 1) & ~blank).sum()) if limits is None else 0
    return [f"{count(faint, 'image')} with the values 0 and 1 alone, black to the eye"] * (
        faint > 0
    )


def constant(images: Stored) -> np.ndarray:
    """Which images (n, h, w, c) are of one value, or one colour, throughout: (n,) bool."""
    return np.concatenate([(b == b[:, :1, :1]).all(axis=(1, 2, 3)) for b in blocks(images)])
