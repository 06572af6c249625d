"""Reads one image file of any kind that is read."""

from __future__ import annotations

from pathlib import Path

from knowledge_recycling.data.decode import Decoded, Rule, decode


def read_image(path: Path, rule: Rule, look: bool = True) -> list[Decoded]:
    """The images in a file; see `decode.decode`.

    Raises:
        KRError: the file may not be read, or is no regular file.
    """
    return [decode(path, rule, look)]
