"""Where the data lie and of what kind they are; paths that stay right in another folder."""

from __future__ import annotations

import contextlib
import difflib
import os
import stat
from pathlib import Path
from typing import Literal, NamedTuple

from knowledge_recycling.config import HUB, Config
from knowledge_recycling.data import hub, manifest, medmnist, tables
from knowledge_recycling.data.files import SPECIAL, status
from knowledge_recycling.data.names import check_path_name
from knowledge_recycling.data.table_files import SUFFIX
from knowledge_recycling.data.words import shown
from knowledge_recycling.errors import KRError

Kind = Literal["digits", "folder", "manifest", "tables", "hub", "npz"]


class Place(NamedTuple):
    """Where a source lies; its path is empty where it is no file or folder."""

    kind: Kind
    path: Path = Path()


def located(config: Config) -> Config:
    """The same configuration with absolute paths; names such as `digits` stay as they are."""
    section = config.data
    update = {}
    named = section.source == "digits" or section.source.startswith(HUB)
    named = named or medmnist.parse_name(section.source) is not None
    if section.source and not named:
        update["source"] = _absolute(section.source)
    if section.groups and Path(section.groups).exists():
        update["groups"] = _absolute(section.groups)
    return config.model_copy(update={"data": section.model_copy(update=update)})


def find(source: str) -> Place:
    """Where a source lies, and of what kind it is; fetched where it is a MedMNIST name.

    Raises:
        KRError: there is nothing of the name.
    """
    if source == "digits":
        return Place("digits")
    if source.startswith(HUB):
        hub.parse_name(source)
        return Place("hub")
    if name := medmnist.parse_name(source):
        return Place("npz", _absolute_path(medmnist.fetch(*name)))
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
    return Place(_kind(path), _absolute_path(path))


def _kind(path: Path) -> Kind:
    if path.is_dir():
        return "tables" if tables.is_table_folder(path) else "folder"
    if path.suffix.lower() in manifest.SUFFIXES:
        return "manifest"
    return "tables" if path.suffix.lower() == SUFFIX else "npz"


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


def _absolute(path: str) -> str:
    with contextlib.suppress(RuntimeError):  # no home folder is known
        path = os.path.expanduser(path)
    # abspath, not resolve: a link keeps the name that the user knows.
    return os.path.abspath(path)


def _absolute_path(path: Path) -> Path:
    return Path(os.path.abspath(path))
