"""Reads image folders: one listing, one pass over the files, one message for all that is wrong."""

from __future__ import annotations

import os
import warnings
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from knowledge_recycling.config import Data
from knowledge_recycling.data import checks, scale, shortcuts
from knowledge_recycling.data.decode import Decoded, Rule, decode, fits, pages_note
from knowledge_recycling.data.files import check_memory
from knowledge_recycling.data.kinds import left_out
from knowledge_recycling.data.listing import Entry, list_folder, mask_notes
from knowledge_recycling.data.patients import read_groups
from knowledge_recycling.data.resize import resize_note, size_advice
from knowledge_recycling.data.types import OPEN, Source
from knowledge_recycling.data.words import Problem, count, refuse, shown
from knowledge_recycling.errors import KRError
from knowledge_recycling.training.progress import track

LOOKED_AT = 2000
"""Files looked at in full where their size must be set first; of the others the header is read."""

LOW_16_BIT = 32768
"""16-bit files that stay below use less than half of their range, and need a stated one."""


def read_folder(root: Path, config: Data) -> Source:
    """Reads a folder of images; a class is the name of the folder that an image lies in.

    Args:
        root: the folder.
        config: `size`, `range` and `color` say how images are read, `groups` names a CSV file,
            `skip_broken` leaves broken files out.

    Returns:
        The source, in the order of split, class and file name.

    Raises:
        KRError: says all that is wrong in the folder, and the settings that cure it.
    """
    listing = list_folder(root)
    notes = [*left_out(listing.others), *mask_notes(listing.masks), *listing.notes]
    rule = Rule(config.size, config.range, config.color)
    decoded = _decode_all(root, listing.entries, rule)
    entries, decoded, broken = _without_broken(listing.entries, decoded, config.skip_broken)
    groups, unused, lost = _patients(root, config.groups, [e.file for e in entries])
    refuse(shown(str(root)), [*broken, *_problems(decoded, rule), *lost])
    notes += unused
    skipped = len(listing.entries) - len(entries)
    notes += [f"{count(skipped, 'broken file')} skipped"] if skipped else []
    names = checks.order_names({e.label for e in entries})
    labels = np.array([names.index(e.label) for e in entries], np.int64)
    images = _stack([d.pixels for d in decoded if d.pixels is not None])
    return Source(
        images=images,
        labels=labels,
        groups=groups,
        assigned=_assigned(entries),
        class_names=names,
        notes=(*notes, *_image_notes(decoded, rule, images.shape[1]), *_shortcuts(decoded, labels)),
        name=root.absolute().name,
    )


def _patients(
    root: Path, table: str | None, files: list[str]
) -> tuple[np.ndarray | None, list[str], list[Problem]]:
    """Codes where they are known, notes, and what is wrong with the table."""
    if table is None or not files:
        return None, [], []
    try:
        return *read_groups(root, table, files), []
    except KRError as error:
        return None, [], [Problem(str(error))]


def _assigned(entries: list[Entry]) -> np.ndarray:
    assigned = np.array([e.split for e in entries], np.int8)
    if not {0, 1, 2} <= set(assigned.tolist()):
        assigned[assigned == 0] = OPEN  # val or test is drawn from train
    return assigned


