from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.datasets import load_digits

from knowledge_recycling.config import Data
from knowledge_recycling.data import open_source
from knowledge_recycling.errors import KRError

Save = Callable[[dict[str, Any]], str]


def test_digits() -> None:
    source = open_source(Data(source="digits"))
    bunch = load_digits()
    assert source.images[:].max() == 255
    np.testing.assert_allclose(source.images[..., 0] * (16 / 255), bunch.images, atol=0.04)
    np.testing.assert_array_equal(source.labels, bunch.target)


def test_a_source_is_read_once_and_cannot_be_written() -> None:
    source = open_source(Data(source="digits"))
    assert open_source(Data(source="digits")) is source
    with pytest.raises(ValueError, match="read-only"):
        np.asarray(source.images)[0] = 0


@pytest.mark.parametrize(
    "content",
    [
        None,
        b"no archive",
        {"images": np.zeros((2, 8, 8, 1), np.uint8)},
        {"images": np.zeros((2, 9, 9, 1), np.uint8), "labels": [0, 1], "unit": [0, 1]},
        {"images": np.zeros((2, 8, 8, 1), np.uint8), "labels": [0, 10], "unit": [0, 1]},
        {"images": np.zeros((2, 8, 8, 1), np.uint8), "labels": [0, 1], "unit": ["a", "b"]},
    ],
)
def test_what_holds_no_canaries_is_refused(tmp_path: Path, content: Any) -> None:
    path = tmp_path / "canaries.npz"
    if isinstance(content, dict):
        np.savez(path, **content)
    elif content:
        path.write_bytes(content)
    with pytest.raises(KRError, match=r"canaries.npz: (holds no canaries|cannot be read as npz)"):
        open_source(Data(source="digits", canaries=str(path)))


def test_a_changed_file_is_read_anew(save: Save, official: dict[str, Any]) -> None:
    first = open_source(Data(source=save(official)))
    official["val_labels"] = official["val_labels"][::-1]
    assert open_source(Data(source=save(official))).sha256 != first.sha256


def test_missing_paths_name_what_is_near(
    tmp_path: Path, save: Save, official: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    save(official)
    with pytest.raises(KRError, match=r"sett.npz does not exist; did you mean .*/set.npz\?"):
        open_source(Data(source=str(tmp_path / "sett.npz")))
    with pytest.raises(KRError, match="does not exist; give digits, an npz file, an image folder"):
        open_source(Data(source=str(tmp_path / "none" / "x")))
    monkeypatch.chdir(tmp_path)
    with pytest.raises(KRError, match=r"brestmnist does not exist; did you mean breastmnist"):
        open_source(Data(source="brestmnist"))
    with pytest.raises(KRError, match=r"digit does not exist; did you mean digits\?"):
        open_source(Data(source="digit"))
    with pytest.raises(KRError, match=r"data.source: is empty; give digits, a path or"):
        open_source(Data())


def test_a_bare_known_name_is_never_a_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`kr run digits -o digits` must find the data again when it is resumed."""
    monkeypatch.chdir(tmp_path)
    Path("digits").mkdir()
    assert open_source(Data(source="digits")).name == "digits"
    with pytest.raises(KRError, match="has no class folders"):
        open_source(Data(source="./digits"))


def test_groups_are_for_folders_only(save: Save, official: dict[str, Any]) -> None:
    for source in ("digits", save(official)):
        with pytest.raises(KRError, match=r"data.groups: is for image folders, and .* is none"):
            open_source(Data(source=source, groups="patients.csv"))
