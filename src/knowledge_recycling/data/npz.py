"""Reads npz files: MedMNIST's format, and plain `images` and `labels`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from knowledge_recycling.config import Data
from knowledge_recycling.data import checks
from knowledge_recycling.data.archive import Archive, Member, open_archive
from knowledge_recycling.data.files import check_memory
from knowledge_recycling.data.names import stripped
from knowledge_recycling.data.resize import check_shape, color_stack, resize_note, resize_stack
from knowledge_recycling.data.scale import Seen
from knowledge_recycling.data.types import OPEN, SPLITS, Source
from knowledge_recycling.data.words import size_of
from knowledge_recycling.errors import KRError

KINDS = ("images", "labels", "groups")
KEYS = (*(f"{split}_{kind}" for split in SPLITS for kind in KINDS), *KINDS, "class_names")

_EXPECTED = (
    "needed are train_images and train_labels (val_ and test_ likewise, {split}_groups if known), "
    "or images and labels"
)


def read_npz(path: Path, config: Data) -> Source:
    """Reads an npz file without ever unpickling.

    Either `{split}_images` (n, h, w) or (n, h, w, 3) with `{split}_labels` (n,) or (n, 1) for the
    splits train, val, test (the latter two may be missing), or `images` and `labels` with no split
    given. Optional: `{split}_groups` or `groups` (n,), and `class_names` (C,).

    Args:
        path: the file.
        config: `size`, `range` and `color` say how images are read.

    Returns:
        The source. Where val or test is missing, the images of train are still to be drawn from.

    Raises:
        KRError: says what in the file is wrong.
    """
    with open_archive(path, KEYS, _EXPECTED) as archive:
        return _read(archive, path, config)


def _read(archive: Archive, path: Path, config: Data) -> Source:
    prefixes = _layout(archive, path)
    _check_pairs(archive, prefixes, path)
    frames = _frames(archive, prefixes, path)
    parts = [archive.read(p + "labels") for p in prefixes]
    labels = [
        checks.as_vector(x, f"{path}: {p}labels") for p, x in zip(prefixes, parts, strict=True)
    ]
    if len({part.dtype.kind for part in labels}) > 1:
        raise KRError(f"{path}: some labels are numbers and others are class names")
    names = _class_names(archive, path)
    codes, class_names, label_notes = checks.as_codes(np.concatenate(labels), str(path), names)
    groups = _groups(archive, prefixes, path)
    images, notes = _images(archive, prefixes, frames, path, config)
    return Source(
        images=images,
        labels=codes,
        groups=groups,
        assigned=_assigned(prefixes, [len(part) for part in labels]),
        class_names=class_names,
        notes=tuple(sorted({*notes, *label_notes})),
        name=path.stem,
    )


def _class_names(archive: Archive, path: Path) -> list[str] | None:
    if "class_names" not in archive.members:
        return None
    names = archive.read("class_names")
    if names.dtype.kind not in "Uiu":
        raise KRError(f"{path}: class_names: expected strings, found {names.dtype}")
    return [stripped(str(name)) for name in names.ravel()]


def _layout(archive: Archive, path: Path) -> list[str]:
    """Prefixes of the keys to read: `train_`, `val_`, ... or one empty prefix."""
    have = archive.members
    splits = [f"{s}_" for s in SPLITS if f"{s}_images" in have or f"{s}_labels" in have]
    prefixes = splits or [""]
    needed = {p + kind for p in ["train_", *splits] for kind in KINDS[:2]} if splits else KINDS[:2]
    if missing := sorted(set(needed) - set(have)):
        raise KRError(
            f"{path}: {', '.join(missing)} missing; {_EXPECTED}; found {', '.join(sorted(have))}"
        )
    # Some tools write an empty array for a split they do not have.
    return [p for p in prefixes if p in ("", "train_") or 0 not in have[p + "images"].shape]


def _check_pairs(archive: Archive, prefixes: list[str], path: Path) -> None:
    for p in prefixes:
        images, labels = ((archive.members[p + kind].shape or (1,))[0] for kind in KINDS[:2])
        if images != labels:
            raise KRError(
                f"{path}: {p}images holds {images} images but {p}labels {labels} labels; "
                "there must be one label for each image"
            )


@dataclass(frozen=True)
class _Frame:
    """Where one array of images goes: its member, and its shape (n, h, w, c)."""

    member: Member
    shape: tuple[int, int, int, int]


def _frames(archive: Archive, prefixes: list[str], path: Path) -> list[_Frame]:
    """Checks what the headers say of the images."""
    frames: list[_Frame] = []
    for p in prefixes:
        member = archive.members[p + "images"]
        where = f"{path}: {p}images"
        frames.append(_Frame(member, checks.image_shape(member.shape, where)))
        checks.image_dtype(member.dtype, where)
        if frames[-1].shape[1:] != frames[0].shape[1:]:
            raise KRError(
                f"{path}: images differ in shape between splits: {prefixes[0]}images has "
                f"{frames[0].shape[1:]}, {p}images {frames[-1].shape[1:]} (height, width, channels)"
            )
    return frames


def _images(
    archive: Archive, prefixes: list[str], frames: list[_Frame], path: Path, config: Data
) -> tuple[np.ndarray, list[str]]:
    """Reads block by block, each brought to 8 bits and to its size before the next is read."""
    result = _room(frames, path, config)
    notes: list[str] = []
    start = 0
    for p, frame in zip(prefixes, frames, strict=True):
        seen = Seen()
        for block in archive.blocks(frame.member):
            ready = seen.convert(block.reshape(-1, *frame.shape[1:]), config.range)
            ready = color_stack(
                resize_stack(ready, config.size) if config.size else ready, config.color
            )
            result[start : start + len(ready)] = ready
            start += len(ready)
        notes += seen.judge(frame.member.dtype, config.range, f"{path}: {p}images")
    resized = resize_note({frames[0].shape[1:3]}, result.shape[1])
    return result, notes + ([resized] if resized else [])


def _room(frames: list[_Frame], path: Path, config: Data) -> np.ndarray:
    n = sum(frame.shape[0] for frame in frames)
    _, height, width, channels = frames[0].shape
    if not config.size:
        check_shape(height, width, str(path))
    side = (config.size, config.size) if config.size else (height, width)
    channels = {"grey": 1, "rgb": 3}.get(config.color or "", channels)
    shape = (n, *side, channels)
    advice = "use fewer images"
    if (config.size or max(height, width)) > 28:
        advice = "read them smaller with the setting data.size=28, or use fewer"
    needed = int(np.prod(shape, dtype=object))
    what = f"{path}: {n:,} images of {height} x {width} pixels ({size_of(needed)})"
    # The splits are copied out of the source, so each byte is held about twice.
    check_memory(2 * needed, what, advice)
    return np.empty(shape, np.uint8)


def _groups(archive: Archive, prefixes: list[str], path: Path) -> np.ndarray | None:
    keys = [p + "groups" for p in prefixes]
    have = [key for key in keys if key in archive.members]
    if not have:
        return None
    if have != keys:
        missing = ", ".join(key for key in keys if key not in archive.members)
        raise KRError(f"{path}: {missing} missing, though {', '.join(have)} is there; give all")
    arrays = [archive.read(key) for key in keys]
    lengths = [archive.members[p + "images"].shape[0] for p in prefixes]
    for key, array, n in zip(keys, arrays, lengths, strict=True):
        checks.as_groups(array, n, f"{path}: {key}")
    if len({array.dtype.kind == "U" for array in arrays}) > 1:
        raise KRError(f"{path}: some groups are numbers and others are strings")
    together = np.concatenate([array.ravel() for array in arrays])
    return checks.as_groups(together, sum(lengths), str(path))


def _assigned(prefixes: list[str], lengths: list[int]) -> np.ndarray:
    """Codes of given splits; train stays open where val or test must be drawn from it."""
    codes = [SPLITS.index(p[:-1]) if p else OPEN for p in prefixes]
    if codes != [0, 1, 2]:
        codes[0] = OPEN
    return np.repeat(np.array(codes, np.int8), lengths)
