"""Finds the image files of a folder: `class/x.png`, or `train|val|test/class/x.png`."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from knowledge_recycling.data.decode import SUFFIXES
from knowledge_recycling.data.files import LINK, SPECIAL, Stamp, unreadable
from knowledge_recycling.data.kinds import NIFTI, PICTURES, kind_of_name, sniff
from knowledge_recycling.data.names import check_classes, check_path_name, stripped
from knowledge_recycling.data.types import OPEN, SPLITS
from knowledge_recycling.data.words import Problem, count, listed, refuse, shown
from knowledge_recycling.errors import KRError

SPLIT_FOLDERS = {
    "train": 0,
    "training": 0,
    "val": 1,
    "valid": 1,
    "validation": 1,
    "test": 2,
    "testing": 2,
}
MAX_ENTRIES = 1_000_000
"""Files and folders that are looked at before a folder is taken for something else."""

MAX_SNIFFED = 1000
"""Files of unknown kind whose first bytes are read."""

MOST_PROBLEMS = 3
"""Class folders without images from which on the folder is taken for something else."""

MASK = re.compile(
    r"(.+?)[ _.-](mask|masks|seg|segmentation|label|labels|annotation|gt|groundtruth|roi)"
    r"([ _.-]?\d+)?",
    re.IGNORECASE,
)
SHAPE = "class/x.png or train|val|test/class/x.png"


class Entry(NamedTuple):
    """One image file: its path relative to the folder, its class, its split code."""

    file: str
    label: str
    split: int


@dataclass
class Listing:
    """What lies in a folder of images.

    Attributes:
        entries: in the order of split, class and file name.
        masks: (class, pattern) of each file left out as the mask of an image beside it.
        others: (class, kind) of each other file left out; the class is empty above the classes.
        stamp: other once an image file has changed, see `files.Stamp`.
        notes: on the names of classes.
        dicom: whether the image files are DICOM files.
    """

    entries: list[Entry] = field(default_factory=list)
    masks: list[tuple[str, str]] = field(default_factory=list)
    others: list[tuple[str, str]] = field(default_factory=list)
    stamp: Stamp = field(default_factory=Stamp)
    notes: list[str] = field(default_factory=list)
    dicom: bool = False


class _Walk:
    """One look through a folder, which ends where there is too much in it.

    It looks for image files of the usual kinds, or for DICOM files and no others. Links are
    followed in the first case alone.
    """

    def __init__(self, root: Path, dicom: bool = False) -> None:
        self.root = root
        self.dicom = dicom
        self.seen = 0
        self.sniffed = 0
        self.found = Listing(dicom=dicom)
        self.problems: list[Problem] = []

    def entries(self, here: Path) -> Iterator[os.DirEntry[str]]:
        """What lies in a folder and is not hidden, by name."""
        try:
            with os.scandir(here) as scan:
                found = []
                for entry in scan:
                    self.seen += 1
                    if self.seen > MAX_ENTRIES:
                        raise KRError(
                            f"{shown(str(self.root))}: holds more than {MAX_ENTRIES:,} files, of "
                            f"which {len(self.found.entries):,} so far are images in class "
                            f"folders; give a folder of the shape {SHAPE}"
                        )
                    if not entry.name.startswith(".") and entry.name != "__MACOSX":
                        found.append(entry)
        except OSError as error:
            raise unreadable(here, error) from None
        where = shown(str(here))
        for entry in found:
            check_path_name(entry.name, where)
            if self.dicom and entry.is_symlink():
                raise KRError(f"{shown(entry.path)}: {LINK}")
        yield from sorted(found, key=lambda entry: entry.name)

    def folders(self, here: Path) -> list[str]:
        """Folders in it; the files beside them are counted as left out."""
        names = []
        for entry in self.entries(here):
            if _is_dir(entry):
                names.append(entry.name)
            else:
                self.found.others.append(("", self._kind(entry)))
        return names

    def classes(self, prefix: str, labels: list[str], split: int) -> None:
        """Lists the images of each class folder."""
        if not labels:
            self.problems.append(
                Problem(f"{prefix}{' ' * bool(prefix)}has no class folders; expected {SHAPE}")
            )
        check_classes(labels, shown(f"{self.root}/{prefix}".rstrip("/")))
        for folder in labels:
            self._one_class(f"{prefix}{folder}", stripped(folder), split)

    def _one_class(self, name: str, label: str, split: int) -> None:
        entries = list(self.entries(self.root / name))
        nested = [e.name for e in entries if _is_dir(e)]
        files = [e for e in entries if not _is_dir(e)]
        of_kind: dict[bool, list[os.DirEntry[str]]] = {True: [], False: []}
        for e in files:
            of_kind[self._is_image(e)].append(e)
        images = of_kind[True]
        masks = _masks([e.name for e in images])
        others = [(label, self._kind(e)) for e in of_kind[False]]
        self.found.masks += [(label, pattern) for pattern in masks.values()]
        self.found.others += others
        kept = [e for e in images if e.name not in masks]
        self.found.entries += [Entry(f"{name}/{e.name}", label, split) for e in kept]
        self._stamp(name, kept)
        self._judge(name, nested, len(kept), Counter(kind for _, kind in others))

    def _judge(self, name: str, nested: list[str], images: int, kinds: Counter[str]) -> None:
        pictures = {kind: n for kind, n in kinds.items() if kind in PICTURES}
        told = ", ".join(count(n, f"{kind} file") for kind, n in pictures.items())
        if nested:
            text = (
                f"{shown(name)} holds folders ({listed(nested, 3)}); images must lie directly in "
                f"the folder of their class: {SHAPE}"
            )
        elif not images and set(pictures) == {"NIfTI"}:
            text = f"{shown(name)} holds {told}; each {NIFTI}"
        elif not images and told:
            text = f"{shown(name)} holds no image that is read, but {told}; save them as PNG"
        elif not images:
            text = f"{shown(name)} holds no image; fill this class or remove its folder"
        elif sum(pictures.values()) > images:
            text = (
                f"{shown(name)} holds {told} beside only {count(images, 'image file')}; one set is "
                "read from one kind, so save all as PNG, or move them out"
            )
        else:
            return
        self.problems.append(Problem(text))

    def _is_image(self, entry: os.DirEntry[str]) -> bool:
        if self.dicom:
            return self._kind(entry) == "DICOM"
        return Path(entry.name).suffix.lower() in SUFFIXES

    def _kind(self, entry: os.DirEntry[str]) -> str:
        kind = kind_of_name(entry.name)
        if kind in PICTURES or (self.sniffed >= MAX_SNIFFED and not self.dicom):
            return kind
        self.sniffed += 1
        return sniff(Path(entry.path)) or kind

    def _stamp(self, folder: str, entries: list[os.DirEntry[str]]) -> None:
        for entry in entries:
            try:
                info = entry.stat()
            except OSError:  # a link that leads nowhere is reported when it is opened
                continue
            if not entry.is_file():
                raise KRError(f"{shown(entry.path)}: {SPECIAL}")
            self.found.stamp.add(f"{folder}/{entry.name}", info)


def list_folder(root: Path) -> Listing:
    """Finds the image files of a folder, and what else lies there.

    Raises:
        KRError: the folder may not be read or has not the shape of an image folder; all that is
            wrong with it is said at once.
    """
    walk = _walked(root)
    if not walk.found.entries and any(kind == "DICOM" for _, kind in walk.found.others):
        walk = _walked(root, dicom=True)
    if len(walk.problems) > MOST_PROBLEMS and not walk.found.entries:
        folders = sorted(entry.name for entry in walk.entries(root) if _is_dir(entry))
        raise KRError(
            f"{shown(str(root))}: none of its folders ({listed(folders)}) holds images that are "
            f"read; give a folder of the shape {SHAPE}"
        )
    refuse(shown(str(root)), walk.problems)
    names = sorted({entry.label for entry in walk.found.entries})
    walk.found.notes = check_classes(names, shown(str(root)))
    return walk.found


def _walked(root: Path, dicom: bool = False) -> _Walk:
    walk = _Walk(root, dicom)
    folders = walk.folders(root)
    by_split = {
        n: SPLIT_FOLDERS[n.strip().lower()] for n in folders if n.strip().lower() in SPLIT_FOLDERS
    }
    if 0 in by_split.values():
        _check_splits(root, folders, by_split)
        for name, code in sorted(by_split.items(), key=lambda item: item[1]):
            walk.classes(f"{name}/", walk.folders(root / name), code)
    else:
        walk.classes("", folders, OPEN)
    return walk


def _check_splits(root: Path, folders: list[str], by_split: dict[str, int]) -> None:
    if others := sorted(set(folders) - set(by_split)):
        raise KRError(
            f"{shown(str(root))}: mixes split folders ({listed(sorted(by_split))}) with others "
            f"({listed(others)}); move the others out, or rename the split folders if they "
            "are classes"
        )
    if twice := [SPLITS[code] for code, n in Counter(by_split.values()).items() if n > 1]:
        raise KRError(
            f"{shown(str(root))}: has more than one folder for {twice[0]}: {listed(folders)}"
        )


def _is_dir(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:
        return False


def _masks(names: list[str]) -> dict[str, str]:
    """Pattern of each file that is the mask of a file beside it.

    Example:
        >>> _masks(["x.png", "x_mask.png", "x_mask_1.png", "y_mask.png"])
        {'x_mask.png': '*_mask.png', 'x_mask_1.png': '*_mask_1.png'}
    """
    stems = {Path(name).stem.lower() for name in names}
    found = {}
    for name in names:
        path = Path(name)
        match = MASK.fullmatch(path.stem)
        if match and match[1].lower() in stems:
            found[name] = f"*{path.stem[len(match[1]) :]}{path.suffix}"
    return found


def mask_notes(masks: list[tuple[str, str]]) -> list[str]:
    """Says how many files were left out as masks, by pattern and class.

    Example:
        >>> mask_notes([("a", "*_mask.png"), ("b", "*_mask.png")])
        ['2 files *_mask.png were left out as masks of the images beside them (1 of a, 1 of b)']
    """
    by_pattern: dict[str, Counter[str]] = {}
    for label, pattern in masks:
        by_pattern.setdefault(pattern, Counter())[label] += 1
    return [_mask_sentence(pattern, labels) for pattern, labels in sorted(by_pattern.items())]


def _mask_sentence(pattern: str, labels: Counter[str]) -> str:
    total = sum(labels.values())
    what = "was left out as the mask of an image beside it"
    if total > 1:
        what = "were left out as masks of the images beside them"
    where = ", ".join(f"{n} of {shown(label)}" for label, n in sorted(labels.items()))
    return f"{count(total, 'file')} {shown(pattern)} {what} ({where})"
