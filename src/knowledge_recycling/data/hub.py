"""Sets of the Hugging Face Hub, `hf:owner/name`, through the package `datasets` (extra `hf`).

Code of a set is never run: `datasets` has had no such means since version 4, and it is not asked.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from functools import partial
from typing import Any

from knowledge_recycling.config import HUB, Data
from knowledge_recycling.data.table_files import ROWS, Part
from knowledge_recycling.data.tables import read_parts, split_codes
from knowledge_recycling.data.types import Source
from knowledge_recycling.data.words import shown
from knowledge_recycling.errors import KRError

NAME = re.compile(rf"{HUB}([\w.-]+/[\w.-]+)(?::([\w.-]+))?", re.ASCII)
INSTALL = "sets of the Hub need `datasets`: pip install 'knowledge-recycling[hf]'"


def parse_name(source: str) -> tuple[str, str | None]:
    """Splits `hf:owner/name` or `hf:owner/name:configuration`.

    Raises:
        KRError: it is no such name.

    Example:
        >>> parse_name("hf:owner/xrays"), parse_name("hf:owner/xrays:small")
        (('owner/xrays', None), ('owner/xrays', 'small'))
    """
    match = NAME.fullmatch(source)
    if match is None or ".." in source:
        raise KRError(
            f"data.source: {shown(source)[:100]} is no name on the Hub; write hf:owner/name, or "
            "hf:owner/name:configuration"
        )
    return match[1], match[2]


def read_hub(config: Data) -> Source:
    """Fetches a set into the cache of `datasets`, and reads it.

    Args:
        config: `source` is its name.

    Raises:
        KRError: `datasets` is not installed, the set cannot be fetched, or it is none of images.
    """
    name, configuration = parse_name(config.source)
    found = _load(name, configuration, config.source)
    codes = split_codes([split for split, _ in found], config.source)
    parts = [
        Part(split, code, data.data.table.schema, partial(_batches, data.data.table))
        for (split, data), code in zip(found, codes, strict=True)
    ]
    return read_parts(parts, config.source, name.split("/")[1], config)


def _batches(table: Any, columns: list[str]) -> Iterator[Any]:
    yield from table.select(columns).to_batches(max_chunksize=ROWS)


def _load(name: str, configuration: str | None, source: str) -> list[tuple[str, Any]]:
    """Names of splits, and the sets of `datasets`."""
    try:
        import datasets
    except ImportError:
        raise KRError(INSTALL) from None
    if os.path.exists(name):
        raise KRError(
            f"{source}: a folder {name} lies here, which would be taken for it; give ./{name}"
        )
    by_hand = (
        f"on a machine that can, run `hf download {name} --repo-type dataset --local-dir DIR`, and "
        "give the folder DIR"
    )
    try:
        return list(datasets.load_dataset(name, configuration).items())
    except datasets.exceptions.DatasetNotFoundError:
        raise KRError(
            f"{source}: is not on the Hub, or is not open to you (`hf auth login`)"
        ) from None
    except (OSError, ConnectionError) as error:
        raise KRError(f"{source}: could not be fetched ({_first_line(error)}); {by_hand}") from None
    except (ValueError, RuntimeError, datasets.exceptions.DatasetsError) as error:
        raise KRError(f"{source}: cannot be read by `datasets`: {_first_line(error)}") from None


def _first_line(error: Exception) -> str:
    return shown(str(error).split("\n")[0])[:200]
