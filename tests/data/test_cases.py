"""Inputs on which other tools, or earlier versions, went wrong without a word."""

from __future__ import annotations

import io
import os
import struct
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from knowledge_recycling.config import Data
from knowledge_recycling.data import Source, describe, open_source, save_arrays
from knowledge_recycling.errors import KRError

RNG = np.random.default_rng(0)
Save = Callable[[dict[str, Any]], str]


def picture(label: int | np.integer[Any], size: int = 16) -> np.ndarray:
    """Grey noise with a bar whose height depends on the label."""
    image = RNG.integers(0, 80, (size, size))
    image[2 + 4 * label : 6 + 4 * label, 3:12] += 150
    return image.astype(np.uint8)


def each(
    root: Path, classes: tuple[str, ...] = ("a", "b"), count: int = 8
) -> Iterator[tuple[int, Path]]:
    for label, name in enumerate(classes):
        (root / name).mkdir(parents=True, exist_ok=True)
        for number in range(count):
            yield label, root / name / f"{number}.png"


def write(root: Path, classes: tuple[str, ...] = ("a", "b"), count: int = 8) -> Path:
    for label, path in each(root, classes, count):
        Image.fromarray(picture(label)).save(path)
    return root


def opened(source: Path | str, **fields: object) -> Source:
    return open_source(Data.model_validate({"source": str(source), **fields}))


def notes(source: Path | str, **fields: object) -> list[str]:
    config = Data.model_validate({"source": str(source), **fields})
    return list(describe(open_source(config), config, seed=0).notes)


def test_exif_orientation(tmp_path: Path) -> None:
    for label, path in each(tmp_path / "data"):
        ramp = np.tile(np.linspace(0, 200, 16), (16, 1)) + RNG.integers(0, 20, (16, 16))
        tag = Image.Exif()
        tag[0x112] = 6 if label else 1
        Image.fromarray(ramp.astype(np.uint8)).save(path.with_suffix(".jpg"), exif=tag, quality=95)
    source = opened(tmp_path / "data")
    for image, label in zip(source.images[..., 0].astype(int), source.labels, strict=True):
        down, across = np.diff(image.mean(axis=1)), np.diff(image.mean(axis=0))
        assert (down if label else across).mean() > 10
        assert abs((across if label else down).mean()) < 1
    assert "8 images turned upright, as their EXIF orientation says" in source.notes


def test_mixed_bit_depth(tmp_path: Path) -> None:
    for label, path in each(tmp_path / "data"):
        image = picture(0)
        Image.fromarray(image.astype(np.uint16) * 16 if label else image).save(path)
    for fields in ({}, {"range": "0,4095"}):
        with pytest.raises(KRError, match="mixes 8 16-bit and 8 8-bit files; brightness would"):
            opened(tmp_path / "data", **fields)


def test_sixteen_bits_of_a_low_range(tmp_path: Path) -> None:
    images = []
    for label, path in each(tmp_path / "data"):
        images.append(picture(label).astype(np.uint16) * 20)
        Image.fromarray(images[-1]).save(path.with_suffix(".tif"))
    with pytest.raises(KRError, match=r"use 0..\d+ of 0..65535 .* setting data.range=0,8191$"):
        opened(tmp_path / "data")
    source = opened(tmp_path / "data", range="0,5000")
    expected = np.rint(np.stack(images) / 5000 * 255)
    np.testing.assert_array_equal(source.images[..., 0], expected)
    assert len(np.unique(source.images[:])) > 100
    assert source.notes == ("values 0..5000 scaled to 0..255",)
    clipped = opened(tmp_path / "data", range=[0, 4000])
    assert "16 images with values outside the stated range, clipped" in clipped.notes
    assert clipped.images[:].max() == 255


def test_pages_beyond_the_first(tmp_path: Path) -> None:
    for label, path in each(tmp_path / "data"):
        pages = [Image.fromarray(np.zeros((16, 16), np.uint8)), Image.fromarray(picture(label))]
        pages[0].save(path.with_suffix(".tif"), save_all=True, append_images=pages[1:])
    with pytest.raises(KRError, match="constant.*16 files with several pages .* 16 pages left out"):
        opened(tmp_path / "data")


def test_masks_beside_images(tmp_path: Path) -> None:
    root = write(tmp_path / "data", ("benign", "malignant"))
    for path in list(root.rglob("*.png")):
        mask = np.full((16, 16), 255, np.uint8)
        Image.fromarray(mask).save(path.with_name(f"{path.stem}_mask.png"))
    Image.fromarray(mask).save(root / "benign" / "0_mask_1.png")
    Image.fromarray(mask).save(root / "benign" / "alone_mask.png")
    source = opened(root)
    assert len(source) == 17
    assert source.notes[:2] == (
        "16 files *_mask.png were left out as masks of the images beside them (8 of benign, 8 of "
        "malignant)",
        "1 file *_mask_1.png was left out as the mask of an image beside it (1 of benign)",
    )


