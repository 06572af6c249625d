"""Reads image folders: `class/x.png`, or `train|val|test/class/x.png`."""

from __future__ import annotations

import csv
import os
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np

from knowledge_recycling.config import Data
from knowledge_recycling.data import checks
from knowledge_recycling.data.decode import SUFFIXES, Decoded, decode
from knowledge_recycling.data.resize import nearest_size, resize_note
from knowledge_recycling.data.types import OPEN, SPLITS, Source
from knowledge_recycling.errors import KRError

SPLIT_FOLDERS = {"train": 0, "val": 1, "valid": 1, "validation": 1, "test": 2}


class Entry(NamedTuple):
    """One image file: its path relative to the folder, its class, its split code."""

    file: str
    label: str
    split: int


def read_folder(root: Path, config: Data) -> Source:
    """Reads a folder of images; a class is the name of the folder that an image lies in.

    Args:
        root: the folder.
        config: `size` resizes, `groups` names a CSV file, `skip_broken` leaves broken files out.

    Returns:
        The source, in the order of split, class and file name.

    Raises:
        KRError: says what in the folder is wrong, and names the file where it is one.
    """
    entries, ignored = list_entries(root)
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        decoded = list(
            pool.map(partial(decode, size=config.size), [root / e.file for e in entries])
        )
    notes = [f"{ignored} files that are no images were left out"] if ignored else []
    entries, decoded, skipped = _without_broken(root, entries, decoded, config.skip_broken)
    notes += [f"{skipped} broken files skipped"] if skipped else []
    images = _stack(root, decoded)
    notes += _image_notes(decoded, images.shape[1])
    names = checks.order_names({e.label for e in entries})
    groups = None
    if config.groups:
        groups = read_groups(root, config.groups, [e.file for e in entries])
    assigned = np.array([e.split for e in entries], np.int8)
    if not {0, 1, 2} <= set(assigned.tolist()):
        assigned[assigned == 0] = OPEN  # val or test is drawn from train
    return Source(
        images=images,
        labels=np.array([names.index(e.label) for e in entries], np.int64),
        groups=groups,
        assigned=assigned,
        class_names=names,
        notes=tuple(notes),
        name=root.absolute().name,
    )


def list_entries(root: Path) -> tuple[list[Entry], int]:
    """Finds the image files of a folder.

    Returns:
        The entries in the order of split, class and file name, and the number of other files.

    Raises:
        KRError: where the folder has not the shape of an image folder.
    """
    folders = _folders(root)
    by_split = {
        name: SPLIT_FOLDERS[name.lower()] for name in folders if name.lower() in SPLIT_FOLDERS
    }
    if 0 not in by_split.values():
        return _list_classes(root, "", folders, OPEN)
    if others := sorted(set(folders) - set(by_split)):
        raise KRError(
            f"{root}: mixes split folders ({', '.join(sorted(by_split))}) with others "
            f"({', '.join(others)}); move the others out, or rename the split folders if they "
            "are classes"
        )
    if twice := [SPLITS[code] for code, n in Counter(by_split.values()).items() if n > 1]:
        raise KRError(f"{root}: has more than one folder for {twice[0]}: {', '.join(folders)}")
    entries: list[Entry] = []
    ignored = 0
    for name, code in sorted(by_split.items(), key=lambda item: item[1]):
        found, others_here = _list_classes(root, f"{name}/", _folders(root / name), code)
        entries += found
        ignored += others_here
    return entries, ignored


def _folders(root: Path) -> list[str]:
    found = (e.name for e in root.iterdir() if e.is_dir())
    return sorted(name for name in found if not name.startswith((".", "__")))


def _list_classes(
    root: Path, prefix: str, classes: list[str], split: int
) -> tuple[list[Entry], int]:
    if not classes:
        raise KRError(
            f"{root / prefix}: has no class folders; expected class/x.png or "
            "train|val|test/class/x.png"
        )
    entries: list[Entry] = []
    ignored = 0
    for label in classes:
        here = root / prefix / label
        files = sorted(e.name for e in here.iterdir() if not e.name.startswith("."))
        images = [f for f in files if (here / f).suffix.lower() in SUFFIXES]
        if nested := _folders(here):
            raise KRError(
                f"{here}: holds folders ({', '.join(nested[:3])}); images must lie directly in the "
                "folder of their class: class/x.png or train|val|test/class/x.png"
            )
        if not images:
            raise KRError(f"{here}: holds no image; fill this class or remove its folder")
        entries += [Entry(f"{prefix}{label}/{f}", label, split) for f in images]
        ignored += len(files) - len(images)
    return entries, ignored


