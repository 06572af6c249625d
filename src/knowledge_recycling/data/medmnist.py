"""MedMNIST sets by name: from the cache of the `medmnist` package, else downloaded.

J. Yang et al., "MedMNIST v2", Scientific Data 10 (2023), arXiv:2110.14795. The table medmnist.json
holds the checksums and class names that the authors publish.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import urllib.request
from functools import cache
from http.client import HTTPException
from importlib import resources
from io import BufferedReader
from pathlib import Path
from typing import Any

from knowledge_recycling.data.checks import MULTI_LABEL
from knowledge_recycling.errors import KRError
from knowledge_recycling.storage.files import atomic

URL = "https://zenodo.org/records/10519652/files"
"""Where the authors keep the files; the environment variable KR_MEDMNIST_URL replaces it."""

TIMEOUT_SECONDS = 30.0


@cache
def table() -> dict[str, Any]:
    """Facts by name: `md5` by side in pixels and `classes`, or `refused` with the reason."""
    text = resources.files(__package__).joinpath("medmnist.json").read_text(encoding="utf-8")
    return dict(json.loads(text))


def parse_name(source: str) -> tuple[str, int] | None:
    """Splits a MedMNIST name into set and side in pixels; None where it is no such name.

    Example:
        >>> parse_name("breastmnist_64"), parse_name("BreastMNIST"), parse_name("x.npz")
        (('breastmnist', 64), ('breastmnist', 28), None)
    """
    match = re.fullmatch(r"([a-z]+mnist(?:3d)?)(?:_(\d+))?", source.lower())
    if match is None or match[1] not in table():
        return None
    return match[1], int(match[2] or 28)


def class_names(stem: str) -> tuple[str, ...] | None:
    """The authors' class names for a file called like a MedMNIST set; None for any other."""
    parsed = parse_name(stem)
    return tuple(table()[parsed[0]].get("classes", ())) or None if parsed else None


def fetch(name: str, size: int) -> Path:
    """Finds a set in the cache folder of the `medmnist` package, or downloads it there.

    Args:
        name: such as `breastmnist`.
        size: side in pixels.

    Returns:
        The npz file.

    Raises:
        KRError: on a set of several labels or of volumes, on a size that is not published, on a
            wrong checksum, and without network: then it says what to fetch and where to put it.
    """
    md5 = _checksum(name, size)
    file = f"{name}.npz" if size == 28 else f"{name}_{size}.npz"
    try:
        path = Path.home() / ".medmnist" / file
    except RuntimeError:
        raise KRError(
            f"{file}: the cache ~/.medmnist cannot be found, since the home folder is not known; "
            "set the environment variable HOME, or give the path of the file"
        ) from None
    if not path.is_file():
        _download(file, path, md5)
    return path


def is_official(path: Path, name: str, size: int) -> bool:
    """Whether a file has the checksum that the authors publish."""
    with path.open("rb") as stream:
        return _md5(stream) == _checksum(name, size)


def _checksum(name: str, size: int) -> str:
    facts = table()[name]
    if "refused" in facts:
        if facts["refused"] == "multi-label":
            raise KRError(f"data.source: {name} holds several labels per image; {MULTI_LABEL}")
        raise KRError(
            f"data.source: {name} holds {facts['refused']}, which is not supported; "
            f"choose one of {', '.join(k for k, v in table().items() if 'md5' in v)}"
        )
    if str(size) not in facts["md5"]:
        sizes = ", ".join(facts["md5"])
        raise KRError(f"data.source: {name} is published with {sizes} pixels, not with {size}")
    return str(facts["md5"][str(size)])


def _download(file: str, path: Path, md5: str) -> None:
    url = f"{os.environ.get('KR_MEDMNIST_URL', URL).rstrip('/')}/{file}?download=1"
    by_hand = f"fetch {url} on a machine that can, and put it at {path}"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with (
            urllib.request.urlopen(url, timeout=TIMEOUT_SECONDS) as answer,
            atomic(path) as temporary,
            temporary.open("wb") as stream,
        ):
            digest = hashlib.md5(usedforsecurity=False)
            while chunk := answer.read(1 << 20):
                digest.update(chunk)
                stream.write(chunk)
            if digest.hexdigest() != md5:
                raise KRError(
                    f"{url}: has not the published checksum (MD5 {digest.hexdigest()}, expected "
                    f"{md5}); nothing was kept. Try again, or {by_hand}"
                )
    except (OSError, HTTPException, ValueError) as error:
        raise KRError(f"{file} could not be downloaded ({error}); {by_hand}") from None


def _md5(stream: BufferedReader) -> str:
    return hashlib.file_digest(stream, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
