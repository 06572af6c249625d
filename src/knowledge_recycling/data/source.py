"""Opens whatever `data.source` names."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import numpy as np
from sklearn.datasets import load_digits

from knowledge_recycling.config import Data
from knowledge_recycling.data import cache, checks, hub, manifest, medmnist, resize, tables
from knowledge_recycling.data.cache import Cache
from knowledge_recycling.data.files import Stamp, status
from knowledge_recycling.data.folder import read_folder
from knowledge_recycling.data.listing import list_folder
from knowledge_recycling.data.location import Kind, Place, find
from knowledge_recycling.data.npz import read_npz
from knowledge_recycling.data.patients import find_table
from knowledge_recycling.data.rows import Rows
from knowledge_recycling.data.scale import check_contrast
from knowledge_recycling.data.types import OPEN, Source
from knowledge_recycling.data.words import shown
from knowledge_recycling.errors import KRError
from knowledge_recycling.storage import files
from knowledge_recycling.storage.files import digest

DECODED = ("folder", "manifest", "tables", "hub")
"""Kinds of sources whose images are decoded one by one, which a cache saves."""

_given: dict[Data, Source] = {}


@contextlib.contextmanager
def given(config: Data, source: Source) -> Iterator[None]:
    """Meanwhile `open_source` returns this source for this configuration, and reads nothing.

    For work on a machine where the files are not: what was read elsewhere is brought along.
    """
    _given[config] = source
    try:
        yield
    finally:
        del _given[config]


def open_source(config: Data) -> Source:
    """Reads, checks and, where `size` is set, resizes the data that a configuration names.

    The last two sources are kept in the process, since every stage asks again. What has changed
    on disk is read anew.

    Args:
        config: `source` is `digits`, a path (npz file, image folder, CSV manifest, Parquet file,
            folder of tables), `hf:owner/name` or a MedMNIST name; a bare `digits` or MedMNIST
            name is never a path (write `./digits` for that).

    Returns:
        The source; its arrays are read-only.

    Raises:
        KRError: says what is wrong with the data, where, and what to do.

    Example:
        >>> open_source(Data(source="digits")).images.shape
        (1797, 8, 8, 1)
    """
    if config in _given:
        return _given[config]
    if config.size is not None:
        resize.check_square_size(config.size)
    place = find(config.source)
    _check_fields(config, place.kind)
    store = cache.current() if place.kind in DECODED else None
    plain = config.model_copy(update={"canaries": None})
    written = store.stamp() if store else ""
    source = _read(plain, place, _stamp(config, place), store, written)
    if config.canaries is None:
        return source
    path, seen = Path(config.canaries), Stamp()
    _take_up(seen, [path])
    return _with_canaries(source, path, seen.hexdigest())


def _check_fields(config: Data, kind: Kind) -> None:
    """Refuses settings that the source has no use for."""
    if config.groups and kind != "folder":
        raise KRError(
            f"data.groups: is for image folders, and {config.source} is none; an npz file holds "
            "groups in the arrays {split}_groups or groups, a table in its column patient"
        )
    for field in ("image_column", "label_column", "patient_column"):
        if getattr(config, field) and kind not in ("manifest", "tables", "hub"):
            raise KRError(f"data.{field}: is for tables, and {config.source} is none")


def _stamp(config: Data, place: Place) -> str:
    """Other once a file that is read has changed."""
    path = place.path
    seen = Stamp()
    read = []
    match place.kind:
        case "folder":
            seen = list_folder(path).stamp
            read += [find_table(path, config.groups)] if config.groups else []
        case "manifest":
            manifest.stamp(path, config, seen)
            read.append(path)
        case "tables":
            read += tables.files_of(path)
        case "npz":
            read.append(path)
    _take_up(seen, read)
    return seen.hexdigest()


def _take_up(seen: Stamp, read: Iterable[Path]) -> None:
    for file in read:
        if found := status(file):
            seen.add(file.name, found)


@lru_cache(maxsize=2)
def _read(config: Data, place: Place, stamp: str, store: Cache | None, written: str) -> Source:
    """Reads a source without canaries, or what a cache holds of it.

    Args:
        config: of the data.
        place: where the source lies.
        stamp: of its files.
        store: where decoded images are kept.
        written: of what is kept there; it is looked at anew once this differs.
    """
    key = _key(config, place, stamp)
    source = cache.load(store, key) if store else None
    if source is None:
        source = _read_files(config, place)
        if store and store.build:
            cache.keep(store, key, source)
    for array in (source.images, source.labels, source.groups, source.assigned):
        if isinstance(array, np.ndarray):
            array.flags.writeable = False
    return source


def _key(config: Data, place: Place, stamp: str) -> str:
    """Other for other pixels: of the files, of what is done to them, not of where they lie."""
    elsewhere = {"source", "groups", "canaries", "val_fraction", "test_fraction"}
    settings = config.model_dump(mode="json", exclude=elsewhere)
    name = place.path.name or config.source
    return digest([place.kind, name, stamp, settings, config.groups is None])


def _read_files(config: Data, place: Place) -> Source:
    path = place.path
    match place.kind:
        case "digits":
            source = _digits(config)
        case "hub":
            source = hub.read_hub(config)
        case "folder":
            source = read_folder(path, config)
        case "manifest":
            source = manifest.read_manifest(path, config)
        case "tables":
            source = tables.read_tables(path, config)
        case "npz":
            source = _with_names(read_npz(path, config), config, path)
    where = shown(str(path) if path.parts else config.source)
    source = _checked(source, config, where)
    checks.check_enough(source.labels, source.assigned, source.class_names, source.groups, where)
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


@lru_cache(maxsize=1)
def _with_canaries(source: Source, path: Path, stamp: str) -> Source:
    """Appends the records of a file to train; a unit of theirs counts as one patient.

    Args:
        source: without them.
        path: the file.
        stamp: of it.
    """
    images, labels, unit = _canaries(source, path)
    groups = source.groups
    if groups is not None:
        groups = np.concatenate([groups, groups.max() + 1 + unit])
    return replace(
        source,
        images=Rows([np.asarray(source.images), images]),
        labels=np.concatenate([source.labels, labels]),
        groups=groups,
        assigned=np.concatenate([source.assigned, np.zeros(len(labels), np.int8)]),
        files=None,
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