def _without_broken(
    root: Path, entries: list[Entry], decoded: list[Decoded], skip: bool
) -> tuple[list[Entry], list[Decoded], int]:
    broken = [(e, d) for e, d in zip(entries, decoded, strict=True) if d.error]
    if broken and not skip:
        entry, image = broken[0]
        more = f" ({len(broken) - 1} more files are broken too)" if len(broken) > 1 else ""
        raise KRError(
            f"{root}: {entry.file} cannot be decoded: {image.error}{more}; replace it, or go on "
            "without broken files with the setting data.skip_broken=true"
        )
    whole = [(e, d) for e, d in zip(entries, decoded, strict=True) if not d.error]
    if not whole:
        raise KRError(f"{root}: none of its {len(broken)} image files can be decoded")
    return [e for e, _ in whole], [d for _, d in whole], len(broken)


def _stack(root: Path, decoded: list[Decoded]) -> np.ndarray:
    """(n, s, s, c) uint8 of images that must agree in size and in kind."""
    shapes = Counter(d.shape for d in decoded)
    arrays = [d.pixels for d in decoded if d.pixels is not None]
    if len(arrays) < len(decoded) or len({a.shape[:2] for a in arrays}) > 1:
        (height, width), count = shapes.most_common(1)[0]
        size = nearest_size((height + width) / 2)
        what = f"all images are {height} x {width}"
        if len(shapes) > 1:
            what = f"images have {len(shapes)} sizes, most often {height} x {width} ({count} files)"
        reason = "one square size is needed" if len(shapes) > 1 else "which cannot run as it is"
        raise KRError(
            f"{root}: {what} pixels (height x width), {reason}; resize them all with "
            f"the setting data.size={size}"
        )
    if not any(d.coloured for d in decoded):
        return np.stack(arrays)[..., np.newaxis]
    _check_one_kind(root, decoded)
    return np.stack([a if a.ndim == 3 else np.repeat(a[..., None], 3, axis=2) for a in arrays])


def _check_one_kind(root: Path, decoded: list[Decoded]) -> None:
    """Refuses grey files among coloured ones; a colour file that is grey to the eye is colour."""
    grey = sum(d.grey_file for d in decoded)
    if grey:
        raise KRError(
            f"{root}: mixes {grey} grey files with {len(decoded) - grey} colour files; kind must "
            "not tell classes or sites apart, so bring all to one: save the grey ones as colour "
            "(Pillow: image.convert('RGB')) or all as grey (image.convert('L'))"
        )


def _image_notes(decoded: list[Decoded], size: int) -> list[str]:
    resized = resize_note({d.shape for d in decoded}, size)
    notes = [resized] if resized else []
    peaks = [d.peak for d in decoded if d.peak is not None]
    if peaks:
        dark = f"; their largest value is {max(peaks)}, so they come out dark"
        dim = dark if max(peaks) < 65536 // 4 else ""
        notes.append(f"{len(peaks)} 16-bit images scaled to 8 bits (65535 becomes 255){dim}")
    return notes


def read_groups(root: Path, table: str, files: list[str]) -> np.ndarray:
    """Reads the patient of each image from a CSV file with the columns `file` and `group`.

    Args:
        root: the image folder.
        table: path of the CSV file, as it stands or relative to the folder; `file` in it is
            relative to the folder.
        files: image files, relative to the folder.

    Returns:
        (n,) int64 codes in the order of `files`.

    Raises:
        KRError: on a missing file, missing columns, or an image without a group.
    """
    path = next((p for p in (Path(table), root / table) if p.is_file()), None)
    if path is None:
        raise KRError(f"data.groups: {table} does not exist (looked here and in {root})")
    try:
        with path.open(newline="", encoding="utf-8-sig") as stream:
            rows = list(csv.DictReader(stream))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise KRError(f"data.groups: {path}: cannot be read as CSV ({error})") from None
    if not rows or not {"file", "group"} <= set(rows[0]):
        found = ", ".join(map(str, rows[0])) if rows else "no row"
        raise KRError(f"data.groups: {path}: needs the columns file and group; found {found}")
    known = {(row["file"] or "").replace("\\", "/"): row["group"] for row in rows}
    if absent := [file for file in files if not known.get(file)]:
        raise KRError(
            f"data.groups: {path}: {len(absent)} images have no group, such as {absent[0]}; give "
            "each file, relative to the image folder, its group"
        )
    return checks.as_groups(np.array([known[file] for file in files]), len(files), str(path))