def test_constant_images(save: Save) -> None:
    splits: dict[str, Any] = {}
    for split in ("train", "val", "test"):
        labels = np.arange(30) % 2
        splits[f"{split}_images"] = np.stack([picture(label) for label in labels])
        splits[f"{split}_labels"] = labels[:, None]
    splits["test_images"][10:] = 0
    splits["val_images"][0] = 7
    assert notes(save(splits)) == [
        "1 of 30 val images is constant (of one value throughout)",
        "20 of 30 test images are constant (of one value throughout)",
    ]
    splits |= {f"{s}_images": np.full((30, 16, 16), 9, np.uint8) for s in ("train", "val", "test")}
    with pytest.raises(KRError, match="each image is of one value throughout"):
        opened(save(splits))


def test_floats_a_rounding_above_one(save: Save) -> None:
    labels = np.arange(40) % 2
    images = (np.stack([picture(label) for label in labels]) / 255).astype(np.float32)
    images[0, 0, 0] = np.nextafter(np.float32(1), np.float32(2))
    source = opened(save({"images": images, "labels": labels}))
    assert source.images[0, 0, 0, 0] == 255
    assert "1 image with values outside that range, clipped" in source.notes
    images[0, 0, 0] = 1.02
    with pytest.raises(KRError, match=r"found 0..1.02, outside by 0.02; clip them"):
        opened(save({"images": images, "labels": labels}))
    blackened = {"images": np.clip(images, 0, 1) / 255, "labels": labels}
    with pytest.raises(KRError, match="hold only the values 0 and 1"):
        opened(save(blackened))


def test_images_of_true_and_false(save: Save) -> None:
    labels = np.arange(40) % 2
    images = np.stack([picture(label) for label in labels]) > 120
    source = opened(save({"images": images, "labels": labels}))
    np.testing.assert_array_equal(source.images[..., 0], images * 255)
    assert source.notes == ("True and False read as 255 and 0",)
    poor = save({"images": images.astype(np.uint8), "labels": labels})
    with pytest.raises(KRError, match="multiply them by 255, or use the setting data.range=0,1"):
        opened(poor)
    np.testing.assert_array_equal(opened(poor, range="0,1").images, source.images)
    with pytest.raises(KRError, match=r"found int64 values 0..1; multiply by 255 and convert"):
        opened(save({"images": images.astype(int), "labels": labels}))


def patients(root: Path, name: Callable[[int], str]) -> str:
    files = sorted(p.relative_to(root) for p in write(root, count=12).rglob("*.png"))
    rows = [f"{file.as_posix()},{name(int(file.stem))}" for file in files]
    (root.parent / "patients.csv").write_text("\n".join(["file,group", *rows]) + "\n")
    return str(root.parent / "patients.csv")


def test_blanks_around_patients(tmp_path: Path) -> None:
    table = patients(tmp_path / "data", lambda n: f"p{n // 2}{' ' if n % 2 else ''}")
    source = opened(tmp_path / "data", groups=table)
    assert source.groups is not None
    assert len(np.unique(source.groups)) == 6


@pytest.mark.parametrize("word", ["NA", "nan", "None", "unknown", "", " ", "NULL", "n/a"])
def test_unknown_patients(tmp_path: Path, word: str) -> None:
    table = patients(tmp_path / "data", lambda n: word if n % 3 == 0 else f"p{n // 2}")
    with pytest.raises(KRError, match=r"patient of 8 images is unknown \(first: line 2; .*its own"):
        opened(tmp_path / "data", groups=table)


@pytest.mark.parametrize("names", [("Training", "Testing"), ("TRAIN", "test "), ("train", "Test")])
def test_split_folders_as_they_are_published(tmp_path: Path, names: tuple[str, str]) -> None:
    for name in names:
        write(tmp_path / "data" / name, ("glioma", "notumor"))
    source = opened(tmp_path / "data")
    assert source.class_names == ("glioma", "notumor")
    assert source.assigned.tolist() == [-1] * 16 + [2] * 16


def test_a_folder_of_volumes(tmp_path: Path) -> None:
    for _, path in each(tmp_path / "data", count=3):
        path.with_suffix(".nii.gz").write_bytes(b"\x1f\x8b")
    expected = (
        "2 things stand in the way:\n  1. a holds 3 NIfTI files; each is a NIfTI volume, which is "
        "not read, since its slices have no labels of their own; save the slices that show what "
        "the label says as PNG\n"
    )
    with pytest.raises(KRError, match=expected):
        opened(tmp_path / "data")


def test_dicom_beside_images(tmp_path: Path) -> None:
    root = write(tmp_path / "data")
    for number in range(20):
        (root / "a" / f"scan{number}.dcm").write_bytes(bytes(128) + b"DICM")
    with pytest.raises(KRError, match="a holds 20 DICOM files beside only 8 image files; one"):
        opened(root)
    for number in range(15):
        (root / "a" / f"scan{number}.dcm").unlink()
    (root / "b" / "IM0001").write_bytes(bytes(128) + b"DICM")
    (root / "b" / "x.heic").touch()
    assert opened(root).notes == (
        "6 DICOM files were left out (5 of class a, 1 of class b)",
        "1 HEIC file was left out (1 of class b)",
    )
    for path in (root / "a").glob("*.png"):
        path.unlink()
    with pytest.raises(KRError, match="a holds no image that is read, but 5 DICOM files"):
        opened(root)


