"""Arrays from Python: validated and kept in a file, so that every stage reads the same bytes."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike

from knowledge_recycling.data import checks
from knowledge_recycling.data.scale import Range
from knowledge_recycling.errors import KRError
from knowledge_recycling.storage.files import atomic


def save_arrays(
    path: Path,
    images: ArrayLike,
    labels: ArrayLike,
    groups: ArrayLike | None = None,
    *,
    limits: Range | None = None,
) -> Path:
    """Validates labelled images and writes them as an npz file that `open_source` reads.

    Args:
        path: file to write, replaced where it exists.
        images: (n, h, w), (n, h, w, 1) or (n, h, w, 3); uint8 0..255, bool, or float 0..1.
        labels: (n,) or (n, 1), whole numbers 0..C-1 or class names.
        groups: (n,) whole numbers or strings, the patient of each image; kept as codes only.
        limits: the stated range (`data.range`) that the file will be read with; images may then
            be any numbers, and are kept as they are.

    Returns:
        The path.

    Raises:
        KRError: says which array is wrong and what to do, or why it cannot be written.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "cells.npz"
        >>> save_arrays(path, np.zeros((2, 8, 8)), ["sick", "healthy"]).name
        'cells.npz'
    """
    return write_arrays(path, validated(images, labels, groups, limits=limits))


def write_arrays(path: Path, content: Mapping[str, np.ndarray]) -> Path:
    """Writes what `validated` returned.

    Raises:
        KRError: it cannot be written.
    """
    try:
        with atomic(path) as temporary, temporary.open("wb") as stream:
            np.savez(stream, **content)  # type: ignore[arg-type]
    except OSError as error:
        raise KRError(f"{path}: cannot be written ({error.strerror or error})") from error
    return path


def validated(
    images: ArrayLike,
    labels: ArrayLike,
    groups: ArrayLike | None = None,
    *,
    limits: Range | None = None,
) -> dict[str, np.ndarray]:
    """The arrays as `save_arrays` writes them: `images`, `labels`, `class_names`, `groups`.

    Raises:
        KRError: says which array is wrong and what to do.
    """
    pixels = _array(images, "images")
    scaled, _ = checks.as_images(pixels, "images", limits)
    classes = checks.as_vector(_plain_strings(_array(labels, "labels")), "labels")
    n = len(pixels)
    if n != len(classes):
        raise KRError(f"{n} images but {len(classes)} labels; one for each is needed")
    codes, names, _ = checks.as_codes(classes, "labels")
    kept = pixels if limits else scaled
    content = {"images": kept, "labels": codes, "class_names": np.array(names)}
    if groups is not None:
        plain = _plain_strings(_array(groups, "groups"))
        content["groups"] = checks.as_groups(plain, n, "groups")
    return content


def _array(values: ArrayLike, where: str) -> np.ndarray:
    try:
        return np.asarray(values)
    except ValueError:  # rows of different lengths
        raise KRError(
            f"{where}: cannot be made one array (its parts differ in shape); give a NumPy array"
        ) from None


def _plain_strings(values: np.ndarray) -> np.ndarray:
    """A column of strings as pandas gives it (objects) becomes an array of strings."""
    if values.dtype.kind == "O" and all(isinstance(value, str) for value in values.flat):
        return values.astype(np.str_)
    return values
