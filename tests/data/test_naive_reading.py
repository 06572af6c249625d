"""Any input ends in what a naive reading gives, or in a KRError that can be printed.

Nothing else is raised, nothing in the input is changed, nothing is printed raw.
"""

from __future__ import annotations

import hashlib
import io
import math
import tempfile
import unicodedata
from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image

from knowledge_recycling.config import Data
from knowledge_recycling.data import Source, describe, open_source, save_arrays
from knowledge_recycling.data.kinds import kind_of_bytes
from knowledge_recycling.errors import KRError
from tests.data.conftest import noise

tried = settings(max_examples=100, deadline=None, derandomize=True)

NAMES = st.text(st.characters(blacklist_characters="/\0", codec="utf-8"), min_size=1, max_size=6)
"""Anything that a file of Linux can be called."""


def check_printable(text: str) -> None:
    assert all(c.isprintable() or c == "\n" for c in text)


def opened_or_refused(path: Path, **fields: object) -> Source | None:
    config = Data.model_validate({"source": str(path), **fields})
    try:
        source = open_source(config)
        notes = describe(source, config, seed=0).notes
    except KRError as error:
        check_printable(str(error))
        return None
    check_printable("".join(notes))
    return source


def naive(images: np.ndarray) -> np.ndarray:
    """0..255 as the page on data promises it, value by value."""
    if images.dtype == np.uint8:
        return images
    return np.array(
        [math.floor(min(max(float(v), 0), 1) * 255 + 0.5) for v in images.ravel()], np.uint8
    ).reshape(images.shape)


@st.composite
def sound_arrays(draw: st.DrawFn) -> np.ndarray:
    """Images of each kind that is read."""
    tail = draw(st.sampled_from([(), (1,), (3,)]))
    values = np.random.default_rng(draw(st.integers(0, 99))).integers(0, 256, (24, 8, 8, *tail))
    kind = draw(st.sampled_from(["u1", "?", "f4", "f8"]))
    if kind in ("u1", "?"):
        return (values > 128 if kind == "?" else values).astype(kind)
    images = (values / 255).astype(kind)
    images.flat[0] = draw(st.floats(-1e-4, 1.0001))
    return images


@st.composite
def any_arrays(draw: st.DrawFn) -> np.ndarray:
    n, side = draw(st.sampled_from([(24, 8), (24, 8), (24, 9), (0, 8), (7, 8)]))
    tail = draw(st.sampled_from([(), (1,), (3,), (2,)]))
    kind = draw(st.sampled_from(["u1", "f4", "u2", "i8", "c8", "U1"]))
    values = np.random.default_rng(0).integers(0, 256, (n, side, side, *tail))
    images = (values / draw(st.sampled_from([1, 127, 255])) if kind == "f4" else values).astype(
        kind
    )
    if kind == "f4" and images.size:
        images.flat[0] = draw(st.floats(width=32))
    return images


NAMED = st.lists(
    st.sampled_from(["a", "b ", "c", "\x1b[2J", "4", "A", "nan", "None", ""]),
    min_size=2,
    max_size=3,
)
SOUND_NAMES: list[list[Any]] = [[0, 1], [0, 1, 2], ["b", "a "], ["c", "\x1b[2J", "4"]]
SOUND_LABELS = st.sampled_from(SOUND_NAMES).map(
    lambda names: np.array(names)[np.arange(24) % len(names)]
)
LABELS = st.one_of(
    SOUND_LABELS,
    NAMED.map(lambda names: np.array(names)[np.arange(24) % len(names)]),
    arrays(np.int64, 24, elements=st.integers(-1, 3)),
)


def check_as_promised(source: Source, images: np.ndarray, labels: np.ndarray) -> None:
    np.testing.assert_array_equal(source.images, naive(images).reshape(source.images.shape))
    found = [source.class_names[code] for code in source.labels]
    assert found == [str(label).strip() for label in labels.tolist()]


@tried
@given(sound_arrays(), SOUND_LABELS)
def test_sound_arrays_are_read(images: np.ndarray, labels: np.ndarray) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = save_arrays(Path(folder) / "x.npz", images, labels)
        kept = open_source(Data(source=str(path)))
        np.savez(Path(folder) / "y.npz", images=images, labels=labels)
        plain = open_source(Data(source=str(Path(folder) / "y.npz")))
    check_as_promised(kept, images, labels)
    check_as_promised(plain, images, labels)


