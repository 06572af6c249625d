"""Reads image folders: a class is the name of the folder that an image lies in."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np

from knowledge_recycling.config import Data
from knowledge_recycling.data.assemble import Listed, assemble
from knowledge_recycling.data.images import read_image
from knowledge_recycling.data.kinds import left_out
from knowledge_recycling.data.listing import Entry, list_folder, mask_notes
from knowledge_recycling.data.patients import read_groups
from knowledge_recycling.data.types import Source
from knowledge_recycling.data.words import shown


def read_folder(root: Path, config: Data) -> Source:
    """Reads a folder of images.

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
    notes = (*left_out(listing.others), *mask_notes(listing.masks), *listing.notes)

    def patients(entries: list[Entry]) -> tuple[np.ndarray | None, list[str]]:
        if config.groups is None:
            return None, []
        return read_groups(root, config.groups, [entry.file for entry in entries])

    found = Listed(
        where=shown(str(root)),
        name=root.absolute().name,
        total=len(listing.entries),
        entries=[(entry, partial(read_image, root / entry.file)) for entry in listing.entries],
        patients=patients,
        notes=notes,
    )
    return assemble(found, config)
