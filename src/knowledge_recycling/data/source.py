"""Opens whatever `data.source` names."""

from __future__ import annotations

import difflib
import os
import stat
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import numpy as np
from sklearn.datasets import load_digits

from knowledge_recycling.config import Data
from knowledge_recycling.data import checks, manifest, medmnist, resize
from knowledge_recycling.data.files import SPECIAL, status
from knowledge_recycling.data.folder import read_folder
from knowledge_recycling.data.listing import list_folder
from knowledge_recycling.data.names import check_path_name
from knowledge_recycling.data.npz import read_npz
from knowledge_recycling.data.patients import find_table
from knowledge_recycling.data.scale import check_contrast
from knowledge_recycling.data.types import OPEN, Source
from knowledge_recycling.data.words import shown
from knowledge_recycling.errors import KRError
from knowledge_recycling.storage import files


def open_source(config: Data) -> Source:
    """Reads, checks and, where `size` is set, resizes the data that a configuration names.

    The last two sources are kept in the process, since every stage asks again. What has changed
    on disk is read anew.

    Args:
        config: `source` is `digits`, a path (npz file or image folder) or a MedMNIST name; a bare
            `digits` or MedMNIST name is never a path (write `./digits` for that).

    Returns:
        The source; its arrays are read-only.

    Raises:
        KRError: says what is wrong with the data, where, and what to do.

    Example:
        >>> open_source(Data(source="digits")).images.shape
        (1797, 8, 8, 1)
    """
    if config.size is not None:
        resize.check_square_size(config.size)
    path = _locate(config.source)
    folder = path is not None and path.is_dir()
    table = path is not None and path.suffix.lower() in manifest.SUFFIXES and not folder
    _check_fields(config, folder, table)
    # abspath, not resolve: a link keeps the name that the user knows.
    absolute = path and Path(os.path.abspath(path))
    tables = [find_table(path, config.groups)] if path and config.groups else []
    tables += [Path(config.canaries)] if config.canaries else []
    stamp = _stamp(path, folder, tables)
    return _read(
        config, absolute, (*stamp, *(manifest.stamp(path, config) if path and table else ()))
    )


def _check_fields(config: Data, folder: bool, table: bool) -> None:
    """Refuses settings that the source has no use for."""
    if config.groups and not folder:
        raise KRError(
            f"data.groups: is for image folders, and {config.source} is none; an npz file holds "
            "groups in the arrays {split}_groups or groups, a table in its column patient"
        )
    for field in ("image_column", "label_column", "patient_column"):
        if getattr(config, field) and not table:
            raise KRError(f"data.{field}: is for tables, and {config.source} is none")


def _stamp(path: Path | None, folder: bool, tables: list[Path]) -> tuple[int, int, int]:
    """Number, latest change and total size of the files read; other once they have changed."""
    number, latest, size = list_folder(path).stamp if path and folder else (0, 0, 0)
    for file in [path, *tables] if path and not folder else tables:
        found = status(file)
        if found is not None:
            number, size = number + 1, size + found.st_size
            latest = max(latest, found.st_mtime_ns)
    return number, latest, size


def _locate(source: str) -> Path | None:
    """The path of a source, fetched where it is a MedMNIST name; None for digits."""
    if source == "digits":
        return None
    if name := medmnist.parse_name(source):
        return medmnist.fetch(*name)
    if not source:
        raise KRError("data.source: is empty; give digits, a path or a MedMNIST name")
    try:
        path = Path(source).expanduser()
    except RuntimeError:
        raise KRError(f"data.source: {shown(source)}: the home folder is not known") from None
    check_path_name(os.path.abspath(path), "data.source")
    found = status(path)
    if found is None:
        raise KRError(f"data.source: {shown(source)[:300]} does not exist{_suggest(path)}")
    if not stat.S_ISREG(found.st_mode) and not stat.S_ISDIR(found.st_mode):
        raise KRError(f"data.source: {shown(source)} {SPECIAL}")
    return path


