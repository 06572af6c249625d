from __future__ import annotations

import unicodedata
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from knowledge_recycling.config import Data
from knowledge_recycling.data import Source, open_source
from knowledge_recycling.errors import KRError

Paint = Callable[..., Path]


def opened(root: Path, **fields: object) -> Source:
    return open_source(Data.model_validate({"source": str(root), **fields}))


def test_classes_are_folders(paint: Paint) -> None:
    root = paint("sick", "healthy")
    source = opened(root)
    assert source.class_names == ("healthy", "sick")
    assert source.labels.tolist() == [0] * 6 + [1] * 6
    assert set(source.assigned.tolist()) == {-1}
    assert (source.name, source.notes) == ("set", ())
    with Image.open(root / "healthy" / "2.png") as image:
        np.testing.assert_array_equal(source.images[2, ..., 0], np.asarray(image))


@pytest.mark.parametrize("val", ["val", "valid", "validation", "Val"])
def test_split_folders(paint: Paint, val: str) -> None:
    root = paint("train/a", "train/b", f"{val}/a", f"{val}/b", "test/a", "test/b", n=3)
    source = opened(root)
    assert source.assigned.tolist() == [0] * 6 + [1] * 6 + [2] * 6
    assert source.labels.tolist() == [0, 0, 0, 1, 1, 1] * 3


def test_missing_val_leaves_train_open(paint: Paint) -> None:
    source = opened(paint("train/a", "train/b", "test/a", "test/b", n=3))
    assert source.assigned.tolist() == [-1] * 6 + [2] * 6


def test_numbered_classes_are_in_order_of_number(paint: Paint) -> None:
    assert opened(paint("10", "9", "8")).class_names == ("8", "9", "10")


@pytest.mark.parametrize("suffix", ["png", "bmp", "tif", "webp", "ppm"])
def test_formats_without_loss_agree(paint: Paint, suffix: str) -> None:
    root = paint("a", "b", shape=(8, 8, 3), suffix=suffix)
    if suffix == "webp":
        for file in root.rglob("*.webp"):
            with Image.open(file.with_suffix(".webp")) as image:
                pixels = np.asarray(image.convert("RGB"))
            Image.fromarray(pixels).save(file, lossless=True)
    source = opened(root)
    assert source.images.shape == (12, 8, 8, 3)
    with Image.open(root / "b" / f"3.{suffix}") as image:
        np.testing.assert_array_equal(source.images[9], np.asarray(image.convert("RGB")))


def test_sixteen_bits_are_scaled(paint: Paint) -> None:
    root = paint("a", "b")
    deep = np.arange(64, dtype=np.uint16).reshape(8, 8) * 1040
    for file in root.rglob("*.png"):
        Image.fromarray(deep).save(file)
    source = opened(root)
    np.testing.assert_array_equal(source.images[0, ..., 0], np.rint(deep / 257))
    assert source.notes == (
        "12 16-bit images scaled to 8 bits (65535 becomes 255; the largest value is 65520)",
    )


def test_floats_are_refused(paint: Paint) -> None:
    root = paint("a", "b")
    Image.fromarray(np.full((8, 8), 0.5, np.float32)).save(root / "a" / "x.tif")
    with pytest.raises(KRError, match="mixes 12 8-bit and 1 fractional files; brightness"):
        opened(root)


def test_colour_files_of_grey_images_are_grey(paint: Paint) -> None:
    root = paint("a", "b")
    for file in root.rglob("*.png"):
        with Image.open(file) as image:
            grey = image.copy()
        grey.convert("RGB" if file.stem == "0" else "RGBA").save(file)
    source = opened(root)
    assert source.images.shape == (12, 8, 8, 1)
    np.testing.assert_array_equal(source.images[5, ..., 0], np.asarray(grey_of(root / "a/5.png")))


