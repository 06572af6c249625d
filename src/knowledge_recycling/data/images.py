"""Reads one image file of any kind that is read."""

from __future__ import annotations

from pathlib import Path

from knowledge_recycling.data.decode import Decoded, Rule, decode
from knowledge_recycling.data.dicom import read_dicom
from knowledge_recycling.data.kinds import NIFTI, kind_of_name, sniff


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
