from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from knowledge_recycling.config import Data
from knowledge_recycling.data import Source, open_source
from knowledge_recycling.errors import KRError
from tests.dicom_files import bars, folder, write

Write = Callable[..., Path]


def opened(path: Path, **fields: object) -> Source:
    return open_source(Data.model_validate({"source": str(path), **fields}))


@pytest.fixture
def pictures(tmp_path: Path) -> list[str]:
    """Paths of 12 images, relative to `tmp_path`; the first 6 are of class 0."""
    names = [f"images/{i}.png" for i in range(12)]
    (tmp_path / "images").mkdir()
    for i, name in enumerate(names):
        Image.fromarray(bars(i // 6, i).astype(np.uint8)).save(tmp_path / name)
    return names


def table(tmp_path: Path, rows: list[str], header: str = "path,label") -> Path:
    path = tmp_path / "manifest.csv"
    path.write_text("\n".join([header, *rows]), encoding="utf-8")
    return path


def plain(pictures: list[str], *more: Callable[[int], str]) -> list[str]:
    return [
        ",".join([name, "sick" if i < 6 else "well", *(cell(i) for cell in more)])
        for i, name in enumerate(pictures)
    ]


def test_rows_are_images(tmp_path: Path, pictures: list[str]) -> None:
    source = opened(table(tmp_path, plain(pictures)[::-1]))
    assert source.class_names == ("sick", "well")
    assert source.labels.tolist() == [1] * 6 + [0] * 6
    np.testing.assert_array_equal(source.images[0, ..., 0], bars(1, 11))
    assert source.groups is None
    assert set(source.assigned.tolist()) == {-1}
    assert (source.name, source.notes) == ("manifest", ())


def test_splits_patients_and_other_columns(tmp_path: Path, pictures: list[str]) -> None:
    splits = ["train", "Training", "val", "valid", "test", "Test"] * 2
    rows = plain(pictures, lambda i: splits[i], lambda i: f"p{9 - i // 2}", lambda i: str(50 + i))
    source = opened(table(tmp_path, rows, "Path,Label,Split,Patient,age"))
    assert source.assigned.tolist() == [0, 0, 1, 1, 2, 2] * 2
    assert source.groups is not None
    assert source.groups.tolist() == [5, 5, 4, 4, 3, 3, 2, 2, 1, 1, 0, 0]
    assert source.notes == ("1 column of the table is not read: age",)


def test_columns_by_other_names(tmp_path: Path, pictures: list[str]) -> None:
    path = table(tmp_path, plain(pictures, lambda i: str(i)), "file,dx,patient_id")
    with pytest.raises(
        KRError, match="needs the columns path and label; it has file, dx, patient_i"
    ):
        opened(path)
    stated = {"image_column": "file", "label_column": "dx"}
    expected = (
        "patient_id is likely to name the patient.* use the setting data.patient_column=patient"
    )
    with pytest.raises(KRError, match=expected):
        opened(path, **stated)
    source = opened(path, **stated, patient_column="patient_id")
    assert source.groups is not None
    with pytest.raises(
        KRError, match="has no column age, which data.label_column names; it has fi"
    ):
        opened(path, **stated | {"label_column": "age"})


def test_separators_quotes_and_backslashes(tmp_path: Path, pictures: list[str]) -> None:
    (tmp_path / "images" / "0.png").rename(tmp_path / "images" / "a, b.png")
    rows = [row.replace(",", ";") for row in plain(pictures)]
    rows[0] = '" images\\a, b.png ";sick'
    assert len(opened(table(tmp_path, rows, "path;label"))) == 12
    with pytest.raises(KRError, match="line 2 has more cells than there are columns; put cells"):
        opened(table(tmp_path, ["images/a, b.png,sick", *plain(pictures)[1:]]))


def test_dicom_files(tmp_path: Path) -> None:
    root = folder(tmp_path / "set")
    rows = [f"{p.relative_to(tmp_path)},{p.parent.name}" for p in sorted(root.rglob("*.dcm"))]
    source = opened(table(tmp_path, rows))
    assert source.groups is not None
    assert source.groups.tolist() == list(range(16))
    write(root / "a" / "0.dcm", np.stack([bars(0, 3), bars(0, 4)]).astype(np.uint8))
    rows = [f"{row},{i // 2}" for i, row in enumerate(rows)]
    source = opened(table(tmp_path, rows, "path,label,patient"))
    assert source.groups is not None
    assert source.groups.tolist()[:4] == [0, 0, 0, 1]


def test_dicom_beside_images_is_refused(tmp_path: Path, pictures: list[str]) -> None:
    write(tmp_path / "x.dcm", bars(0, 40).astype(np.uint8), PatientID="x")
    rows = [*plain(pictures), "x.dcm,sick"]
    with pytest.raises(KRError, match="mixes 1 DICOM image with 12 others; kind must not tell"):
        opened(table(tmp_path, rows))


@pytest.mark.parametrize("how", ["dots", "a link to a file", "a link to a folder"])
def test_relative_paths_stay_in_the_folder(tmp_path: Path, pictures: list[str], how: str) -> None:
    inner = tmp_path / "inner"
    inner.mkdir()
    (tmp_path / "images").rename(inner / "images")
    outside = tmp_path / "x.png"
    Image.fromarray(bars(0, 99).astype(np.uint8)).save(outside)
    (inner / "link.png").symlink_to(outside)
    (inner / "up").symlink_to(tmp_path)
    cell = {"dots": "../x.png", "a link to a file": "link.png", "a link to a folder": "up/x.png"}
    rows = [*plain(pictures), f"{cell[how]},sick"]
    expected = r"1 path leads out of its folder \(first: line 14\), by `..` or a link; move the fil"
    with pytest.raises(KRError, match=expected):
        opened(table(inner, rows))
    rows[-1] = f"{outside},sick"
    assert len(opened(table(inner, rows))) == 13


@pytest.mark.parametrize(
    ("header", "extra", "expected"),
    [
        ("path,label", "images/0.png,well", "lines 2 and 14 are both for images/0.png; give each"),
        ("path,label", "./images/0.png,well", r"lines 2 and 14 are both for ./images/0.png; give"),
        (
            "path,label",
            ",well",
            r"column path is empty in 1 row \(first: line 14\); fill or remove",
        ),
        (
            "path,label",
            "images/9b.png,",
            "things stand in the way:\n  1. the column label is empty",
        ),
        ("path,label", "y.png,well", r"1 file does not exist \(first: line 14: y.png\); paths are"),
        ("path,label", "y.png,NA", "1 file does not exist"),
        ("path,path", "", "has 2 columns called path; rename all but one"),
        ("", "", "holds no row; its first row names the columns"),
    ],
)
def test_refusals(
    tmp_path: Path, pictures: list[str], header: str, extra: str, expected: str
) -> None:
    with pytest.raises(KRError, match=expected):
        opened(table(tmp_path, [*plain(pictures), extra], header))


@pytest.mark.parametrize(
    ("split", "expected"),
    [
        (
            "fold1",
            "'fold1' in the column split is no split .train, val, test.; rename it, or remove",
        ),
        (
            "",
            "the column split is empty in 1 of 12 rows; give each row train, val, test, or remove",
        ),
    ],
)
def test_refused_splits(tmp_path: Path, pictures: list[str], split: str, expected: str) -> None:
    rows = plain(pictures, lambda i: split if i == 3 else "train")
    with pytest.raises(KRError, match=expected):
        opened(table(tmp_path, rows, "path,label,split"))


def test_no_train_split(tmp_path: Path, pictures: list[str]) -> None:
    with pytest.raises(
        KRError, match="no row is in the split train; name it so, or remove the col"
    ):
        opened(table(tmp_path, plain(pictures, lambda i: "test"), "path,label,split"))
    rows = plain(pictures, lambda i: "")
    assert len(opened(table(tmp_path, rows, "path,label,split"))) == 12


def test_unknown_patients_and_missing_labels(tmp_path: Path, pictures: list[str]) -> None:
    rows = plain(pictures, lambda i: "" if i in (2, 5) else f"Meier{i}")
    with pytest.raises(
        KRError, match=r"patient of 2 images is unknown \(first: line 4; "
    ) as caught:
        opened(table(tmp_path, rows, "path,label,patient"))
    assert "Meier" not in str(caught.value)
    with pytest.raises(KRError, match="'NA' as a class is a missing label"):
        opened(table(tmp_path, [*plain(pictures)[1:], "images/0.png,NA"]))


def test_nifti_is_refused(tmp_path: Path, pictures: list[str]) -> None:
    (tmp_path / "brain.nii.gz").write_bytes(b"\x1f\x8b")
    with pytest.raises(
        KRError, match="brain.nii.gz cannot be decoded: is a NIfTI volume, which is n"
    ):
        opened(table(tmp_path, [*plain(pictures), "brain.nii.gz,sick"]))


def test_settings_of_other_sources(tmp_path: Path, pictures: list[str]) -> None:
    with pytest.raises(
        KRError, match="data.groups: is for image folders, .*a table in its column pa"
    ):
        opened(table(tmp_path, plain(pictures)), groups="x.csv")
    with pytest.raises(KRError, match="data.label_column: is for tables, and digits is none"):
        open_source(Data(source="digits", label_column="x"))


def test_a_changed_image_is_read_anew(tmp_path: Path, pictures: list[str]) -> None:
    path = table(tmp_path, plain(pictures))
    before = opened(path).sha256
    assert opened(path).sha256 == before
    Image.fromarray(bars(1, 77).astype(np.uint8)).save(tmp_path / "images" / "0.png")
    os.utime(tmp_path / "images" / "0.png", (2e9, 2e9))
    assert opened(path).sha256 != before