def _decode_all(root: Path, entries: list[Entry], rule: Rule) -> list[Decoded]:
    """Decodes in threads, straight to the target size: full-size pixels live in a thread alone."""
    if rule.size:
        side = 3 * rule.size**2 * len(entries)
        check_memory(side, f"{shown(str(root))}: {count(len(entries), 'image')}", "use fewer")
    step = max(1, len(entries) // LOOKED_AT)
    pool = ThreadPoolExecutor(min(8, os.cpu_count() or 1))
    try:
        with warnings.catch_warnings():  # Pillow's, which are printed raw
            warnings.simplefilter("ignore")
            jobs = [
                pool.submit(decode, root / entry.file, rule, i % step == 0)
                for i, entry in enumerate(entries)
            ]
            return [jobs[i].result() for i in track("images read", 0, len(entries))]
    finally:
        pool.shutdown(cancel_futures=True)


def _without_broken(
    entries: list[Entry], decoded: list[Decoded], skip: bool
) -> tuple[list[Entry], list[Decoded], list[Problem]]:
    pairs = list(zip(entries, decoded, strict=True))
    broken = [(e, d) for e, d in pairs if d.error]
    problems = []
    if len(broken) == len(pairs):
        problems = [
            Problem(
                f"none of its {count(len(broken), 'image file')} can be decoded "
                f"(the first: {shown(broken[0][1].error or '')})"
            )
        ]
    elif broken and not skip:
        entry, image = broken[0]
        more = f" ({len(broken) - 1} more files are broken too)" if len(broken) > 2 else ""
        more = " (1 more file is broken too)" if len(broken) == 2 else more
        text = f"{shown(entry.file)} cannot be decoded: {shown(image.error or '')}{more}"
        text += "; replace it, or go on without broken files"
        problems = [Problem(text, ("data.skip_broken=true",))]
    whole = [(e, d) for e, d in pairs if not d.error]
    return [e for e, _ in whole], [d for _, d in whole], problems


def _problems(decoded: list[Decoded], rule: Rule) -> list[Problem]:
    if not decoded:
        return []
    return [
        *_size_problem(decoded, rule),
        *_depth_problem(decoded, rule),
        *_color_problem(decoded, rule),
    ]


def _size_problem(decoded: list[Decoded], rule: Rule) -> list[Problem]:
    shapes = Counter(d.shape for d in decoded)
    if rule.size or (len(shapes) == 1 and fits(decoded[0].shape)):
        return []
    (height, width), number = shapes.most_common(1)[0]
    what = f"all images are {height} x {width} pixels (height x width), which cannot run as it is"
    if len(shapes) > 1:
        what = (
            f"images have {len(shapes):,} sizes, most often {height} x {width} pixels (height x "
            f"width; {count(number, 'file')}), and one square size is needed"
        )
    advice, setting = size_advice((height + width) / 2)
    return [Problem(f"{what}; {advice}", (setting,))]


def _depth_problem(decoded: list[Decoded], rule: Rule) -> list[Problem]:
    depths = Counter(d.depth for d in decoded)
    if len(depths) > 1:
        told = " and ".join(f"{n:,} {depth}" for depth, n in sorted(depths.items()))
        return [
            Problem(
                f"mixes {told} files; brightness would tell classes or sites apart, so save all "
                "with the same depth, from the same scale"
            )
        ]
    low = min((d.low for d in decoded if d.low is not None), default=0.0)
    high = max((d.high for d in decoded if d.high is not None), default=0.0)
    depth = decoded[0].depth
    if depth == "8-bit":
        return []
    if depth == "16-bit" and not all(d.grey_file for d in decoded):
        return _deep_color_problem(high, rule)
    if rule.range or (depth == "16-bit" and low >= 0 and high >= LOW_16_BIT):
        return []
    # The header alone was read of some: their values count when all are read.
    text = f"{depth} values {low:g}..{high:g}, which are on no known scale"
    if depth == "16-bit" and low >= 0:
        text = f"16-bit files use {low:g}..{high:g} of 0..65535 and would come out dark"
    return [Problem(f"{text}; state one range for all images", (scale.suggest(low, high),))]


def _deep_color_problem(high: float, rule: Rule) -> list[Problem]:
    if not rule.range and high >= LOW_16_BIT:
        return []
    why = "a stated range cannot be used" if rule.range else "they would come out dark"
    return [Problem(f"of 16-bit colour only the upper 8 bits are read, so {why}; save with 8 bits")]


def _color_problem(decoded: list[Decoded], rule: Rule) -> list[Problem]:
    """Grey files among coloured ones; a colour file that is grey to the eye counts as colour."""
    grey = sum(d.grey_file for d in decoded)
    if rule.color or not grey or not any(d.coloured for d in decoded):
        return []
    return [
        Problem(
            f"mixes {count(grey, 'grey file')} with {count(len(decoded) - grey, 'colour file')}; "
            "kind must not tell classes or sites apart, so bring all to one (grey, or rgb)",
            ("data.color=grey",),
        )
    ]


def _stack(arrays: list[np.ndarray]) -> np.ndarray:
    """(n, s, s, c) uint8."""
    if not any(a.ndim == 3 for a in arrays):
        return np.stack(arrays)[..., np.newaxis]
    return np.stack([a if a.ndim == 3 else np.repeat(a[..., None], 3, axis=2) for a in arrays])


def _image_notes(decoded: list[Decoded], rule: Rule, size: int) -> list[str]:
    """What was done to the pixels, counted."""
    n = len(decoded)
    grey, turned, transparent, outside, deep = (
        sum(values)
        for values in zip(
            *(
                (d.grey_file, d.turned, d.transparent, d.outside, d.high is not None)
                for d in decoded
            ),
            strict=True,
        )
    )
    told = {
        f"{count(turned, 'image')} turned upright, as their EXIF orientation says": turned,
        f"{count(transparent, 'image')} with transparency, shown on black": transparent,
        f"{count(outside, 'image')} with values outside the stated range, clipped": outside,
        f"{count(grey, 'grey file')} and {count(n - grey, 'colour file')} all read as "
        f"{rule.color}": rule.color and 0 < grey < n,
    }
    notes = [note for note, holds in told.items() if holds]
    if rule.range:
        low, high = rule.range
        notes.append(f"values {low:g}..{high:g} scaled to 0..255")
    elif deep:
        peak = max(d.high for d in decoded if d.high is not None)
        notes.append(
            f"{count(deep, '16-bit image')} scaled to 8 bits (65535 becomes 255; the largest "
            f"value is {peak:g})"
        )
    more = [pages_note(decoded), resize_note({d.shape for d in decoded}, size)]
    return [*notes, *(note for note in more if note)]


def _shortcuts(decoded: list[Decoded], labels: np.ndarray) -> list[str]:
    facts = {
        "format": [d.format for d in decoded],
        "kind (grey or colour, alpha, bit depth)": [
            f"{d.depth} {d.grey_file} {d.alpha}" for d in decoded
        ],
    }
    found = shortcuts.find([d.shape for d in decoded], facts, labels)
    return [shortcut.note() for shortcut in found]
