"""Decodes the images that a folder, a manifest or a table lists, and judges them as one set."""

from __future__ import annotations

import os
import warnings
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace

import numpy as np

from knowledge_recycling.config import Data
from knowledge_recycling.data import cache, checks, mixture, scans, shortcuts
from knowledge_recycling.data.decode import Decoded, Rule, pages_note
from knowledge_recycling.data.files import check_memory
from knowledge_recycling.data.listing import Entry
from knowledge_recycling.data.resize import resize_note
from knowledge_recycling.data.scans import Scan
from knowledge_recycling.data.types import OPEN, Source
from knowledge_recycling.data.words import Problem, count, refuse, shown
from knowledge_recycling.errors import KRError
from knowledge_recycling.training.progress import track

LOOKED_AT = 2000
"""Files looked at in full where their size must be set first; of the others the header is read."""

AT_ONCE = 64
"""Entries that the threads have at a time: rows of a table lie in memory until then."""

NO_PIXELS = {2: np.empty((0, 0), np.uint8), 3: np.empty((0, 0, 3), np.uint8)}
"""In the place of grey and coloured pixels that lie elsewhere."""

Read = Callable[[Rule, bool], list[Decoded]]
"""Decodes what an entry names; see `decode.decode`."""

Patients = Callable[[list[Entry]], tuple[np.ndarray | None, list[str]]]
"""Codes (n,) of the patients of entries, where they are known, and notes.

Raises:
    KRError: some are not known.
"""


@dataclass(frozen=True)
class Listed:
    """Images that are listed and not yet read.

    Attributes:
        where: what to call them in a message.
        name: the source's.
        total: how many entries there are.
        entries: each with its reader.
        patients: finds the patient of each entry.
        notes: what was noted when they were listed.
        class_names: in the order of labels; None: those found, sorted.
    """

    where: str
    name: str
    total: int
    entries: Iterable[tuple[Entry, Read]]
    patients: Patients
    notes: tuple[str, ...] = ()
    class_names: tuple[str, ...] | None = None


def assemble(listed: Listed, config: Data) -> Source:
    """Reads what is listed.

    Args:
        listed: the images.
        config: `size`, `range` and `color` say how images are read, `skip_broken` leaves broken
            files out.

    Returns:
        The source, in the order of the list.

    Raises:
        KRError: says all that is wrong, and the settings that cure it.
    """
    rule = Rule(config.size, config.range, config.color)
    with cache.spooled() as spool:
        pairs = _decode_all(listed, rule, spool)
        whole, broken = _without_broken(pairs, config.skip_broken)
        entries, decoded = [e for e, _ in whole], [d for _, d in whole]
        scanned = [d.scan for d in decoded if d.scan]
        groups, notes, lost = _patients(listed, entries, scanned)
        refuse(listed.where, [*broken, *mixture.problems(decoded, rule), *lost])
    notes = [*listed.notes, *notes]
    skipped = len(pairs) - len(whole)
    notes += [f"{count(skipped, 'broken file')} skipped"] if skipped else []
    names = listed.class_names or checks.order_names({e.label for e in entries})
    labels = np.array([names.index(e.label) for e in entries], np.int64)
    images = spool.images()
    return Source(
        images=images,
        labels=labels,
        groups=groups,
        assigned=_assigned(entries),
        class_names=names,
        notes=(*notes, *_image_notes(decoded, rule, images.shape[1]), *_shortcuts(decoded, labels)),
        name=listed.name,
        files=tuple(entry.file for entry in entries),
    )


def _patients(
    listed: Listed, entries: list[Entry], scanned: list[Scan]
) -> tuple[np.ndarray | None, list[str], list[Problem]]:
    """Codes where they are known, by the list or by DICOM headers; notes; and what is wrong."""
    if not entries:
        return None, [], []
    try:
        groups, notes = listed.patients(entries)
        if groups is None and scanned and len(scanned) == len(entries):
            groups, notes = scans.patients(scanned, listed.where, lambda i: shown(entries[i].file))
        return groups, notes, []
    except KRError as error:
        return None, [], [Problem(str(error))]


