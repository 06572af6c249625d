from __future__ import annotations

import re
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from knowledge_recycling.config import Data
from knowledge_recycling.data import Source, open_source
from knowledge_recycling.errors import KRError
from tests.data.conftest import noise

Arrays = dict[str, Any]
Save = Callable[[Arrays], str]


def opened(save: Save, arrays: Arrays) -> Source:
    return open_source(Data(source=save(arrays)))


def test_official_format_keeps_pixels_labels_and_splits(save: Save, official: Arrays) -> None:
    source = opened(save, official)
    assert source.images.shape == (36, 8, 8, 1)
    assert source.images.dtype == np.uint8
    assert source.labels.dtype == np.int64
    for code, split in enumerate(("train", "val", "test")):
        chosen = source.assigned == code
        np.testing.assert_array_equal(source.images[chosen, ..., 0], official[f"{split}_images"])
        np.testing.assert_array_equal(source.labels[chosen], official[f"{split}_labels"][:, 0])
    assert (source.groups, source.class_names, source.notes, source.name) == (
        None,
        ("0", "1"),
        (),
        "set",
    )


def test_colour_flat_labels_and_groups(save: Save, official: Arrays) -> None:
    for start, split in zip((0, 100, 200), ("train", "val", "test"), strict=True):
        n = len(official[f"{split}_images"])
        official[f"{split}_images"] = np.repeat(official[f"{split}_images"][..., None], 3, axis=3)
        official[f"{split}_labels"] = official[f"{split}_labels"][:, 0]
        official[f"{split}_groups"] = start + np.arange(n) // 2
    source = opened(save, official)
    assert source.images.shape == (36, 8, 8, 3)
    assert source.groups is not None
    assert source.groups.tolist() == [i // 2 for i in range(36)]


@pytest.mark.parametrize(
    ("absent", "codes"),
    [
        (("val",), [-1] * 20 + [2] * 8),
        (("test",), [-1] * 20 + [1] * 8),
        (("val", "test"), [-1] * 20),
    ],
)
def test_missing_splits_leave_train_open(
    save: Save, official: Arrays, absent: tuple[str, ...], codes: list[int]
) -> None:
    for split in absent:
        del official[f"{split}_images"], official[f"{split}_labels"]
    assert opened(save, official).assigned.tolist() == codes


def test_an_empty_split_counts_as_missing(save: Save, official: Arrays) -> None:
    for kind in ("images", "labels"):
        official[f"val_{kind}"] = official[f"val_{kind}"][:0]
    assert opened(save, official).assigned.tolist() == [-1] * 20 + [2] * 8


def test_class_names_are_mapped_in_alphabetical_order(save: Save, official: Arrays) -> None:
    for split in ("train", "val", "test"):
        labels = official[f"{split}_labels"][:, 0]
        official[f"{split}_labels"] = np.where(labels == 0, "sick", "healthy")
    source = opened(save, official)
    assert source.class_names == ("healthy", "sick")
    assert source.labels[:2].tolist() == [1, 0]
    assert source.notes == ("class names mapped to labels in order: healthy=0, sick=1",)


def test_float_images_are_scaled_with_a_note(save: Save, official: Arrays) -> None:
    plain = {"images": official["train_images"] / 255, "labels": official["train_labels"]}
    source = opened(save, plain)
    np.testing.assert_array_equal(source.images[..., 0], official["train_images"])
    assert source.notes == ("float values 0..1 scaled to 0..255",)


def change(key: str, function: Callable[[np.ndarray], Any]) -> Callable[[Arrays], Arrays]:
    return lambda arrays: arrays | {key: function(arrays[key])}


def drop(*keys: str) -> Callable[[Arrays], Arrays]:
    return lambda arrays: {key: value for key, value in arrays.items() if key not in keys}


def with_nan(images: np.ndarray) -> np.ndarray:
    result = images / 255
    result[3, 0, 0] = np.nan
    return result


WRONG = {
    "objects": (
        change("train_labels", lambda a: a.astype(object)),
        "train_labels: is an array of Python objects, which could run code when read",
    ),
    "missing labels": (drop("val_labels"), "val_labels missing; needed are train_images and"),
    "missing train": (
        drop("train_images", "train_labels"),
        "train_images, train_labels missing; .* found test_images, test_labels, val_images",
    ),
    "unknown keys": (lambda a: {"x": a["train_images"]}, "needed are train_images .*; found x$"),
    "lengths": (
        change("train_labels", lambda a: a[:-1]),
        "train_images holds 20 images but train_labels 19 labels",
    ),
    "dtype": (
        change("test_images", lambda a: a.astype(np.uint16)),
        "test_images: expected uint8 values 0..255 or float values 0..1, found uint16",
    ),
    "range": (
        change("train_images", lambda a: a.astype(np.float32)),
        r"float images must lie in 0..1, found 0..255, outside by 254; divide by 255 first",
    ),
    "negative": (
        change("train_images", lambda a: a / 127.5 - 1),
        "must lie in 0..1, found -1..1, outside by 1; .* the setting data.range=-1,1$",
    ),
    "NaN": (change("train_images", with_nan), "train_images: 1 of 20 images hold NaN"),
    "no images": (change("train_images", lambda a: a[:0]), "train_images holds 0 images"),
    "nothing": (
        lambda a: {"images": np.zeros((0, 8, 8)), "labels": np.array([])},
        r"images: holds no image \(shape \(0, 8, 8, 1\)\)",
    ),
    "names alike": (
        lambda a: a | {"class_names": np.array(["Sick", "sick"])},
        "the class names 'Sick' and 'sick' are one but for case or blanks",
    ),
    "an empty name": (
        lambda a: a | {"class_names": np.array(["healthy", ""])},
        "'' as a class is a missing label turned into text",
    ),
    "scalar": (change("train_images", lambda a: np.uint8(3)), "train_images holds 1 images"),
    "channels first": (
        change("train_images", lambda a: a[:, None]),
        r"found \(20, 1, 8, 8\); channels come last here",
    ),
    "volumes": (
        change("train_images", lambda a: np.zeros((20, 8, 8, 8), np.uint8)),
        r"expected images of shape .* found \(20, 8, 8, 8\)$",
    ),
    "other shape in test": (
        change("test_images", lambda a: np.zeros((8, 10, 10), np.uint8)),
        r"train_images has \(8, 8, 1\), test_images \(10, 10, 1\)",
    ),
    "multi-label": (
        change("train_labels", lambda a: np.zeros((20, 14), np.uint8)),
        "has 14 labels for each image .* not supported yet: .* are planned; until then choose one",
    ),
    "one-hot labels": (
        change("train_labels", lambda a: np.eye(3, dtype=np.uint8)[a[:, 0]]),
        r"one of which is 1 in each row; give one class for each image with .*argmax\(axis=1\)",
    ),
    "fractional labels": (
        change("train_labels", lambda a: a.astype(float)),
        "expected whole numbers 0..C-1 or class names, found float64$",
    ),
    "NaN labels": (
        change("train_labels", lambda a: np.full(20, np.nan)),
        "found float64 with 20 missing values",
    ),
    "names and numbers": (
        change("train_labels", lambda a: np.full(20, "sick")),
        "some labels are numbers and others are class names",
    ),
    "groups of one split": (
        lambda a: a | {"train_groups": np.arange(20)},
        "val_groups, test_groups missing, though train_groups is there",
    ),
    "groups too short": (
        lambda a: (
            drop("val_images", "val_labels", "test_images", "test_labels")(a)
            | {"train_groups": np.arange(3)}
        ),
        "train_groups: 3 groups for 20 images",
    ),
    "more labels than names": (
        lambda a: a | {"class_names": np.array(["one"])},
        r"1 class names are given, so labels must be 0..0; found 0..1",
    ),
    "one class": (
        lambda a: {"images": a["train_images"], "labels": np.zeros(20, int)},
        r"all images are of one class \('0'\); at least 2 are needed",
    ),
    "gap": (
        lambda a: {"images": a["train_images"], "labels": a["train_labels"] * 2},
        r"without gaps, but no image has label 1 \(found 0, 2\); renumber them with numpy.unique",
    ),
    "from one": (
        lambda a: {"images": a["train_images"], "labels": a["train_labels"] + 1},
        r"without gaps, but the first is 1 \(found 1, 2\)",
    ),
    "size": (
        lambda a: {"images": np.zeros((20, 30, 30), np.uint8), "labels": a["train_labels"]},
        "30 x 30 pixels .* do not fit .* use the setting data.size=28",
    ),
    "not square": (
        lambda a: {"images": np.zeros((20, 30, 34), np.uint8), "labels": a["train_labels"]},
        r"30 x 34 pixels \(height x width\) are not square; .* use the setting data.size=32",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_files_are_explained(save: Save, official: Arrays, case: str) -> None:
    spoil, message = WRONG[case]
    path = save(spoil(official))
    with pytest.raises(KRError, match=message) as error:
        open_source(Data(source=path))
    assert path in str(error.value)


def test_a_class_that_given_train_lacks(save: Save, official: Arrays) -> None:
    official["test_labels"] = official["test_labels"] * 2
    official["val_labels"][:] = 1
    with pytest.raises(KRError, match=r"'2' has 0; at least 2 are needed \(2 in train\)"):
        opened(save, official)


def test_a_class_too_small_to_split(save: Save) -> None:
    arrays = {"images": noise(23, 8, 8), "labels": np.array(["a"] * 20 + ["b"] * 3)}
    message = r"'b' has 3; at least 4 are needed \(2 in train and 1 in val and 1 in test\)"
    with pytest.raises(KRError, match=message):
        opened(save, arrays)
    arrays = {key: np.append(value, value[-1:], axis=0) for key, value in arrays.items()}
    assert len(opened(save, arrays)) == 24


def test_a_class_of_too_few_patients(save: Save, official: Arrays) -> None:
    arrays = {
        "images": official["train_images"],
        "labels": official["train_labels"],
        "groups": np.array(["p", "q", "p", "r"] * 5),
    }
    with pytest.raises(KRError, match=r"'0' has images of 1 group\(s\) \(patients\) only; 3 are"):
        opened(save, arrays)


def test_files_that_are_not_npz(tmp_path: Path) -> None:
    text = tmp_path / "text.npz"
    text.write_text("file,group\n")
    empty = tmp_path / "empty.npz"
    empty.touch()
    with zipfile.ZipFile(tmp_path / "zip.npz", "w") as archive:
        archive.writestr("readme.txt", "hello")
    np.save(tmp_path / "single.npy", np.zeros(3))
    for name in ("text.npz", "empty.npz"):
        with pytest.raises(KRError, match=f"{name}: is not an npz file; expected a file written"):
            open_source(Data(source=str(tmp_path / name)))
    with pytest.raises(KRError, match="is a zip file without arrays, not an npz file"):
        open_source(Data(source=str(tmp_path / "zip.npz")))


def test_damaged_files(save: Save, official: Arrays) -> None:
    path = Path(save(official))
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(KRError, match=r"is not an npz file; .*a download may be cut off"):
        open_source(Data(source=str(path)))
    spoiled = bytearray(whole)
    spoiled[300] ^= 255
    path.write_bytes(spoiled)
    with pytest.raises(KRError, match=r"is damaged \(Bad CRC-32"):
        open_source(Data(source=str(path)))


def test_nothing_is_unpickled(tmp_path: Path) -> None:
    """A pickle that would create a file when opened leaves no file."""
    trap = tmp_path / "opened"

    class Trap:
        def __reduce__(self) -> tuple[Any, ...]:
            return Path.touch, (trap,)

    np.savez(
        tmp_path / "set.npz",
        images=np.array([Trap(), Trap()], dtype=object),
        labels=np.array([0, 1]),
    )
    with pytest.raises(KRError, match=re.escape("images: is an array of Python objects")):
        open_source(Data(source=str(tmp_path / "set.npz")))
    assert not trap.exists()
