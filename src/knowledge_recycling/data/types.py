"""What the readers return and what the stages get."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from knowledge_recycling.arrays import Stored
from knowledge_recycling.data.rows import blocks
from knowledge_recycling.data.scale import constant

SPLITS = ("train", "val", "test")
"""Names of the splits; a split's code is its position."""

OPEN = -1
"""Code of an image whose split is still to be drawn."""


@dataclass(frozen=True, eq=False)
class Source:
    """Everything that was read, before splitting.

    Attributes:
        images: (n, h, w, c) uint8, h == w, c in {1, 3}; in memory, or mapped.
        labels: (n,) int64 in 0..C-1.
        groups: (n,) int64 codes, the patient of each image; None where unknown.
        assigned: (n,) int8: 0 train, 1 val, 2 test, -1 still to be drawn.
        class_names: C names, by label.
        notes: what a report must state, such as resizing; no paths, no file names.
        name: short name such as `breastmnist`; never a path.
        files: n names, of the file or row that each image was read from, for the eyes of who holds
            the images alone; None where they have none.
    """

    images: Stored
    labels: np.ndarray
    groups: np.ndarray | None
    assigned: np.ndarray
    class_names: tuple[str, ...]
    notes: tuple[str, ...]
    name: str
    files: tuple[str, ...] | None = None

    def __len__(self) -> int:
        return len(self.images)

    @cached_property
    def sha256(self) -> str:
        """SHA-256 over shape, dtype and bytes of images, labels, groups and assigned."""
        digest = hashlib.sha256()
        for array in (self.images, self.labels, self.groups, self.assigned):
            if array is None:
                digest.update(b"none")
                continue
            digest.update(f"{array.shape}{array.dtype.str}".encode())
            for block in blocks(array):
                digest.update(np.ascontiguousarray(block).data)
        return digest.hexdigest()

    @cached_property
    def constant(self) -> np.ndarray:
        """Which images are of one value throughout: (n,) bool."""
        return constant(self.images)

    @cached_property
    def copies(self) -> np.ndarray:
        """Codes (n,) int64 that two images share where their pixels are equal.

        Constant images count as no copies: all blank ones would else be a single large unit.
        """
        seen: dict[object, int] = {}
        images = (image for block in blocks(self.images) for image in block)
        keys: Iterable[object] = (
            place if blank else hashlib.blake2b(image.tobytes(), digest_size=16).digest()
            for place, (image, blank) in enumerate(zip(images, self.constant, strict=True))
        )
        return np.array([seen.setdefault(key, len(seen)) for key in keys], np.int64)


@dataclass(frozen=True, eq=False)
class Split:
    """The images of one split.

    Attributes:
        images: (n, h, w, c) uint8, copied out of the source when they are asked for.
        labels: (n,) int64.
        groups: (n,) int64 or None.
        indices: (n,) int64 positions in the source: the record identifiers.
    """

    images: Stored
    labels: np.ndarray
    groups: np.ndarray | None
    indices: np.ndarray

    def __len__(self) -> int:
        return len(self.images)
