"""Decoded images are kept once, whole or not at all, and are what decoding gives."""

from __future__ import annotations

import json
import os
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from knowledge_recycling.config import Data
from knowledge_recycling.data import assemble, cache, cached, describe, load, open_source, source
from knowledge_recycling.data.types import Source
from knowledge_recycling.errors import KRError
from tests.faults import drive

Paint = Callable[..., Path]


@pytest.fixture(autouse=True)
def nothing_remembered() -> Iterator[None]:
    """As in a new process."""
    forget()
    yield
    forget()


def forget() -> None:
    source._read.cache_clear()
    source._with_canaries.cache_clear()


def kept(config: Data, folder: Path, *, build: bool = True) -> Source:
    """What a new process reads."""
    forget()
    with cached(folder, build=build):
        return open_source(config)


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Numbers of images that were decoded, one for each time that images are."""
    seen: list[int] = []
    every = assemble._decode_all

    def counted(listed: assemble.Listed, *rest: Any) -> Any:
        seen.append(listed.total)
        return every(listed, *rest)

    monkeypatch.setattr(assemble, "_decode_all", counted)
    return seen


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    lines: list[str] = []
    monkeypatch.setattr(cache, "say", lines.append)
    return lines


def same(first: Source, second: Source) -> bool:
    """Whether two sources are equal in all that they hold."""
    plain = [(s.sha256, s.class_names, s.notes, s.name) for s in (first, second)]
    return plain[0] == plain[1] and np.array_equal(first.images[:], second.images[:])


@pytest.fixture
def config(paint: Paint) -> Data:
    """A folder of grey files, with patients."""
    root = paint("a", "b", shape=(10, 12))
    rows = [f"{x}/{i}.png,{x}{i // 2}" for x in "ab" for i in range(6)]
    (root / "p.csv").write_text("\n".join(["file,group", *rows]) + "\n")
    return Data(source=str(root), size=8, groups="p.csv")


def test_a_second_process_maps_what_the_first_one_decoded(
    config: Data, tmp_path: Path, decoded: list[int]
) -> None:
    plain = open_source(config)
    first = kept(config, tmp_path / "cache")
    second = kept(config, tmp_path / "cache")
    assert same(plain, first)
    assert same(plain, second)
    assert decoded == [12, 12]
    for found in (first, second):
        images = np.asarray(found.images)
        assert isinstance(images.base, np.memmap)
        with pytest.raises(ValueError, match="read-only"):
            images[0] = 0
    assert {p.name for p in (tmp_path / "cache").iterdir()} == {"images.npy", "about.json"}


def test_where_nothing_may_be_written_nothing_is(
    config: Data, tmp_path: Path, decoded: list[int]
) -> None:
    plain = kept(config, tmp_path / "cache", build=False)
    assert not (tmp_path / "cache").exists()
    kept(config, tmp_path / "cache")
    assert same(kept(config, tmp_path / "cache", build=False), plain)
    assert decoded == [12, 12]


def test_what_is_read_as_arrays_is_not_kept(tmp_path: Path, official: Any, save: Any) -> None:
    kept(Data(source="digits"), tmp_path / "cache")
    kept(Data(source=save(official)), tmp_path / "cache")
    assert not (tmp_path / "cache").exists()


def test_the_outermost_cache_counts(config: Data, tmp_path: Path) -> None:
    with cached(tmp_path / "run"), cached(tmp_path / "shadow"):
        open_source(config)
    assert [p.name for p in tmp_path.iterdir() if p.name in ("run", "shadow")] == ["run"]


def repaint(config: Data) -> Data:
    pixels = np.arange(120, dtype=np.uint8).reshape(10, 12)
    Image.fromarray(pixels).save(Path(config.source) / "a" / "0.png")
    return config


def regroup(config: Data) -> Data:
    table = Path(config.source) / "p.csv"
    table.write_text(table.read_text().replace("a/5.png,a2", "a/5.png,a9"))
    return config


OTHERS: dict[str, Callable[[Data], Data]] = {
    "another image": repaint,
    "another patient": regroup,
    "another side": lambda config: config.model_copy(update={"size": 10}),
    "another range": lambda config: config.model_copy(update={"range": (0.0, 128.0)}),
    "colour": lambda config: config.model_copy(update={"color": "rgb"}),
    "no patients": lambda config: config.model_copy(update={"groups": None}),
}


@pytest.mark.parametrize("change", OTHERS)
def test_what_has_changed_since_is_decoded_again(
    config: Data, tmp_path: Path, decoded: list[int], said: list[str], change: str
) -> None:
    first = kept(config, tmp_path / "cache")
    other = OTHERS[change](config)
    second = kept(other, tmp_path / "cache")
    forget()
    assert same(second, open_source(other))
    assert second.sha256 != first.sha256
    assert decoded == [12, 12, 12]
    assert said == []


def test_the_same_folder_under_a_shorter_name_is_the_same(
    config: Data, tmp_path: Path, decoded: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    kept(config, tmp_path / "cache")
    monkeypatch.chdir(Path(config.source).parent)
    here = {"source": Path(config.source).name, "groups": f"{config.source}/p.csv"}
    kept(config.model_copy(update=here), tmp_path / "cache")
    assert decoded == [12]


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def halved(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def flipped(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-3] ^= 1
    path.write_bytes(content)


def emptied(path: Path) -> None:
    path.write_bytes(b"")


def grown(path: Path) -> None:
    path.write_bytes(path.read_bytes() + b"x")


def replaced(path: Path) -> None:
    np.save(path, np.array([{}] * 12))


def widened(path: Path) -> None:
    np.save(path, np.load(path).astype(np.uint16))


def edited(field: str, value: Any) -> Callable[[Path], None]:
    def edit(path: Path) -> None:
        about = path.with_name("about.json")
        about.write_text(json.dumps(json.loads(about.read_text()) | {field: value}))

    return edit


def of_about(damage: Callable[[Path], None]) -> Callable[[Path], None]:
    return lambda path: damage(path.with_name("about.json"))


DAMAGES: dict[str, Callable[[Path], None]] = {
    "pixels cut off": cut,
    "a pixel": flipped,
    "no pixels": emptied,
    "objects for pixels": replaced,
    "wider pixels": widened,
    "pixels gone": Path.unlink,
    "labels": edited("labels", [0, 1] * 6),
    "labels too few": edited("labels", [0]),
    "labels too large": edited("assigned", [1000] * 12),
    "class names": edited("class_names", ["b", "a"]),
    "notes": edited("notes", []),
    "a patient": edited("groups", [0] * 12),
    "a word for a number": edited("labels", ["a"] * 12),
    "about cut off": of_about(halved),
    "about empty": of_about(emptied),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_what_was_damaged_is_made_again(
    config: Data, tmp_path: Path, decoded: list[int], said: list[str], damage: str
) -> None:
    plain = open_source(config)  # in memory: a file that is mapped is not to be cut off
    kept(config, tmp_path / "cache")
    forget()
    DAMAGES[damage](tmp_path / "cache" / "images.npy")
    assert same(kept(config, tmp_path / "cache"), plain)
    assert said == [f"{tmp_path / 'cache'}: was damaged; the images are decoded again"]
    assert same(kept(config, tmp_path / "cache"), plain)
    assert decoded == [12, 12, 12]


def test_pixels_changed_within_a_process_are_noticed(
    config: Data, tmp_path: Path, said: list[str]
) -> None:
    plain = kept(config, tmp_path / "cache")
    flipped(tmp_path / "cache" / "images.npy")
    with cached(tmp_path / "cache"):
        assert same(open_source(config), open_source(config))
        assert open_source(config).sha256 == plain.sha256
    assert len(said) == 1


def test_bytes_after_the_pixels_change_nothing(config: Data, tmp_path: Path) -> None:
    plain = open_source(config)
    kept(config, tmp_path / "cache")
    forget()
    grown(tmp_path / "cache" / "images.npy")
    assert same(kept(config, tmp_path / "cache"), plain)


@pytest.mark.parametrize("there", [False, True])
def test_killed_while_decoding_nothing_is_trusted(
    config: Data, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, there: bool
) -> None:
    folder = tmp_path / "cache"
    if there:
        kept(config, folder)
        repaint(config)
    before = {p.name: p.read_bytes() for p in folder.glob("*")}
    add = cache.Spool.add

    def work() -> None:
        def killed(spool: cache.Spool, pixels: np.ndarray) -> None:
            add(spool, pixels)
            if spool.shape[0] == 5:
                os._exit(drive.KILLED)

        monkeypatch.setattr(cache.Spool, "add", killed)
        kept(config, folder)

    assert drive.child(work, lambda *_: None, folder) == drive.KILLED
    left = {p.name: p.read_bytes() for p in folder.glob("[!.]*")}
    assert left == before
    assert same(kept(config, folder), kept(config, tmp_path / "other"))


def test_what_is_refused_leaves_the_cache_as_it_was(config: Data, tmp_path: Path) -> None:
    kept(config, tmp_path / "cache")
    before = {p.name: p.read_bytes() for p in (tmp_path / "cache").iterdir()}
    (Path(config.source) / "a" / "0.png").write_bytes(b"no image")
    with pytest.raises(KRError, match="a/0.png cannot be decoded"):
        kept(config, tmp_path / "cache")
    assert {p.name: p.read_bytes() for p in (tmp_path / "cache").iterdir()} == before


@pytest.mark.parametrize("folder", [False, True])
def test_grey_images_among_coloured_ones(paint: Paint, tmp_path: Path, folder: bool) -> None:
    """Colour files that are grey to the eye, before and after the first with colour."""
    root = paint("a", "b", shape=(8, 8, 3))
    for name in ("a/0.png", "a/1.png", "b/3.png"):
        grey = np.asarray(Image.open(root / name))[..., 0]
        Image.fromarray(grey).convert("RGB").save(root / name)
    config = Data(source=str(root))
    found = kept(config, tmp_path / "cache") if folder else open_source(config)
    names = [f"{x}/{i}.png" for x in "ab" for i in range(6)]
    expected = np.stack([np.asarray(Image.open(root / name)) for name in names])
    np.testing.assert_array_equal(found.images[:], expected)


def test_canaries_come_after_mapped_images(
    config: Data, tmp_path: Path, decoded: list[int]
) -> None:
    planted = np.full((3, 8, 8, 1), 7, np.uint8)
    unit, path = np.array([0, 0, 1]), tmp_path / "canaries.npz"
    np.savez(path, images=planted, labels=np.array([0, 1, 1]), unit=unit)
    plain = kept(config, tmp_path / "cache")
    with cached(tmp_path / "cache"):
        found = open_source(config.model_copy(update={"canaries": str(path)}))
    assert decoded == [12]
    np.testing.assert_array_equal(found.images[:12], plain.images[:])
    np.testing.assert_array_equal(found.images[[13, 2, 12]][[0, 2]], planted[:2])
    assert found.labels[12:].tolist() == [0, 1, 1]
    assert plain.groups is not None
    assert found.groups is not None
    assert (found.groups[12:] - plain.groups.max() - 1).tolist() == unit.tolist()
    whole = np.concatenate([plain.images[:], planted])
    apart = Source(whole, found.labels, found.groups, found.assigned, ("a", "b"), (), "set")
    assert found.sha256 == apart.sha256


def test_no_array_of_all_images_is_made(tmp_path: Path, decoded: list[int]) -> None:
    """300 images of 150 kB: what is allocated at once is of some, in each process of a run."""
    side, count = 224, 300
    for i in range(count):
        path = tmp_path / "set" / f"class{i % 2}" / f"{i:03}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = np.full((side, side, 3), i % 256, np.uint8)
        pixels[:, i % side] = (i % 256, 255, 3)
        Image.fromarray(pixels).save(path, compress_level=1)
    config = Data(source=str(tmp_path / "set"))
    for process in (1, 2):
        forget()
        tracemalloc.start()
        try:
            with cached(tmp_path / "cache"):
                record = describe(open_source(config), config, 0)
                train, val = load(config, record, "train", "val")
            assert len(train.images[:8]) == 8
            _, most = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert most < count * side * side * 3 / 2, process
        assert len(val) > 40
    assert decoded == [count]