def grey_of(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB"))[..., 0]


def test_a_colour_file_that_looks_grey_stays_colour_among_colour(paint: Paint) -> None:
    root = paint("a", "b", shape=(8, 8, 3))
    Image.fromarray(np.full((8, 8, 3), 7, np.uint8)).save(root / "a" / "0.png")
    source = opened(root)
    assert source.images.shape == (12, 8, 8, 3)
    assert (source.images[0] == 7).all()


def test_mixed_grey_and_colour(paint: Paint) -> None:
    root = paint("a", "b", shape=(8, 8, 3))
    for i in range(2):
        Image.fromarray(np.full((8, 8), 7, np.uint8)).save(root / "a" / f"{i}.png")
    with pytest.raises(
        KRError, match="mixes 2 grey files with 10 colour.*setting data.color=grey$"
    ):
        opened(root)


def test_mixed_sizes_are_refused_or_resized(paint: Paint) -> None:
    root = paint("a", "b", shape=(8, 8))
    paint("a", n=1, shape=(20, 18))
    with pytest.raises(KRError, match=r"images have 2 sizes, most often 8 x 8 .* 11 files\).*=8$"):
        opened(root)
    source = opened(root, size=16)
    assert source.images.shape == (12, 16, 16, 1)
    assert source.notes == (
        "resized from 2 sizes, 8x8 to 20x18 (height x width) to 16x16, Lanczos; "
        "the aspect ratio changed",
    )
    with Image.open(root / "a" / "0.png") as image:
        expected = image.resize((16, 16), Image.Resampling.LANCZOS)
    np.testing.assert_array_equal(source.images[0, ..., 0], np.asarray(expected))


def test_one_size_that_cannot_run(paint: Paint) -> None:
    root = paint("a", "b", shape=(200, 180))
    with pytest.raises(
        KRError, match=r"are 200 x 180 pixels.*28 is the fast.*setting data.size=28"
    ):
        opened(root)


def test_broken_files(paint: Paint) -> None:
    root = paint("a", "b", n=8)
    whole = (root / "b" / "3.png").read_bytes()
    (root / "b" / "3.png").write_bytes(whole[: len(whole) - 40])
    (root / "b" / "5.png").write_bytes(b"no image at all")
    message = r"b/3.png cannot be decoded: .*\(1 more file is broken too\).*data.skip_broken=true"
    with pytest.raises(KRError, match=message) as error:
        opened(root)
    assert str(root) in str(error.value)
    source = opened(root, skip_broken=True)
    assert len(source) == 14
    assert source.notes == ("2 broken files skipped",)
    for file in root.rglob("*.png"):
        file.write_bytes(b"")
    (root / "a" / "new.png").touch()
    with pytest.raises(KRError, match="none of its 17 image files can be decoded"):
        opened(root, skip_broken=True, size=8)


def test_other_files_are_counted(paint: Paint) -> None:
    root = paint("a", "b")
    (root / "a" / "notes.txt").touch()
    (root / "a" / ".DS_Store").touch()
    (root / "__MACOSX").mkdir()
    (root / "readme.md").touch()
    assert opened(root).notes == (
        "1 .md file was left out (1 beside the class folders)",
        "1 .txt file was left out (1 of class a)",
    )


def test_folders_of_another_shape(paint: Paint, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(KRError, match=r"empty: has no class folders; expected class/x.png or"):
        opened(tmp_path / "empty")
    root = paint("train/a", "train/b", "test/a", "test/b")
    (root / "extra").mkdir()
    with pytest.raises(KRError, match=r"mixes split folders \(test, train\) with others \(extra\)"):
        opened(root)
    (root / "extra").rename(root / "val")
    with pytest.raises(KRError, match="set: val/ has no class folders"):
        opened(root)
    (root / "val").rename(root / "train" / "c")
    with pytest.raises(KRError, match="set: train/c holds no image; fill this class or remove"):
        opened(root)
    (root / "train" / "c" / "deeper").mkdir()
    with pytest.raises(KRError, match=r"train/c holds folders \(deeper\); images must lie direct"):
        opened(root)


def test_two_folders_for_one_split(paint: Paint) -> None:
    root = paint("train/a", "train/b", "val/a", "valid/a")
    with pytest.raises(KRError, match="has more than one folder for val: train, val, valid"):
        opened(root)


def test_groups_from_csv(paint: Paint) -> None:
    root = paint("a", "b")
    rows = [f"{label}/{i}.png,patient {i // 2}" for label in "ba" for i in range(6)]
    (root / "patients.csv").write_text("\n".join(["file,group", *rows]))
    source = opened(root, groups="patients.csv")
    assert source.groups is not None
    assert source.groups.tolist() == [0, 0, 1, 1, 2, 2] * 2
    (root / "short.csv").write_text("\n".join(["file,group", *rows[1:]]))
    with pytest.raises(KRError, match=r"short.csv: 1 image without a group, such as b/0.png"):
        opened(root, groups="short.csv")
    (root / "columns.csv").write_text("name,patient\na/0.png,1")
    with pytest.raises(KRError, match="group, once each; found name, patient"):
        opened(root, groups="columns.csv")
    with pytest.raises(KRError, match=r"data.groups: none.csv does not exist"):
        opened(root, groups="none.csv")


def test_patients_of_files_in_another_unicode_form(paint: Paint) -> None:
    """A Mac writes an accent apart from its letter, a table from Windows in one."""
    root = paint("é", "b")
    apart, together = (unicodedata.normalize(form, "é") for form in ("NFD", "NFC"))
    (root / "é").rename(root / apart)
    rows = [f"{label}/{i}.png,p{i}" for label in ("b", together) for i in range(6)]
    (root / "patients.csv").write_text("\n".join(["file,group", *rows]), encoding="utf-8")
    source = opened(root, groups="patients.csv")
    assert source.class_names == ("b", together)
    assert source.groups is not None
    assert source.groups.tolist() == [*range(6)] * 2
