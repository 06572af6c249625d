"""Where the data lie, in words that stay right in another working directory."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from knowledge_recycling.config import Config
from knowledge_recycling.data import medmnist


def located(config: Config) -> Config:
    """The same configuration with absolute paths; names such as `digits` stay as they are."""
    section = config.data
    update = {}
    named = section.source == "digits" or medmnist.parse_name(section.source)
    if section.source and not named:
        update["source"] = _absolute(section.source)
    if section.groups and Path(section.groups).exists():
        update["groups"] = _absolute(section.groups)
    return config.model_copy(update={"data": section.model_copy(update=update)})


def _absolute(path: str) -> str:
    with contextlib.suppress(RuntimeError):  # no home folder is known
        path = os.path.expanduser(path)
    # abspath, not resolve: a link keeps the name that the user knows.
    return os.path.abspath(path)
