"""What a file is that no reader opens, so that what is left out can be named."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from knowledge_recycling.data.files import open_regular
from knowledge_recycling.data.words import count, shown
from knowledge_recycling.errors import KRError

BY_SUFFIX = {
    ".dcm": "DICOM",
    ".dicom": "DICOM",
    ".ima": "DICOM",
    ".nii": "NIfTI",
    ".nii.gz": "NIfTI",
    ".heic": "HEIC",
    ".heif": "HEIC",
    ".pdf": "PDF",
    ".mha": "MetaImage",
    ".mhd": "MetaImage",
    ".nrrd": "NRRD",
    ".svs": "whole-slide",
    ".ndpi": "whole-slide",
    ".dng": "raw camera",
    ".cr2": "raw camera",
    ".nef": "raw camera",
    ".psd": "Photoshop",
    ".eps": "EPS",
    ".svg": "SVG",
    ".h5": "HDF5",
    ".hdf5": "HDF5",
    ".mat": "MATLAB",
    ".npy": "NumPy",
    ".npz": "NumPy",
    ".zip": "zip",
}
BY_MAGIC = (
    (128, b"DICM", "DICOM"),
    (0, b"%PDF", "PDF"),
    (4, b"ftypheic", "HEIC"),
    (4, b"ftypheix", "HEIC"),
    (4, b"ftypmif1", "HEIC"),
    (344, b"n+1\0", "NIfTI"),
    (0, b"NRRD0", "NRRD"),
    (0, b"\x89HDF\r\n\x1a\n", "HDF5"),
    (0, b"MATLAB 5.0", "MATLAB"),
    (0, b"\x93NUMPY", "NumPy"),
    (0, b"PK\x03\x04", "zip"),
    (0, b"\x80\x02", "pickle"),
    (0, b"\x80\x03", "pickle"),
    (0, b"\x80\x04", "pickle"),
    (0, b"\x80\x05", "pickle"),
    (0, b"\x1f\x8b", "gzip"),
    (0, b"\x89PNG", "PNG"),
    (0, b"\xff\xd8\xff", "JPEG"),
)
NIFTI = (
    "is a NIfTI volume, which is not read, since its slices have no labels of their own; save the "
    "slices that show what the label says as PNG"
)
PICTURES = frozenset(BY_SUFFIX.values()) - {"PDF", "zip", "SVG", "EPS"}
"""Kinds that hold images, which a class must not lose without a word."""


def kind_of_name(name: str) -> str:
    """The kind by suffix, else the suffix itself.

    Example:
        >>> kind_of_name("a.nii.gz"), kind_of_name("a.TXT"), kind_of_name("IM0001")
        ('NIfTI', '.txt', 'no suffix')
    """
    lower = name.lower()
    suffix = ".nii.gz" if lower.endswith(".nii.gz") else Path(lower).suffix
    return BY_SUFFIX.get(suffix) or suffix[:12] or "no suffix"


def kind_of_bytes(head: bytes) -> str | None:
    """The kind by the first 512 bytes; None where they say nothing."""
    return next((kind for at, magic, kind in BY_MAGIC if head[at:].startswith(magic)), None)


def sniff(path: Path) -> str | None:
    """The kind of a file by its first bytes; None where it cannot be told or read."""
    try:
        with open_regular(path) as stream:
            return kind_of_bytes(stream.read(512))
    except (KRError, OSError):
        return None


def left_out(found: Iterable[tuple[str, str]]) -> list[str]:
    """One sentence for each kind of file left out.

    Args:
        found: (class, kind) of each file, the class empty for files beside the class folders.

    Example:
        >>> left_out([("a", "PDF"), ("a", "PDF"), ("b", "PDF")])
        ['3 PDF files were left out (2 of class a, 1 of class b)']
    """
    by_kind: dict[str, Counter[str]] = {}
    for label, kind in found:
        by_kind.setdefault(kind, Counter())[label] += 1
    return [_sentence(kind, classes) for kind, classes in sorted(by_kind.items())]


def _sentence(kind: str, classes: Counter[str]) -> str:
    total = sum(classes.values())
    where = ", ".join(
        f"{n} of class {shown(label)}" if label else f"{n} beside the class folders"
        for label, n in sorted(classes.items())
    )
    noun = "file without a suffix" if kind == "no suffix" else f"{shown(kind)} file"
    plural = noun.replace("file", "files")
    return f"{count(total, noun, plural)} {'was' if total == 1 else 'were'} left out ({where})"
