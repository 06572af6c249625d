from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from knowledge_recycling.config import Data
from knowledge_recycling.data import describe, listing, open_source
from knowledge_recycling.data.listing import list_folder
from knowledge_recycling.errors import KRError

Paint = Callable[..., Path]


def test_all_that_stands_in_the_way_is_said_at_once(paint: Paint) -> None:
    root = paint("a", shape=(512, 400))
    paint("b", shape=(300, 300, 3))
    (root / "b" / "5.png").write_bytes(b"cut off")
    (root / "p.csv").write_text("file,group\na/0.png,1\n")
    config = Data(source=str(root), groups="p.csv")
    with pytest.raises(KRError) as error:
        open_source(config)
    assert str(error.value).splitlines() == [
        f"{root}: 4 things stand in the way:",
        "  1. b/5.png cannot be decoded: not an image; replace it, or go on without broken files",
        "  2. images have 2 sizes, most often 512 x 400 pixels (height x width; 6 files), and one "
        "square size is needed; 28 is the fast choice, 64 and 224 show more and take about 5 and "
        "10 times as long",
        "  3. mixes 6 grey files with 5 colour files; kind must not tell classes or sites apart, "
        "so bring all to one (grey, or rgb)",
        f"  4. data.groups: {root}/p.csv: 10 images without a group, such as a/1.png; give each "
        "file, relative to the image folder, its group",
        "Use the settings data.skip_broken=true data.size=28 data.color=grey",
    ]
    cured = {"skip_broken": True, "size": 28, "color": "grey"}
    source = open_source(Data.model_validate({"source": str(root), **cured}))
    assert source.images.shape == (11, 28, 28, 1)
    assert "6 grey files and 5 colour files all read as grey" in source.notes
    rgb = open_source(Data.model_validate({"source": str(root), **cured, "color": "rgb"}))
    assert rgb.images.shape == (11, 28, 28, 3)


