from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from knowledge_recycling.data.decode import Rule
from knowledge_recycling.data.images import read_alone
from knowledge_recycling.errors import KRError
from tests.dicom_files import bars, write


def test_one_file_is_one_image_and_a_frame_too(tmp_path: Path) -> None:
    frames = np.stack([bars(0, i) for i in range(3)]).astype(np.uint8)
    Image.fromarray(frames[0]).save(tmp_path / "x.png")
    Image.fromarray(np.stack([frames[0]] * 2 + [frames[1]], -1)).save(tmp_path / "c.png")
    write(tmp_path / "x.dcm", frames)
    write(tmp_path / "IM0001", frames[1])
    np.testing.assert_array_equal(read_alone(tmp_path / "x.png", Rule(16)), frames[:1, ..., None])
    np.testing.assert_array_equal(read_alone(tmp_path / "x.dcm", Rule(16)), frames[..., None])
    np.testing.assert_array_equal(read_alone(tmp_path / "IM0001", Rule(16))[0, ..., 0], frames[1])
    assert read_alone(tmp_path / "c.png", Rule(8)).shape == (1, 8, 8, 3)


def test_values_on_no_scale_are_no_black_image(tmp_path: Path) -> None:
    path = write(tmp_path / "x.dcm", bars(0, 0, high=4000).astype(np.uint16))
    with pytest.raises(KRError, match=r"x.dcm: no window says what to show of its values, and no"):
        read_alone(path, Rule(16))
    assert read_alone(path, Rule(16, (0.0, 4095.0))).max() > 100


def test_a_stated_range_clips_scans_as_in_training_and_refuses_other_files(tmp_path: Path) -> None:
    values = bars(0, 0, high=4000).astype(np.uint16)
    Image.fromarray(values).save(tmp_path / "x.png")
    rule = Rule(16, (0.0, 1000.0))
    with pytest.raises(KRError, match=r"x\.png: holds values outside the range of training, \(0"):
        read_alone(tmp_path / "x.png", rule)
    found = read_alone(write(tmp_path / "x.dcm", values), rule)[0, ..., 0]
    np.testing.assert_allclose(found, np.clip(values / 1000, 0, 1) * 255, atol=1)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("x.png", "x.png: cannot be read: not an image$"),
        ("x.dcm", "x.dcm: cannot be read: is no DICOM file"),
        (
            "x.nii.gz",
            "x.nii.gz: cannot be read: is a NIfTI volume, which is not read, since its slic",
        ),
    ],
)
def test_what_cannot_be_read(tmp_path: Path, name: str, expected: str) -> None:
    (tmp_path / name).write_bytes(b"no image" * 30)
    with pytest.raises(KRError, match=expected):
        read_alone(tmp_path / name, Rule(16))