@tried
@given(sound_arrays() | any_arrays(), LABELS)
def test_any_arrays(images: np.ndarray, labels: np.ndarray) -> None:
    labels = labels[: len(images)]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "x.npz"
        np.savez(path, images=images, labels=labels)
        before = path.read_bytes()
        source = opened_or_refused(path)
        assert path.read_bytes() == before
        try:
            save_arrays(Path(folder) / "y.npz", images, labels)
        except KRError as error:
            check_printable(str(error))
            assert source is None
    if source is not None:
        check_as_promised(source, images, labels)


def encoded(values: np.ndarray, kind: str) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(values).save(stream, kind)
    return stream.getvalue()


PICTURES = [encoded(image, "PNG") for image in noise(12, 8, 8)]
CONTENT = st.one_of(
    st.sampled_from(PICTURES),
    st.sampled_from(PICTURES),
    st.just(PICTURES[0][:60]),
    st.just(encoded(noise(1, 8, 8, 3)[0], "BMP")),
    st.just(encoded(noise(1, 8, 8)[0].astype(np.uint16) * 16, "PNG")),
    st.just(encoded(noise(1, 9, 7)[0], "TIFF")),
    st.binary(max_size=20),
)
SUFFIX = st.sampled_from([".png", ".png", ".tif", ".PNG", ".txt", "_mask.png", ""])
FILE = st.tuples(st.builds(str.__add__, NAMES, SUFFIX), CONTENT)
SOUND = st.tuples(st.builds(str.__add__, NAMES, st.just(".png")), st.sampled_from(PICTURES))
FOLDERS = st.one_of(
    st.dictionaries(st.sampled_from(["a", "b"]), st.lists(FILE, max_size=2)),
    st.dictionaries(NAMES, st.lists(SOUND, min_size=8, max_size=8), max_size=2),
    st.dictionaries(
        st.one_of(st.sampled_from(["a", "b", "Testing", "train"]), NAMES),
        st.lists(FILE, max_size=6),
        max_size=4,
    ),
)


def write_tree(root: Path, folders: dict[str, list[tuple[str, bytes]]]) -> None:
    """Two sound classes, and whatever else there is."""
    tree = {f: {f"{i}.png": p for i, p in enumerate(PICTURES[k::2])} for k, f in enumerate("ab")}
    for folder, files in folders.items():
        tree.setdefault(folder, {}).update(files)
    for folder, content in tree.items():
        if folder in (".", ".."):
            continue
        (root / folder).mkdir(parents=True, exist_ok=True)
        for name, raw in content.items():
            if name not in (".", ".."):
                (root / folder / name).write_bytes(raw)


def snapshot(root: Path) -> dict[str, str]:
    return {
        str(p): hashlib.sha256(p.read_bytes()).hexdigest() if p.is_file() else ""
        for p in root.rglob("*")
    }


@tried
@given(FOLDERS, st.booleans(), st.sampled_from([None, 8]))
def test_folders(folders: dict[str, list[tuple[str, bytes]]], skip: bool, size: int | None) -> None:
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "set"
        write_tree(root, folders)
        before = snapshot(root)
        source = opened_or_refused(root, skip_broken=skip, size=size)
        assert snapshot(root) == before
        if source is None:
            return
        sound = {raw for files in folders.values() for _, raw in files} | set(PICTURES)
        names = {unicodedata.normalize("NFC", p.name).strip() for p in root.glob("**/")}
    assert set(source.class_names) <= names
    for image in source.images[:]:
        if size is None and image.shape[-1] == 1:
            assert any(_same(image[..., 0], raw) for raw in sound)


def _same(image: np.ndarray, raw: bytes) -> bool:
    if kind_of_bytes(raw) != "PNG":
        return False
    try:
        with Image.open(io.BytesIO(raw)) as picture:
            return picture.mode == "L" and bool((np.asarray(picture) == image).all())
    except (OSError, ValueError):
        return False
