"""Reads a manifest: a CSV file with a row per image, which says where it lies and what it is."""

from __future__ import annotations

import os
from collections import Counter
from functools import cache, partial
from pathlib import Path, PureWindowsPath
from typing import NamedTuple

import numpy as np

from knowledge_recycling.config import Data
from knowledge_recycling.data.assemble import Listed, assemble
from knowledge_recycling.data.columns import pick, pick_patient, unused
from knowledge_recycling.data.files import Stamp, status
from knowledge_recycling.data.images import read_image
from knowledge_recycling.data.listing import MAX_ENTRIES, SPLIT_FOLDERS, Entry
from knowledge_recycling.data.names import check_classes, group_codes
from knowledge_recycling.data.table_text import Row, read_rows
from knowledge_recycling.data.types import OPEN, SPLITS, Source
from knowledge_recycling.data.words import Problem, count, refuse, shown
from knowledge_recycling.errors import KRError

SUFFIXES = (".csv", ".tsv")


class Manifest(NamedTuple):
    """What a manifest says.

    Attributes:
        entries: of each row; a file is relative to the manifest, or absolute.
        patients: of each row, and None where the manifest names none.
        lines: of each row, counted from 1.
        notes: on columns that are not read, and on classes.
    """

    entries: list[Entry]
    patients: list[str] | None
    lines: list[int]
    notes: tuple[str, ...]


def read_manifest(path: Path, config: Data) -> Source:
    """Reads the images that a CSV file names.

    Args:
        path: the file, with the columns `path` and `label`, and `split` and `patient` if known.
        config: how images are read, and other names of columns.

    Returns:
        The source, in the order of rows.

    Raises:
        KRError: says what is wrong in the manifest or with the images, and what to do.
    """
    found = list_manifest(path, config)
    place = {entry.file: i for i, entry in enumerate(found.entries)}
    where = shown(str(path))

    def patients(entries: list[Entry]) -> tuple[np.ndarray | None, list[str]]:
        if found.patients is None:
            return None, []
        rows = [place[entry.file] for entry in entries]
        names = np.array([found.patients[row] for row in rows], np.str_)
        return group_codes(names, where, lambda i: f"line {found.lines[rows[i]]}"), []

    listed = Listed(
        where=where,
        name=path.stem,
        total=len(found.entries),
        entries=[(e, partial(read_image, path.parent / e.file)) for e in found.entries],
        patients=patients,
        notes=found.notes,
    )
    return assemble(listed, config)


def list_manifest(path: Path, config: Data) -> Manifest:
    """Reads the table, and checks all that can be told before an image is opened.

    A path is relative to the manifest's folder and stays in it, links resolved; or it is absolute,
    and then is taken as it stands: whoever reads the manifest sees where it leads.

    Raises:
        KRError: says all that is wrong.
    """
    where = shown(str(path))
    header, rows = read_rows(path, where)
    image = pick(header, config.image_column, "data.image_column", "path", where)
    label = pick(header, config.label_column, "data.label_column", "label", where)
    if image is None or label is None:
        raise KRError(
            f"{where}: needs the columns path and label; it has {', '.join(map(shown, header))}. "
            "Rename them, or state them with the settings data.image_column=... and "
            "data.label_column=..."
        )
    split = pick(header, None, "data.split", "split", where)
    patient = pick_patient(header, config.patient_column, where)
    if len(rows) > MAX_ENTRIES:
        raise KRError(f"{where}: has {len(rows):,} rows; more than {MAX_ENTRIES:,} are never read")
    problems = [
        *_empty(rows, [image, label]),
        *_twice(rows, image, path.parent),
        *_splits(rows, split),
        *_paths(rows, image, path.parent),
    ]
    refuse(where, problems)
    labels = sorted({row.cells[label] for row in rows})
    notes = (*unused(header, [image, label, split, patient]), *check_classes(labels, where))
    entries = [Entry(_file(row, image), row.cells[label], _code(row, split)) for row in rows]
    patients = [row.cells[patient] for row in rows] if patient else None
    return Manifest(entries, patients, [row.line for row in rows], notes)


def stamp(path: Path, config: Data, seen: Stamp) -> None:
    """Adds the images."""
    for entry in list_manifest(path, config).entries:
        if found := status(path.parent / entry.file):
            seen.add(entry.file, found)


def _file(row: Row, column: str) -> str:
    return row.cells[column].replace("\\", "/")


def _code(row: Row, split: str | None) -> int:
    return SPLIT_FOLDERS[row.cells[split].casefold()] if split and row.cells[split] else OPEN


def _empty(rows: list[Row], columns: list[str]) -> list[Problem]:
    problems = []
    for column in columns:
        if bad := [row.line for row in rows if not row.cells[column]]:
            cells = f"the column {shown(column)} is empty in {count(len(bad), 'row')}"
            problems.append(Problem(f"{cells} (first: line {bad[0]}); fill or remove them"))
    return problems


def _twice(rows: list[Row], column: str, root: Path) -> list[Problem]:
    lines: dict[str, int] = {}
    for row in rows:
        name = os.path.abspath(root / _file(row, column))
        if row.cells[column] and name in lines:
            text = f"lines {lines[name]} and {row.line} are both for {shown(_file(row, column))}"
            return [Problem(f"{text}; give each image one row (and one label)")]
        lines[name] = row.line
    return []


def _splits(rows: list[Row], column: str | None) -> list[Problem]:
    cells = Counter(row.cells[column].casefold() for row in rows) if column else Counter()
    known = ", ".join(SPLITS)
    problems = []
    if unknown := sorted(set(cells) - set(SPLIT_FOLDERS) - {""}):
        told = f"{shown(unknown[0])!r} in the column split is no split"
        problems.append(Problem(f"{told} ({known}); rename it, or remove its rows"))
    if 0 < cells[""] < len(rows):
        told = f"the column split is empty in {cells['']:,} of {len(rows):,} rows"
        problems.append(Problem(f"{told}; give each row {known}, or remove the column"))
    if cells and not unknown and cells[""] == 0 and not {"train", "training"} & set(cells):
        problems.append(Problem("no row is in the split train; name it so, or remove the column"))
    return problems


def _paths(rows: list[Row], column: str, root: Path) -> list[Problem]:
    """Refuses relative paths that lead out of the folder, and files that are not there."""
    top = os.path.realpath(root)
    real = cache(os.path.realpath)  # of folders, of which there are fewer than files
    out, absent = [], []
    for row in rows:
        cell = _file(row, column)
        if not cell:
            continue
        file = root / cell
        target = os.path.realpath(file) if file.is_symlink() else real(file.parent)
        if not _is_absolute(cell) and not Path(target).is_relative_to(top):
            out.append(row)
        elif status(file) is None:
            absent.append(row)
    return _told(out, absent, column)


def _told(out: list[Row], absent: list[Row], column: str) -> list[Problem]:
    problems = []
    if out:
        verb = "lead" if len(out) > 1 else "leads"
        told = f"{count(len(out), 'path')} {verb} out of its folder (first: line {out[0].line})"
        problems.append(Problem(f"{told}, by `..` or a link; move the files, or give whole paths"))
    if absent:
        first = f"line {absent[0].line}: {shown(absent[0].cells[column])}"
        verb = "does" if len(absent) == 1 else "do"
        told = f"{count(len(absent), 'file')} {verb} not exist (first: {first})"
        problems.append(Problem(f"{told}; paths are relative to the manifest's folder"))
    return problems


def _is_absolute(cell: str) -> bool:
    return os.path.isabs(cell) or PureWindowsPath(cell).is_absolute()
