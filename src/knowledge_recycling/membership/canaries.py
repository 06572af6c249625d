"""Canaries: records planted in the pool as the worst case of what a record can lose.

Ordinary records say what an attack finds on average. A defence is judged by the records that are
easiest to give away (Aerni et al., arXiv:2404.17399), and those are made here. Each takes the
place of a record of the pool.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from knowledge_recycling.data import Split
from knowledge_recycling.errors import KRError

KINDS = ("ordinary", "mislabelled", "outlier", "near_duplicate", "companion")
"""What a record of the pool is, by code. A companion is a near-duplicate's copy, not scored."""
CANARY_KINDS = (1, 2, 3)
SHARE = 0.1
"""Of a class that may make way for canaries."""
_TILES = 4


@dataclass(frozen=True, eq=False)
class Canaries:
    """The planted records and the positions in the pool of those that make way for them.

    Attributes:
        images: (m, h, w, c) uint8.
        labels: (m,) int64, the labels that they are planted with.
        kind: (m,) int8 codes of `KINDS`.
        unit: (m,) int64 from 0: a near-duplicate and its companions are one.
        bases: (M,) positions in the pool.
    """

    images: np.ndarray
    labels: np.ndarray
    kind: np.ndarray
    unit: np.ndarray
    bases: np.ndarray


def make(pool: Split, classes: int, count: int, seed: int) -> Canaries:
    """Makes `count` canaries out of as many records, a third of each kind.

    - mislabelled: the record under another class, drawn evenly;
    - outlier: its tiles shuffled and inverted, under a class drawn evenly;
    - near_duplicate: the record unchanged, with two companions moved by a pixel, as follow-up
      images of one patient would be.

    Args:
        pool: the records.
        classes: C.
        count: M, at most a tenth of the pool.
        seed: of all draws.

    Raises:
        KRError: more canaries than a tenth of the pool's classes can make way for.
    """
    rng = np.random.default_rng(seed)
    bases = _bases(pool.labels, rng)
    if count > len(bases):
        raise KRError(
            f"canaries={count}: the pool has {len(pool)} images, and at most {len(bases)} may "
            "become canaries, a tenth of each class; ask for fewer"
        )
    bases = bases[:count]
    records: list[tuple[np.ndarray, int, int, int]] = []
    for number, base in enumerate(bases):
        image, label = pool.images[base], int(pool.labels[base])
        code = CANARY_KINDS[number % len(CANARY_KINDS)]
        if KINDS[code] == "mislabelled":
            label = int((label + rng.integers(1, classes)) % classes)
        elif KINDS[code] == "outlier":
            image, label = _outlier(image, rng), int(rng.integers(classes))
        records.append((image, label, code, number))
        if KINDS[code] == "near_duplicate":
            companion = KINDS.index("companion")
            records += [(np.roll(image, 1, axis), label, companion, number) for axis in (0, 1)]
    return Canaries(
        images=np.array([r[0] for r in records], np.uint8).reshape(-1, *pool.images.shape[1:]),
        labels=np.array([r[1] for r in records], np.int64),
        kind=np.array([r[2] for r in records], np.int8),
        unit=np.array([r[3] for r in records], np.int64),
        bases=bases,
    )


def _bases(labels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Records that may make way, in random order: a tenth of each class, rare ones untouched."""
    chosen = [
        rng.permutation(np.flatnonzero(labels == y))[: int(SHARE * (labels == y).sum())]
        for y in np.unique(labels)
    ]
    return np.asarray(rng.permutation(np.concatenate(chosen)))


def _outlier(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Inverts an image and shuffles its tiles: the grey values of the set, but no picture of it."""
    rows, columns = (np.array_split(np.arange(side), _TILES) for side in image.shape[:2])
    height, width = min(map(len, rows)), min(map(len, columns))
    corners = [(r[0], c[0]) for r in rows for c in columns]
    made = 255 - image
    for (row, column), (i, j) in zip(corners, rng.permutation(corners), strict=True):
        made[row : row + height, column : column + width] = (
            255 - image[i : i + height, j : j + width]
        )
    return made
