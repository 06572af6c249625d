"""From a source to the record in split.json, and from the record back to single splits."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations

import numpy as np

from knowledge_recycling.config import Data
from knowledge_recycling.data.rows import Rows
from knowledge_recycling.data.source import open_source
from knowledge_recycling.data.splits import draw, drawn_splits
from knowledge_recycling.data.types import SPLITS, Source, Split
from knowledge_recycling.data.words import count, listed, shown
from knowledge_recycling.errors import KRError
from knowledge_recycling.results import SplitRecord


def describe(source: Source, config: Data, seed: int) -> SplitRecord:
    """Draws the missing splits and records all there is to know, free of paths and file names.

    Args:
        source: what `open_source` returned.
        config: the fractions to draw with.
        seed: of the draw.

    Raises:
        KRError: where the missing splits cannot be drawn.
    """
    assignment = draw(source, config, seed)
    indices = {name: np.flatnonzero(assignment == code) for code, name in enumerate(SPLITS)}
    classes = len(source.class_names)
    counts = {
        name: np.bincount(source.labels[places], minlength=classes).tolist()
        for name, places in indices.items()
    }
    return SplitRecord(
        name=source.name,
        data_sha256=source.sha256,
        size=source.images.shape[1],
        channels=source.images.shape[-1],
        class_names=tuple(source.class_names),
        has_groups=source.groups is not None,
        notes=(*source.notes, *_split_notes(source, indices, counts)),
        drawn=tuple(drawn_splits(source)),
        counts={name: tuple(numbers) for name, numbers in counts.items()},
        indices={name: tuple(places.tolist()) for name, places in indices.items()},
    )


def load(config: Data, record: SplitRecord, *names: str) -> tuple[Split, ...]:
    """Hands out the splits that are asked for, and no image of any other.

    Args:
        config: where the data are.
        record: what `describe` returned.
        names: among `train`, `val`, `test`.

    Returns:
        One split for each name; nothing of it leads to images of another.

    Raises:
        KRError: where the data are no longer the ones of the record.
    """
    source = open_source(config)
    if source.sha256 != record.data_sha256:
        raise KRError(
            f"data.source: {config.source} has changed since this run began (hash "
            f"{source.sha256[:12]}, recorded {record.data_sha256[:12]}); bring the old data "
            "back, or begin a new run"
        )
    return tuple(_take(source, np.array(record.indices[name], np.int64)) for name in names)


def file_names(config: Data, record: SplitRecord, name: str) -> tuple[str, ...] | None:
    """Where each image of a split was read from; None where the source has no names.

    Args:
        config: where the data are.
        record: what `describe` returned.
        name: `train`, `val` or `test`.
    """
    found = open_source(config).files
    return None if found is None else tuple(found[place] for place in record.indices[name])


def _take(source: Source, places: np.ndarray) -> Split:
    groups = None if source.groups is None else source.groups[places]
    return Split(Rows.of(source.images, places), source.labels[places], groups, places)


def example_grid(config: Data, record: SplitRecord, per_class: int, seed: int) -> np.ndarray:
    """Random train images of each class, for a report that may show real images.

    Args:
        config: where the data are.
        record: what `describe` returned.
        per_class: images of each class.
        seed: of the choice.

    Returns:
        (C, per_class, h, w, c) uint8; black where a class has fewer images.

    Raises:
        KRError: where the data are no longer the ones of the record.
    """
    (train,) = load(config, record, "train")
    rng = np.random.default_rng([seed, *b"examples"])
    shape = (len(record.class_names), per_class, *train.images.shape[1:])
    grid = np.zeros(shape, np.uint8)
    for label, row in enumerate(grid):
        chosen = rng.permutation(np.flatnonzero(train.labels == label))[:per_class]
        row[: len(chosen)] = train.images[chosen]
    return grid


def _split_notes(
    source: Source, indices: Mapping[str, np.ndarray], counts: Mapping[str, list[int]]
) -> list[str]:
    notes = _constant_notes(source, indices)
    for name in ("val", "test"):
        if absent := [source.class_names[c] for c, n in enumerate(counts[name]) if n == 0]:
            notes.append(f"{name} has no image of: {listed(absent, 20)}")
    notes += _label_notes(source)
    again = len(indices["train"]) - len(np.unique(source.copies[indices["train"]]))
    if again:
        what = _are_copies(again, "train", "other train images")
        notes.append(f"{what}, so random halves of train share them")
    for first, second in combinations(SPLITS, 2):
        known = source.copies[indices[first]]
        if again := int(np.isin(source.copies[indices[second]], known).sum()):
            notes.append(_are_copies(again, second, f"{first} images"))
        if source.groups is None:
            continue
        shared = np.intersect1d(source.groups[indices[first]], source.groups[indices[second]])
        if len(shared):
            what = (
                "1 group (patient) is"
                if len(shared) == 1
                else f"{len(shared):,} groups (patients) are"
            )
            notes.append(f"{what} in both {first} and {second}")
    return notes


def _are_copies(number: int, split: str, others: str) -> str:
    verb = "is an exact duplicate" if number == 1 else "are exact duplicates"
    return f"{count(number, f'{split} image')} {verb} of {others}"


def _constant_notes(source: Source, indices: Mapping[str, np.ndarray]) -> list[str]:
    """Images of one value throughout, by split; and classes of which nothing else is there."""
    notes = []
    for name, places in indices.items():
        if blank := int(source.constant[places].sum()):
            verb = "is" if blank == 1 else "are"
            notes.append(
                f"{blank:,} of {count(len(places), f'{name} image')} {verb} constant (of one value "
                "throughout)"
            )
    for label, class_name in enumerate(source.class_names):
        if source.constant[source.labels == label].all():
            notes.append(f"all images of class {shown(class_name)} are constant")
    return notes


def _label_notes(source: Source) -> list[str]:
    """Images that occur under more than one label."""
    pairs = np.unique(np.stack([source.copies, source.labels]), axis=1)
    labels = np.bincount(pairs[0])
    twice = np.flatnonzero(labels > 1)
    if not len(twice):
        return []
    copies = int(np.isin(source.copies, twice).sum())
    verb = "occurs" if len(twice) == 1 else "occur"
    return [f"{count(len(twice), 'image')} {verb} under more than one label ({copies:,} copies)"]
