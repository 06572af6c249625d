from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from knowledge_recycling.config import Data
from knowledge_recycling.data import open_source, save_arrays
from knowledge_recycling.errors import KRError

IMAGES = np.random.default_rng(0).integers(0, 256, (10, 8, 8), dtype=np.uint8)
LABELS = np.arange(10) % 2


@pytest.mark.parametrize("shape", [(10, 8, 8), (10, 8, 8, 1), (10, 8, 8, 3)])
def test_round_trip(tmp_path: Path, shape: tuple[int, ...]) -> None:
    images = np.broadcast_to(IMAGES.reshape(10, 8, 8, *[1] * (len(shape) - 3)), shape)
    path = save_arrays(tmp_path / "deep" / "mine.npz", images, LABELS, groups=np.arange(10) * 7)
    source = open_source(Data(source=str(path)))
    np.testing.assert_array_equal(source.images, images.reshape(10, 8, 8, -1))
    np.testing.assert_array_equal(source.labels, LABELS)
    assert source.groups is not None
    np.testing.assert_array_equal(source.groups, np.arange(10))
    assert source.name == "mine"
    assert set(source.assigned.tolist()) == {-1}
    assert [p.name for p in path.parent.iterdir()] == ["mine.npz"]


def test_class_names_and_floats(tmp_path: Path) -> None:
    names = np.array(["sick", "healthy"], dtype=object)[LABELS]  # as pandas gives a column
    path = save_arrays(tmp_path / "mine.npz", IMAGES / 255, names)
    source = open_source(Data(source=str(path)))
    np.testing.assert_array_equal(source.images[..., 0], IMAGES)
    assert source.class_names == ("healthy", "sick")
    np.testing.assert_array_equal(source.labels, 1 - LABELS)


@pytest.mark.parametrize(
    ("images", "labels", "groups", "message"),
    [
        (IMAGES, LABELS[:9], None, "10 images but 9 labels; one for each is needed"),
        (IMAGES.astype(int), LABELS, None, "images: expected uint8 values .* found int64"),
        (
            IMAGES.astype(float),
            LABELS,
            None,
            "must lie in 0..1, .*; divide by 255",
        ),
        (IMAGES * np.nan, LABELS, None, "images: 10 of 10 images hold NaN"),
        (IMAGES[0], LABELS, None, "images: expected images of shape"),
        (IMAGES, LABELS * 3, None, "labels: labels must be 0..C-1 without gaps"),
        (IMAGES, LABELS - 1, None, "the first is -1"),
        (IMAGES, np.eye(10), None, "one of which is 1 in each row; give one class"),
        (IMAGES, [None] * 10, None, "labels: expected whole numbers .* found object"),
        (IMAGES, LABELS, [1, 2], "groups: 2 groups for 10 images"),
        (IMAGES, LABELS, LABELS / 2, "groups: expected whole numbers or strings, found float64"),
    ],
)
def test_wrong_arrays_are_explained_and_leave_no_file(
    tmp_path: Path, images: Any, labels: Any, groups: Any, message: str
) -> None:
    with pytest.raises(KRError, match=message):
        save_arrays(tmp_path / "mine.npz", images, labels, groups)
    assert not list(tmp_path.iterdir())


def test_a_full_disk_keeps_the_older_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = save_arrays(tmp_path / "mine.npz", IMAGES, LABELS)
    before = path.read_bytes()

    def fail(stream: Any, **arrays: Any) -> None:
        stream.write(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "savez", fail)
    with pytest.raises(KRError, match=r"mine.npz: cannot be written \(No space left on device\)"):
        save_arrays(path, IMAGES, LABELS)
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["mine.npz"]
