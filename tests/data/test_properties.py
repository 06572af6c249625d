"""Whatever is given ends in what a naive reading gives, or in a `KRError`; nothing is changed."""

from __future__ import annotations

import contextlib
import csv
import io
import tempfile
import warnings
from pathlib import Path
from unicodedata import normalize

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image

from knowledge_recycling.config import Data
from knowledge_recycling.data import describe, open_source, save_arrays
from knowledge_recycling.data.patients import read_groups
from knowledge_recycling.errors import KRError
from knowledge_recycling.results import SplitRecord

quick = settings(max_examples=60, deadline=None)
NAMES = st.text(st.characters(exclude_characters="/\0"), min_size=1, max_size=6)


def snapshot(root: Path) -> dict[str, bytes]:
    return {str(p): p.read_bytes() for p in root.rglob("*") if p.is_file()}


def attempt(config: Data) -> SplitRecord | None:
    """The record, or None where the data are refused; nothing is printed or warned of."""
    out = io.StringIO()
    with (
        warnings.catch_warnings(),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(out),
    ):
        warnings.simplefilter("error")
        record, message = None, "-"
        try:
            source = open_source(config)
            record = describe(source, config, seed=0)
        except KRError as error:
            message = str(error)
    assert 0 < len(message) < 3000
    told = [message, *(record.notes if record else ())]
    assert all(c.isprintable() or c == "\n" for c in "".join(told))
    assert out.getvalue() == ""
    return record


DTYPES = st.sampled_from(["u1", "u2", "i4", "f4", "f8", "?", "c8", "U2", "M8[s]"])


@quick
@given(st.data())
def test_arrays(data: st.DataObject) -> None:
    dtype = data.draw(DTYPES)
    n = data.draw(st.integers(0, 24))
    tail = data.draw(st.sampled_from([(8, 8), (8, 8, 1), (8, 8, 3), (3, 8, 8), (8, 9), (), (8,)]))
    images = data.draw(hnp.arrays(np.dtype(dtype), (n, *tail)))
    labels = data.draw(
        st.one_of(
            hnp.arrays(np.int64, n, elements=st.integers(0, 1)),
            hnp.arrays(np.dtype("U3"), n, elements=st.sampled_from(["a", "b ", "nan", "B", ""])),
            hnp.arrays(np.float64, n),
        )
    )
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "set.npz"
        np.savez(path, images=images, labels=labels)
        before = snapshot(Path(folder))
        record = attempt(Data(source=str(path)))
        assert snapshot(Path(folder)) == before
        if record is not None:
            drawn = [i for places in record.indices.values() for i in places]
            assert sorted(drawn) == list(range(n))
            stored = open_source(Data(source=str(path))).images[:]
            scale = 1 if images.dtype == np.uint8 else 255
            naive = np.rint(np.clip(images.astype(float), 0, 255 // scale) * scale)
            np.testing.assert_array_equal(stored.ravel(), naive.ravel())
        with contextlib.suppress(KRError):
            save_arrays(Path(folder) / "mine.npz", images, labels)


@quick
@given(st.binary(max_size=300), st.integers(0, 2000), st.sampled_from(["npz", "h5", "mat", "zip"]))
def test_files_of_any_bytes(noise: bytes, place: int, suffix: str) -> None:
    buffer = io.BytesIO()
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (12, 8, 8), dtype=np.uint8)
    np.savez_compressed(buffer, images=images, labels=np.arange(12) % 2)
    raw = bytearray(buffer.getvalue())
    raw[place : place + len(noise)] = noise
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"set.{suffix}"
        for content in (bytes(raw), noise):
            path.write_bytes(content)
            attempt(Data(source=str(path)))
            assert path.read_bytes() == content


@quick
@given(
    st.binary(max_size=60),
    st.integers(0, 400),
    st.sampled_from(["png", "jpg", "gif", "tif", "webp", "bmp"]),
)
def test_images_of_any_bytes(noise: bytes, place: int, suffix: str) -> None:
    rng = np.random.default_rng(1)
    with tempfile.TemporaryDirectory() as folder:
        for label in "ab":
            (Path(folder) / label).mkdir()
            for i in range(6):
                pixels = rng.integers(0, 256, (8, 8), dtype=np.uint8)
                Image.fromarray(pixels).save(Path(folder) / label / f"{i}.{suffix}")
        path = Path(folder) / "a" / f"3.{suffix}"
        raw = bytearray(path.read_bytes())
        raw[place : place + len(noise)] = noise
        path.write_bytes(raw)
        before = snapshot(Path(folder))
        for skip in (False, True):
            attempt(Data(source=folder, skip_broken=skip, size=8))
        assert snapshot(Path(folder)) == before


@quick
@given(st.lists(st.tuples(NAMES, NAMES), min_size=1, max_size=8))
def test_folders_of_any_names(paths: list[tuple[str, str]]) -> None:
    rng = np.random.default_rng(2)
    with tempfile.TemporaryDirectory() as folder:
        for label, name in paths:
            with contextlib.suppress(OSError, UnicodeError):
                (Path(folder) / label).mkdir(exist_ok=True)
                for i in range(4):
                    pixels = rng.integers(0, 256, (8, 8), dtype=np.uint8)
                    Image.fromarray(pixels).save(Path(folder) / label / f"{name}{i}.png", "PNG")
        before = snapshot(Path(folder))
        record = attempt(Data(source=folder))
        assert snapshot(Path(folder)) == before
        if record is not None:
            shown = {p.parent.name for p in Path(folder).rglob("*.png") if p.name[0] != "."}
            naive = {normalize("NFC", s).strip() for s in shown if s[0] != "."}
            assert set(record.class_names) == naive


CELLS = st.sampled_from(["a/0.png", " a/1.png", "a/0.png ", "p", "P", "nan", "", "q\n", '"', "é"])


@quick
@given(st.lists(st.lists(CELLS, max_size=3), max_size=6), st.sampled_from(",;\t"))
def test_tables_of_any_cells(rows: list[list[str]], mark: str) -> None:
    text = io.StringIO()
    csv.writer(text, delimiter=mark).writerows([["file", "group"], *rows])
    files = ["a/0.png", "a/1.png"]
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "p.csv").write_text(text.getvalue(), encoding="utf-8", newline="")
        try:
            groups, _ = read_groups(Path(folder), "p.csv", files)
        except KRError:
            return
    naive = {row[0].strip(): row[1].strip() for row in rows if len(row) > 1}
    same = naive["a/0.png"] == naive["a/1.png"]
    assert (groups[0] == groups[1]) == same


@quick
@given(st.binary(max_size=200))
def test_tables_of_any_bytes(raw: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "p.csv").write_bytes(raw)
        with pytest.raises(KRError):
            read_groups(Path(folder), "p.csv", ["a/0.png"])
