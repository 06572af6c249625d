"""Reads npz files: MedMNIST's format, and plain `images` and `labels`."""

from __future__ import annotations

import zipfile
import zlib
from pathlib import Path

import numpy as np

from knowledge_recycling.data import checks
from knowledge_recycling.data.types import OPEN, SPLITS, Source
from knowledge_recycling.errors import KRError

KINDS = ("images", "labels", "groups")
KEYS = (*(f"{split}_{kind}" for split in SPLITS for kind in KINDS), *KINDS, "class_names")

_EXPECTED = (
    "needed are train_images and train_labels (val_ and test_ likewise, {split}_groups if known), "
    "or images and labels"
)


def read_npz(path: Path) -> Source:
    """Reads an npz file without ever unpickling.

    Either `{split}_images` (n, h, w) or (n, h, w, 3) with `{split}_labels` (n,) or (n, 1) for the
    splits train, val, test (the latter two may be missing), or `images` and `labels` with no split
    given. Optional: `{split}_groups` or `groups` (n,), and `class_names` (C,).

    Args:
        path: the file.

    Returns:
        The source, images in the file's size. Where val or test is missing, the images of train
        are still to be drawn from.

    Raises:
        KRError: says what in the file is wrong.
    """
    arrays = _read_arrays(path)
    prefixes = _layout(arrays, path)
    _check_pairs(arrays, prefixes, path)
    images, notes = _images(arrays, prefixes, path)
    labels = [checks.as_vector(arrays[p + "labels"], f"{path}: {p}labels") for p in prefixes]
    if len({part.dtype.kind for part in labels}) > 1:
        raise KRError(f"{path}: some labels are numbers and others are class names")
    given = arrays.get("class_names")
    names = None if given is None else [str(name) for name in given.ravel()]
    codes, class_names, note = checks.as_codes(np.concatenate(labels), str(path), names)
    return Source(
        images=images,
        labels=codes,
        groups=_groups(arrays, prefixes, len(images), path),
        assigned=_assigned(prefixes, [len(part) for part in labels]),
        class_names=class_names,
        notes=tuple(sorted({*notes, *([note] if note else [])})),
        name=path.stem,
    )


def _read_arrays(path: Path) -> dict[str, np.ndarray]:
    """Reads the known arrays; others in the file are not even opened."""
    advice = "expected a file written by numpy.savez (a download may be cut off: fetch it again)"
    if not zipfile.is_zipfile(path):
        raise KRError(f"{path}: is not an npz file; {advice}")
    try:
        with zipfile.ZipFile(path) as archive:
            members = [name for name in archive.namelist() if name.endswith(".npy")]
            if not members:
                raise KRError(f"{path}: is a zip file without arrays, not an npz file; {advice}")
            known = [name for name in members if name.removesuffix(".npy") in KEYS]
            arrays = {name.removesuffix(".npy"): _member(archive, name, path) for name in known}
    except (zipfile.BadZipFile, zlib.error, OSError, EOFError, RuntimeError) as error:
        raise KRError(f"{path}: is damaged ({error}); {advice}") from None
    if not arrays:
        found = ", ".join(sorted(name.removesuffix(".npy") for name in members))
        raise KRError(f"{path}: {_EXPECTED}; found {found}")
    return arrays


def _member(archive: zipfile.ZipFile, name: str, path: Path) -> np.ndarray:
    with archive.open(name) as stream:
        try:
            return np.lib.format.read_array(stream, allow_pickle=False)
        except ValueError as error:
            where = f"{path}: {name.removesuffix('.npy')}"
            if "Object arrays" in str(error):
                raise KRError(
                    f"{where}: is an array of Python objects, which could run code when read and "
                    "is never opened; save it as numbers (labels also as strings)"
                ) from None
            raise KRError(f"{where}: is not a readable array ({error})") from None


def _layout(arrays: dict[str, np.ndarray], path: Path) -> list[str]:
    """Prefixes of the keys to read: `train_`, `val_`, ... or one empty prefix."""
    splits = [f"{s}_" for s in SPLITS if f"{s}_images" in arrays or f"{s}_labels" in arrays]
    prefixes = splits or [""]
    needed = {p + kind for p in ["train_", *splits] for kind in KINDS[:2]} if splits else KINDS[:2]
    if missing := sorted(set(needed) - set(arrays)):
        raise KRError(
            f"{path}: {', '.join(missing)} missing; {_EXPECTED}; found {', '.join(sorted(arrays))}"
        )
    # Some tools write an empty array for a split they do not have.
    return [p for p in prefixes if p in ("", "train_") or arrays[p + "images"].size]


def _check_pairs(arrays: dict[str, np.ndarray], prefixes: list[str], path: Path) -> None:
    for p in prefixes:
        images, labels = (np.atleast_1d(arrays[p + kind]) for kind in KINDS[:2])
        if len(images) != len(labels):
            raise KRError(
                f"{path}: {p}images holds {len(images)} images but {p}labels {len(labels)} labels; "
                "there must be one label for each image"
            )


def _images(
    arrays: dict[str, np.ndarray], prefixes: list[str], path: Path
) -> tuple[np.ndarray, list[str]]:
    parts, notes = [], []
    for p in prefixes:
        part, note = checks.as_images(arrays[p + "images"], f"{path}: {p}images")
        notes += [note] if note else []
        parts.append(part)
        if part.shape[1:] != parts[0].shape[1:]:
            raise KRError(
                f"{path}: images differ in shape between splits: {prefixes[0]}images has "
                f"{parts[0].shape[1:]}, {p}images {part.shape[1:]} (height, width, channels)"
            )
    return np.concatenate(parts), notes


def _groups(
    arrays: dict[str, np.ndarray], prefixes: list[str], n: int, path: Path
) -> np.ndarray | None:
    keys = [p + "groups" for p in prefixes]
    have = [key for key in keys if key in arrays]
    if not have:
        return None
    if have != keys:
        missing = ", ".join(key for key in keys if key not in arrays)
        raise KRError(f"{path}: {missing} missing, though {', '.join(have)} is there; give all")
    for p, key in zip(prefixes, keys, strict=True):
        checks.as_groups(arrays[key], len(arrays[p + "images"]), f"{path}: {key}")
    if len({arrays[key].dtype.kind == "U" for key in keys}) > 1:
        raise KRError(f"{path}: some groups are numbers and others are strings")
    return checks.as_groups(np.concatenate([arrays[key].ravel() for key in keys]), n, str(path))


def _assigned(prefixes: list[str], lengths: list[int]) -> np.ndarray:
    """Codes of given splits; train stays open where val or test must be drawn from it."""
    codes = [SPLITS.index(p[:-1]) if p else OPEN for p in prefixes]
    if codes != [0, 1, 2]:
        codes[0] = OPEN
    return np.repeat(np.array(codes, np.int8), lengths)