def _suggest(path: Path) -> str:
    parent = path.parent
    try:
        siblings = os.listdir(parent)
    except OSError:
        siblings = []
    near = difflib.get_close_matches(path.name, siblings, n=3)
    found = [shown(str(parent / name)) for name in near]
    if parent == Path():
        known = ["digits", *medmnist.table()]
        found += difflib.get_close_matches(path.name.lower(), known, n=3)
    if found:
        return f"; did you mean {' or '.join(found)}?"
    return (
        "; give digits, an npz file, an image folder, a CSV manifest or a MedMNIST name such as "
        "breastmnist"
    )


@lru_cache(maxsize=2)
def _read(config: Data, path: Path | None, stamp: tuple[int, ...]) -> Source:
    if path is None:
        source = _digits(config)
    elif path.is_dir():
        source = read_folder(path, config)
    elif path.suffix.lower() in manifest.SUFFIXES:
        source = manifest.read_manifest(path, config)
    else:
        source = _with_names(read_npz(path, config), config, path)
    where = shown(str(path or source.name))
    source = _checked(source, config, where)
    if config.canaries:
        source = _with_canaries(source, Path(config.canaries))
    checks.check_enough(source.labels, source.assigned, source.class_names, source.groups, where)
    for array in (source.images, source.labels, source.groups, source.assigned):
        if array is not None:
            array.flags.writeable = False
    return source


def _digits(config: Data) -> Source:
    bunch = load_digits()
    images = np.rint(bunch.images[..., np.newaxis] * (255 / 16)).astype(np.uint8)
    if config.range:
        raise KRError("data.range: is for images of your own; digits come with a known range")
    side = config.size or images.shape[1]
    return Source(
        images=resize.color_stack(resize.resize_stack(images, side), config.color),
        labels=bunch.target.astype(np.int64),
        groups=None,
        assigned=np.full(len(bunch.target), OPEN, np.int8),
        class_names=tuple(map(str, bunch.target_names)),
        notes=("values 0..16 scaled to 0..255", *_some(resize.resize_note({(8, 8)}, side))),
        name="digits",
    )


def _some(note: str | None) -> list[str]:
    return [note] if note else []


def _with_names(source: Source, config: Data, path: Path) -> Source:
    """Takes MedMNIST's class names where the file goes by a MedMNIST name, and says so."""
    plain = tuple(map(str, range(len(source.class_names))))
    names = medmnist.class_names(path.stem)
    if source.class_names == plain and names and len(names) == len(plain):
        note = () if names == plain else ("class names are MedMNIST's, by the file's name",)
        source = replace(source, class_names=names, notes=(*source.notes, *note))
    asked = medmnist.parse_name(config.source)
    if asked and not medmnist.is_official(path, *asked):
        note = ("the file in the MedMNIST cache has not the published checksum",)
        source = replace(source, notes=(*source.notes, *note))
    return source


def _with_canaries(source: Source, path: Path) -> Source:
    """Appends the records of a file to train; a unit of theirs counts as one patient."""
    images, labels, unit = _canaries(source, path)
    groups = source.groups
    if groups is not None:
        groups = np.concatenate([groups, groups.max() + 1 + unit])
    return replace(
        source,
        images=np.concatenate([source.images, images]),
        labels=np.concatenate([source.labels, labels]),
        groups=groups,
        assigned=np.concatenate([source.assigned, np.zeros(len(labels), np.int8)]),
    )


def _canaries(source: Source, path: Path) -> list[np.ndarray]:
    """Images, labels and units of a file that the shadows wrote.

    Raises:
        KRError: it cannot be read, or does not belong to the source.
    """
    found = files.read_npz(path)
    arrays = [found.get(name, np.empty(0)) for name in ("images", "labels", "unit")]
    images, labels, unit = arrays
    fits = (
        images.dtype == np.uint8
        and images.shape[1:] == source.images.shape[1:]
        and labels.shape == unit.shape == images.shape[:1]
        and labels.dtype.kind == unit.dtype.kind == "i"
        and len(labels) > 0
        and 0 <= labels.min() <= labels.max() < len(source.class_names)
        and unit.min() >= 0
    )
    if not fits:
        raise KRError(f"{shown(str(path))}: holds no canaries for these data")
    return arrays


def _checked(source: Source, config: Data, where: str) -> Source:
    _, height, width, _ = source.images.shape
    resize.check_shape(height, width, where)
    notes = check_contrast(source.images, config.range, where, source.notes)
    return replace(source, notes=(*source.notes, *notes))
