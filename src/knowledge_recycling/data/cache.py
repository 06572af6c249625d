"""Decoded images in a folder: decoded once, mapped afterwards, so that they need not fit in memory.

`images.npy` holds the pixels. `about.json` is written after it and holds all else, what the images
were decoded from, and a digest of everything: what a kill left, what has changed since and what is
of other files or settings is not used.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
from pydantic import BaseModel, ConfigDict, ValidationError

from knowledge_recycling.data.files import status
from knowledge_recycling.data.types import Source
from knowledge_recycling.errors import KRError
from knowledge_recycling.storage.files import (
    atomic,
    digest,
    disk_full_explained,
    read_table,
    write_json,
)
from knowledge_recycling.training.progress import say

IMAGES, ABOUT = "images.npy", "about.json"
HEADER = 128
"""Bytes before the pixels."""


@dataclass(frozen=True)
class Cache:
    """Where decoded images are kept.

    Attributes:
        folder: the folder; its parent is there.
        build: whether it may be written to.
    """

    folder: Path
    build: bool

    def stamp(self) -> str:
        """Other once the pixels were written anew, or changed by somebody."""
        found = status(self.folder / IMAGES)
        return f"{found.st_ino} {found.st_size} {found.st_mtime_ns}" if found else ""


_used: list[Cache] = []


@contextmanager
def cached(folder: Path, *, build: bool = True) -> Iterator[None]:
    """Meanwhile `open_source` keeps the images that it decodes from files here, and maps them.

    Within another such context it changes nothing: the pipelines of a run have their images in
    common.

    Args:
        folder: made where it is missing; its parent is there.
        build: whether images may be written; else those that are there are used.
    """
    _used.append(_used[-1] if _used else Cache(folder, build))
    try:
        yield
    finally:
        _used.pop()


def current() -> Cache | None:
    """The cache in use, if any."""
    return _used[-1] if _used else None


class About(BaseModel):
    """What `about.json` says."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    key: str
    """Of the files and settings that the images were decoded from."""
    sha256: str
    """Of all that is kept, see `_digest`."""
    labels: list[int]
    groups: list[int] | None
    assigned: list[int]
    class_names: list[str]
    notes: list[str]
    name: str
    files: list[str] | None


def load(cache: Cache, key: str) -> Source | None:
    """The source that was kept under a key.

    Args:
        cache: where.
        key: of files and settings.

    Returns:
        The source, its images mapped and read-only; None where there is none, where it is of
        another key, and, said aloud, where it is damaged.
    """
    try:
        about = About.model_validate(read_table(cache.folder / ABOUT))
        if about.key != key:
            return None
        source = Source(
            images=_mapped(cache.folder / IMAGES),
            labels=np.array(about.labels, np.int64),
            groups=None if about.groups is None else np.array(about.groups, np.int64),
            assigned=np.array(about.assigned, np.int8),
            class_names=tuple(about.class_names),
            notes=tuple(about.notes),
            name=about.name,
            files=None if about.files is None else tuple(about.files),
        )
        if _digest(source, key) == about.sha256:
            return source
    except (KRError, OSError, EOFError, ValueError, OverflowError, ValidationError):
        if not (cache.folder / ABOUT).exists():
            return None
    say(f"{cache.folder}: was damaged; the images are decoded again")
    return None


def keep(cache: Cache, key: str, source: Source) -> None:
    """Writes what belongs to the images that `spooled` has written."""
    about = About(
        key=key,
        sha256=_digest(source, key),
        labels=source.labels.tolist(),
        groups=None if source.groups is None else source.groups.tolist(),
        assigned=source.assigned.tolist(),
        class_names=list(source.class_names),
        notes=list(source.notes),
        name=source.name,
        files=None if source.files is None else list(source.files),
    )
    with disk_full_explained(cache.folder):
        write_json(cache.folder / ABOUT, about.model_dump())


def _digest(source: Source, key: str) -> str:
    return digest([key, source.sha256, source.class_names, source.notes, source.name, source.files])


def _mapped(path: Path) -> np.ndarray:
    images = np.load(path, mmap_mode="r", allow_pickle=False)
    if images.dtype != np.uint8 or images.ndim != 4:
        raise ValueError(path)
    return np.asarray(images)


class Spool:
    """Takes decoded images one by one and makes one array of them: n, h, w, c uint8.

    Grey images become colour once one has colour. Images of another side than the first are left
    out: the set is refused for them.
    """

    def __init__(self, stream: BinaryIO, path: Path | None = None) -> None:
        self._stream, self._path = stream, path
        self._side: tuple[int, ...] = ()
        self._count, self._channels = 0, 1
        stream.write(bytes(HEADER))

    def add(self, pixels: np.ndarray) -> None:
        """Appends an image (h, w) or (h, w, 3) uint8."""
        self._side = self._side or pixels.shape[:2]
        if pixels.shape[:2] != self._side:
            return
        if pixels.ndim == 3 and self._channels == 1:
            self._colour()
        if pixels.ndim == 2 and self._channels == 3:
            pixels = _in_colour(pixels)
        self._stream.write(pixels.tobytes())
        self._count += 1

    def _colour(self) -> None:
        """Brings what is there to three channels, the last image first, for it moves the most."""
        size = self._side[0] * self._side[1]
        for i in reversed(range(self._count)):
            self._stream.seek(HEADER + i * size)
            grey = np.frombuffer(self._stream.read(size), np.uint8)
            self._stream.seek(HEADER + i * 3 * size)
            self._stream.write(_in_colour(grey).tobytes())
        self._channels = 3
        self._stream.seek(0, io.SEEK_END)

    @property
    def in_memory(self) -> bool:
        """Whether the images go into memory."""
        return self._path is None

    @property
    def shape(self) -> tuple[int, ...]:
        """(n, h, w, c)."""
        return self._count, *self._side, self._channels

    def seal(self) -> None:
        """Writes the header, after the last image."""
        head = io.BytesIO()
        plain = {"descr": "|u1", "fortran_order": False, "shape": self.shape}
        np.lib.format.write_array_header_1_0(head, plain)
        assert head.tell() == HEADER
        self._stream.seek(0)
        self._stream.write(head.getvalue())

    def images(self) -> np.ndarray:
        """All images, after the context has ended; mapped where they lie in a file."""
        if self._path:
            return _mapped(self._path)
        assert isinstance(self._stream, io.BytesIO)
        pixels = np.frombuffer(self._stream.getbuffer(), np.uint8, offset=HEADER)
        return pixels.reshape(self.shape)


def _in_colour(pixels: np.ndarray) -> np.ndarray:
    return np.repeat(pixels[..., np.newaxis], 3, axis=-1)


@contextmanager
def spooled() -> Iterator[Spool]:
    """Where decoded images go: into the cache in use, whole or not at all, else into memory.

    Raises:
        KRError: the disk is full.
    """
    cache = current()
    if cache is None or not cache.build:
        yield Spool(io.BytesIO())
        return
    path = cache.folder / IMAGES
    with disk_full_explained(path), atomic(path) as temporary, temporary.open("r+b") as stream:
        spool = Spool(stream, path)
        yield spool
        spool.seal()
