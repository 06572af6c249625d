"""Synthetic DICOM files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import UID, ExplicitVRLittleEndian, SecondaryCaptureImageStorage, generate_uid


def dataset(pixels: np.ndarray, syntax: UID = ExplicitVRLittleEndian, **fields: Any) -> FileDataset:
    """An image, (h, w), (frames, h, w) or (h, w, 3); `fields` replace what is set here."""
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = syntax
    meta.MediaStorageSOPClassUID = SecondaryCaptureImageStorage
    meta.MediaStorageSOPInstanceUID = generate_uid()
    found = FileDataset("", {}, file_meta=meta, preamble=bytes(128))
    colour = pixels.ndim == 3 and pixels.shape[2] == 3
    found.SOPClassUID = meta.MediaStorageSOPClassUID
    found.SOPInstanceUID = meta.MediaStorageSOPInstanceUID
    found.Modality = "DX"
    found.Rows, found.Columns = pixels.shape[:2] if colour or pixels.ndim == 2 else pixels.shape[1:]
    if pixels.ndim == 3 and not colour:
        found.NumberOfFrames = len(pixels)
    found.SamplesPerPixel = 3 if colour else 1
    found.PhotometricInterpretation = "RGB" if colour else "MONOCHROME2"
    if colour:
        found.PlanarConfiguration = 0
    found.BitsAllocated = found.BitsStored = 8 * pixels.dtype.itemsize
    found.HighBit = found.BitsStored - 1
    found.PixelRepresentation = int(pixels.dtype.kind == "i")
    found.PixelData = pixels.tobytes()
    for name, value in fields.items():
        setattr(found, name, value)
    return found


def write(
    path: Path, pixels: np.ndarray, syntax: UID = ExplicitVRLittleEndian, **fields: Any
) -> Path:
    """Writes an image; see `dataset`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    dataset(pixels, syntax, **fields).save_as(path)
    return path


def bars(label: int, seed: int, side: int = 16, high: int = 255) -> np.ndarray:
    """Noise with a bright bar that is upright in class 0 and lies in class 1: (side, side) int."""
    rng = np.random.default_rng(seed)
    image = rng.integers(0, high // 3, (side, side))
    third = side // 3
    image[:, third : 2 * third] += high // 2
    return image.T if label else image


def folder(root: Path, n: int = 8, classes: tuple[str, ...] = ("a", "b"), **fields: Any) -> Path:
    """`class/i.dcm`, 8 bits, each file of a patient of its own: `Patient-CLASS-i`."""
    for label, name in enumerate(classes):
        for i in range(n):
            pixels = bars(label, 100 * label + i).astype(np.uint8)
            patient = {"PatientID": f"Patient-{name}-{i}", **fields}
            write(root / name / f"{i}.dcm", pixels, **patient)
    return root
