from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from knowledge_recycling.data.checks import as_groups
from knowledge_recycling.data.names import check_classes
from knowledge_recycling.data.patients import read_groups
from knowledge_recycling.errors import KRError

FILES = ["a/0.png", "a/1.png", "b/0.png"]


def read(root: Path, text: str | bytes) -> tuple[list[int], list[str]]:
    raw = text if isinstance(text, bytes) else text.encode()
    (root / "p.csv").write_bytes(raw)
    groups, notes = read_groups(root, "p.csv", FILES)
    return groups.tolist(), notes


@pytest.mark.parametrize(
    "text",
    [
        "file,group\na/0.png,p1\na/1.png,p1\nb/0.png,p2\n",
        "\ufeffFile , GROUP,age\n a/0.png , p1 ,4\na\\1.png,p1,\n./b/0.png,p2\n\n",
        "file;group\r\na/0.png;p1\r\na/1.png;p1 \r\nb/0.png;p2\r\n",
        'group\tfile\np1\ta/0.png\np1\t"a/1.png"\np2\tb//0.png\n',
    ],
)
def test_tables_as_people_write_them(tmp_path: Path, text: str) -> None:
    assert read(tmp_path, text) == ([0, 0, 1], [])


def test_absolute_paths_and_rows_too_many(tmp_path: Path) -> None:
    rows = [f"{tmp_path}/{file},p" for file in FILES]
    text = "\n".join(["file,group", *rows, "c/9.png,q"])
    note = "1 row of the groups file names a file that is no image read"
    assert read(tmp_path, text) == ([0, 0, 0], [note])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "file,group\na/0.png,p\na/1.png,p\na/0.png,q\nb/0.png,q",
            "lines 2 and 4 are both for",
        ),
        ("file,group\na/0.png,p\na/1.png,P\nb/0.png,q", "at line 2 and line 3 differ only in case"),
        ("file,group\na/0.png,p\na/1.png,p", "1 image without a group, such as b/0.png"),
        ("file,group\na/0.png,p\na/1.png\nb/0.png,p", r"patient of 1 image is unknown \(first: li"),
        (
            "file,group,group\na/0.png,1,1",
            "needs the columns file and group, once each; found file, group, g",
        ),
        ("file,group\n\n , \n", "holds no row below its header"),
        ("", "holds no row; its first row names the columns"),
        (b"file,group\na/0.png,\xff", "is not UTF-8 text; save it as CSV in UTF-8"),
        (b'file,group\n"a/0.png,' + b"x" * 200_000, r"cannot be read as CSV \(field larger"),
    ],
)
def test_tables_that_are_refused(tmp_path: Path, text: str | bytes, message: str) -> None:
    with pytest.raises(KRError, match=message) as error:
        read(tmp_path, text)
    assert str(error.value).startswith("data.groups: ")


@pytest.mark.parametrize(
    ("groups", "message"),
    [
        (np.array(["p", "nan", "q"]), "patient of 1 image is unknown .first: image 1;"),
        (np.array([0, -1, -1]), "patient of 2 images is unknown .*pandas.factorize"),
        (np.array(["p", "q", "P"]), "at image 0 and image 2 differ only in case"),
        (np.array([0, np.nan, 1]), "found float64 with 1 missing values"),
        (np.array(["p", None, np.nan], object), "found object with 2 missing values"),
    ],
)
def test_arrays_of_patients(groups: np.ndarray, message: str) -> None:
    with pytest.raises(KRError, match=message) as error:
        as_groups(groups, 3, "groups")
    assert "'p'" not in str(error.value)
    assert as_groups(np.array([" p", "p ", "q"]), 3, "groups").tolist() == [0, 0, 1]


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["benign", "Benign"], "'benign' and 'Benign' are one but for"),
        (["a", "a "], "'a' and 'a ' are one but for case or blanks"),
        (["a", "a"], "'a' and 'a' are one"),
        (["n/a", "b"], "'n/a' as a class is a missing label"),
    ],
)
def test_class_names_that_are_refused(names: list[str], message: str) -> None:
    with pytest.raises(KRError, match=message):
        check_classes(names, "labels")