def test_a_folder_that_may_not_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = write(tmp_path / "data")
    scan = os.scandir

    def refuse(path: Any) -> Any:
        if Path(path).name == "b":
            raise PermissionError(13, "Permission denied")
        return scan(path)

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(KRError, match=r"data/b: may not be read \(permission denied\); change"):
        opened(root)


@pytest.mark.skipif(os.getuid() == 0, reason="root may read everything")
def test_permissions_of_the_system(tmp_path: Path, save: Save) -> None:
    root = write(tmp_path / "data")
    (root / "b").chmod(0)
    with pytest.raises(KRError, match=r"data/b: may not be read \(permission denied\)"):
        opened(root)
    (root / "b").chmod(0o700)
    (root / "b" / "1.png").chmod(0)
    with pytest.raises(KRError, match=r"b/1.png: may not be read \(permission denied\)"):
        opened(root)
    Path(save({})).chmod(0)
    with pytest.raises(KRError, match=r"set.npz: may not be read \(permission denied\)"):
        opened(tmp_path / "set.npz")


def test_files_that_may_not_be_read(
    tmp_path: Path, save: Save, official: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: Any, *others: Any, **more: Any) -> Any:
        raise PermissionError(13, "Permission denied")

    root, file = write(tmp_path / "data"), save(official)
    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(KRError, match=r"a/0.png: may not be read \(permission denied\)"):
        opened(root)
    with pytest.raises(KRError, match=r"set.npz: may not be read \(permission denied\)"):
        opened(file)


def test_names_that_are_no_utf8(tmp_path: Path) -> None:
    root = write(tmp_path / "data")
    try:
        os.rename(os.fsencode(root / "a"), os.fsencode(root) + b"/gl\xfcck")
    except OSError:
        pytest.skip("this file system takes UTF-8 names only")
    with pytest.raises(KRError, match=r"data: the name gl\\xfcck is no UTF-8 .*; rename it"):
        opened(root)


def test_a_list_is_taken_as_arrays(tmp_path: Path) -> None:
    with pytest.raises(KRError, match="cannot be made one array") as error:
        save_arrays(tmp_path / "x.npz", [picture(0), picture(0, 20)], [0, 1])
    assert "[[" not in str(error.value)


def test_class_folders_with_two_underscores(tmp_path: Path) -> None:
    root = write(tmp_path / "data", ("covid", "normal", "__other__"))
    write(root, ("__MACOSX", ".hidden"))
    assert opened(root).class_names == ("__other__", "covid", "normal")


def test_a_pdf_beside_images(tmp_path: Path) -> None:
    root = write(tmp_path / "data")
    (root / "b" / "readme.pdf").write_bytes(b"%PDF-1.4 nothing")
    assert opened(root).notes == ("1 PDF file was left out (1 of class b)",)


def test_a_header_larger_than_memory(tmp_path: Path) -> None:
    text = b"{'descr': '|u1', 'fortran_order': False, 'shape': (1000000000000, 28, 28), }"
    text += b" " * (63 - (10 + len(text)) % 64) + b"\n"
    labels = io.BytesIO()
    np.save(labels, np.arange(10) % 2)
    with zipfile.ZipFile(tmp_path / "huge.npz", "w") as archive:
        head = b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text
        archive.writestr("images.npy", head + bytes(1000))
        archive.writestr("labels.npy", labels.getvalue())
    with pytest.raises(KRError, match=r"images: its header promises 784 TB .* holds 1.13 kB"):
        opened(tmp_path / "huge.npz")


def test_an_array_larger_than_memory(
    save: Save, official: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    from knowledge_recycling.data import files

    for split in ("train", "val", "test"):
        official[f"{split}_images"] = RNG.integers(0, 256, (400, 64, 64), dtype=np.uint8)
        official[f"{split}_labels"] = np.arange(400) % 2
    path = save(official)
    monkeypatch.setattr(files, "available_bytes", lambda: 3e6)
    message = r"1,200 images of 64 x 64 pixels \(4.92 MB\) needs 9.83 MB of memory, and 3 MB are"
    with pytest.raises(KRError, match=message + r" free; read them smaller .* data.size=28"):
        opened(path)
    assert opened(path, size=28).images.shape == (1200, 28, 28, 1)  # read block by block


@pytest.mark.parametrize("word", ["nan", "NaN", "", "NA", "None", "none", "unknown"])
def test_a_missing_label_as_a_class(save: Save, word: str) -> None:
    names = np.array(["benign", "malignant", word])
    labels = np.arange(90) % 3
    images = np.stack([picture(label) for label in labels])
    path = save({"images": images, "labels": names[labels]})
    if word in ("none", "unknown"):
        assert f"the class {word!r} may stand for a missing label" in notes(path)
    else:
        with pytest.raises(KRError, match=r"as a class is a missing label turned into text"):
            opened(path)