def _assigned(entries: list[Entry]) -> np.ndarray:
    assigned = np.array([e.split for e in entries], np.int8)
    if not {0, 1, 2} <= set(assigned.tolist()):
        assigned[assigned == 0] = OPEN  # val or test is drawn from train
    return assigned


def _decode_all(listed: Listed, rule: Rule, spool: cache.Spool) -> list[tuple[Entry, Decoded]]:
    """Decodes in threads, straight to the target size, and puts the pixels into the spool.

    Full-size pixels live in a thread alone. Most of the work is Pillow's, which runs beside Python;
    processes would each take seconds to start, and ask scripts for a `__main__` guard.
    """
    if rule.size and spool.in_memory:
        side = 3 * rule.size**2 * listed.total
        check_memory(side, f"{listed.where}: {count(listed.total, 'image')}", "use fewer")
    pairs: list[tuple[Entry, Decoded]] = []
    progress = track("images read", 0, listed.total)
    pool = ThreadPoolExecutor(min(8, os.cpu_count() or 1))
    try:
        with warnings.catch_warnings():  # Pillow's, which are printed raw
            warnings.simplefilter("ignore")
            for entry, images in _in_order(pool, listed, rule):
                next(progress, None)
                pairs += [(entry, _put(image, spool)) for image in images]
        next(progress, None)  # past the last
        return pairs
    finally:
        pool.shutdown(cancel_futures=True)


def _in_order(
    pool: ThreadPoolExecutor, listed: Listed, rule: Rule
) -> Iterator[tuple[Entry, list[Decoded]]]:
    """Entries and their images; the threads are at most `AT_ONCE` entries ahead."""
    step = max(1, listed.total // LOOKED_AT)
    ahead: deque[tuple[Entry, Future[list[Decoded]]]] = deque()
    for i, (entry, read) in enumerate(listed.entries):
        ahead.append((entry, pool.submit(read, rule, i % step == 0)))
        if len(ahead) == AT_ONCE:
            first, job = ahead.popleft()
            yield first, job.result()
    yield from ((entry, job.result()) for entry, job in ahead)


def _put(image: Decoded, spool: cache.Spool) -> Decoded:
    """What is known of an image without its pixels, of which only their being there is kept."""
    if image.pixels is None or image.error:
        return image
    spool.add(image.pixels)
    return replace(image, pixels=NO_PIXELS[image.pixels.ndim])


def _without_broken(
    pairs: list[tuple[Entry, Decoded]], skip: bool
) -> tuple[list[tuple[Entry, Decoded]], list[Problem]]:
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
    return [(e, d) for e, d in pairs if not d.error], problems


def stack(arrays: list[np.ndarray]) -> np.ndarray:
    """Images (s, s) or (s, s, 3) together: (n, s, s, c) uint8, grey ones in colour among others."""
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
    elif deep and not decoded[0].scan:
        peak = max(d.high for d in decoded if d.high is not None)
        notes.append(
            f"{count(deep, '16-bit image')} scaled to 8 bits (65535 becomes 255; the largest "
            f"value is {peak:g})"
        )
    more = [pages_note(decoded), resize_note({d.shape for d in decoded}, size)]
    of_scans = scans.notes([d.scan for d in decoded if d.scan])
    return [*notes, *of_scans, *(note for note in more if note)]


def _shortcuts(decoded: list[Decoded], labels: np.ndarray) -> list[str]:
    facts = {
        "format": [d.format for d in decoded],
        "kind (grey or colour, alpha, bit depth)": [
            f"{d.depth} {d.grey_file} {d.alpha}" for d in decoded
        ],
        **scans.facts([d.scan for d in decoded if d.scan]),
    }
    found = shortcuts.find([d.shape for d in decoded], facts, labels)
    return [shortcut.note() for shortcut in found]
