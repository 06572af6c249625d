"""Reads one image file of any kind that is read."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from knowledge_recycling.data.assemble import stack
from knowledge_recycling.data.decode import Decoded, Rule, decode
from knowledge_recycling.data.dicom import read_dicom
from knowledge_recycling.data.dicom_levels import UNSCALED
from knowledge_recycling.data.kinds import NIFTI, kind_of_name, sniff
from knowledge_recycling.data.words import shown
from knowledge_recycling.errors import KRError

LOW_16_BIT = 32768
"""16-bit files that stay below use less than half of their range."""


def read_image(path: Path, rule: Rule, look: bool = True) -> list[Decoded]:
    """The images in a file.

    Args:
        path: the file; it is DICOM by its name or by its first bytes.
        rule: how it is read.
        look: see `decode.decode`.

    Returns:
        One image, or one per frame of a DICOM file; a broken one where it cannot be read.

    Raises:
        KRError: the file may not be read, is no regular file, or is a DICOM file and pydicom is
            not installed.
    """
    kinds = (kind_of_name(path.name), sniff(path))
    if "NIfTI" in kinds:
        return [Decoded(None, (0, 0), error=NIFTI)]
    if "DICOM" in kinds:
        return read_dicom(path, rule, look)
    return [decode(path, rule, look)]


def read_alone(path: Path, rule: Rule) -> np.ndarray:
    """The pixels of a file by itself, without a set that it must agree with.

    Args:
        path: the file.
        rule: how it is read; its size is set.

    Returns:
        (n, s, s, c) uint8, c in {1, 3}; n above 1 for a DICOM file of several frames.

    Raises:
        KRError: it cannot be read, or its pixels would not mean what those of training did.
    """
    found = read_image(path, rule)
    for image in found:
        if reason := _unlike_training(image, rule):
            raise KRError(f"{shown(str(path))}: {reason}")
    return stack([image.pixels for image in found if image.pixels is not None])


def _unlike_training(image: Decoded, rule: Rule) -> str | None:
    """Why a network that was trained under a rule must not see an image; None where it may."""
    if image.error:
        return f"cannot be read: {shown(image.error)}"
    if image.depth == UNSCALED:
        return (
            "no window says what to show of its values, and no range was stated when the network "
            "was trained"
        )
    if image.scan:
        return None  # the rest is told by its window or by the stated range, as in training
    if image.outside:
        return f"holds values outside the range of training, {rule.range}"
    if image.pages > 1:
        return f"holds {image.pages} pages; give each as an image of its own"
    high = image.high if rule.range is None else None
    if image.depth != "8-bit" and high is not None and high < LOW_16_BIT:
        return (
            f"has 16 bits and no value above {high:g}, so it would come out dark; save it with "
            "8 bits, on the scale of the training images"
        )
    return None