def test_folders_that_hold_no_images_end_quickly(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begin = time.monotonic()
    with pytest.raises(KRError, match="/usr: none of its folders .* holds images that are read"):
        list_folder(Path("/usr"))
    assert time.monotonic() - begin < 10
    monkeypatch.setattr(listing, "MAX_ENTRIES", 50)
    (tmp_path / "a").mkdir()
    for i in range(60):
        (tmp_path / "a" / f"{i}.txt").touch()
    with pytest.raises(KRError, match="holds more than 50 files, of which 0 so far are images"):
        list_folder(tmp_path)


def test_no_file_of_a_class_is_compared_with_the_others(
    paint: Paint, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else a class of 50,000 files takes 50,000^2 / 2 comparisons."""

    class Lone:
        def __init__(self, entry: os.DirEntry[str]) -> None:
            self.entry = entry

        def __getattr__(self, name: str) -> Any:
            return getattr(self.entry, name)

        def __eq__(self, other: object) -> bool:
            raise AssertionError("compared")

        __hash__ = None  # type: ignore[assignment]

    every = listing._Walk.entries
    monkeypatch.setattr(listing._Walk, "entries", lambda *args: map(Lone, every(*args)))
    root = paint("a", "b")
    (root / "a" / "notes.txt").touch()
    found = list_folder(root)
    assert len(found.entries) == 12
    assert found.others == [("a", ".txt")]


def test_links(paint: Paint) -> None:
    root = paint("a", "b")
    (root / "c").symlink_to(root / "b")
    assert open_source(Data(source=str(root))).class_names == ("a", "b", "c")
    (root / "c").unlink()
    (root / "b" / "link.png").symlink_to(root / "nowhere.png")
    with pytest.raises(KRError, match=r"b/link.png: cannot be read \(No such file"):
        open_source(Data(source=str(root)))
    (root / "b" / "link.png").unlink()
    (root / "b" / "link.png").symlink_to("link.png")
    with pytest.raises(KRError, match=r"b/link.png: cannot be read \(Too many levels"):
        open_source(Data(source=str(root)))
    (root / "b" / "link.png").unlink()
    (root / "b" / "link.png").symlink_to("/dev/zero")
    with pytest.raises(KRError, match=r"b/link.png: is a pipe, a socket or a device"):
        open_source(Data(source=str(root)))


def test_a_pipe_among_the_images(paint: Paint) -> None:
    root = paint("a", "b")
    os.mkfifo(root / "a" / "z.png")
    with pytest.raises(KRError, match=r"a/z.png: is a pipe, a socket or a device"):
        open_source(Data(source=str(root)))
    (root / "a" / "z.png").rename(root / "a" / "z")
    assert open_source(Data(source=str(root))).notes == (
        "1 file without a suffix was left out (1 of class a)",
    )


def test_class_folders_that_are_one_but_for_case(paint: Paint) -> None:
    with pytest.raises(KRError, match="'Normal' and 'normal' are one but for case"):
        open_source(Data(source=str(paint("train/Normal", "train/b", "test/normal", "test/b"))))


def test_blanks_around_class_folders_do_not_count(paint: Paint) -> None:
    source = open_source(Data(source=str(paint("train/a ", "train/b", "test/a", "test/b", n=3))))
    assert source.class_names == ("a", "b")
    assert source.labels.tolist() == [0, 0, 0, 1, 1, 1] * 2
    with pytest.raises(KRError, match="names 'a' and 'a ' are one but for case or blanks"):
        open_source(Data(source=str(paint("train/a"))))


@pytest.mark.parametrize("name", ["nan", "NaN", "NA", "None", "null", " "])
def test_a_class_folder_of_missing_labels(paint: Paint, name: str) -> None:
    with pytest.raises(KRError, match=f"'{name}' as a class is a missing label turned into text"):
        open_source(Data(source=str(paint("a", name))))


def test_escapes_in_notes_are_never_raw(paint: Paint) -> None:
    root = paint("a\x1b[2J", "b")
    (root / "a\x1b[2J" / "0_mask.png").write_bytes((root / "b" / "0.png").read_bytes())
    (root / "a\x1b[2J" / "x.d\x07").write_bytes(b"")
    config = Data(source=str(root))
    notes = describe(open_source(config), config, seed=0).notes
    assert r"a\x1b[2J" in " ".join(notes)
    assert all(c.isprintable() for c in "".join(notes))


def test_escapes_in_names_are_never_raw(paint: Paint) -> None:
    root = paint("a", "b\x1b[31m")
    (root / "b\x1b[31m" / "x\n.png").write_bytes(b"")
    with pytest.raises(KRError, match=r"b\\x1b\[31m/x\\n.png cannot be decoded"):
        open_source(Data(source=str(root)))


def test_a_changed_file_and_a_new_one_are_noticed(paint: Paint) -> None:
    root = paint("a", "b")
    first = open_source(Data(source=str(root)))
    (root / "notes.txt").touch()
    assert open_source(Data(source=str(root))) is first
    Image.fromarray(np.arange(64, dtype=np.uint8).reshape(8, 8)).save(root / "a" / "0.png")
    second = open_source(Data(source=str(root)))
    assert second.sha256 != first.sha256
    (root / "a" / "9.png").write_bytes((root / "a" / "0.png").read_bytes())
    assert len(open_source(Data(source=str(root)))) == 13


def test_two_files_that_change_places_are_noticed(paint: Paint) -> None:
    """Number, sizes and latest change of all files together stay what they were."""
    root = paint("a", "b")
    for path in root.glob("*/*.png"):
        os.utime(path, ns=(0, 0))
    first = open_source(Data(source=str(root)))
    (root / "a" / "0.png").rename(root / "c.png")
    (root / "b" / "0.png").rename(root / "a" / "0.png")
    (root / "c.png").rename(root / "b" / "0.png")
    second = open_source(Data(source=str(root)))
    np.testing.assert_array_equal(second.images[0], first.images[6])
    np.testing.assert_array_equal(second.images[6], first.images[0])
