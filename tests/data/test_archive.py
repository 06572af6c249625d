from __future__ import annotations

import os
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from knowledge_recycling.config import Data
from knowledge_recycling.data import archive, files, open_source
from knowledge_recycling.errors import KRError
from tests.data.conftest import noise

Save = Callable[[dict[str, Any]], str]


def refused(path: Path | str, message: str) -> None:
    with pytest.raises(KRError, match=message) as error:
        open_source(Data(source=str(path)))
    assert str(path) in str(error.value)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("x.h5", b"\x89HDF\r\n\x1a\n", "is an HDF5 file; read it with h5py and save its images"),
        ("x.mat", b"MATLAB 5.0 MAT-file", "is a MATLAB file; read it with scipy.io.loadmat"),
        ("x.mat", b"old", "is a MATLAB file"),
        ("x.pkl", b"\x80\x04N.", "is a Python pickle, which could run code when read and is never"),
        ("x.npz", b"\x80\x05N.", "is a Python pickle"),
        ("x.npy", b"\x93NUMPY", "is a single array .*numpy.savez"),
        ("x.dcm", b"", "is one DICOM file; give a folder of them"),
        (
            "x.nii.gz",
            b"\x1f\x8b",
            "is a NIfTI volume, which is not read, since its slices have no l",
        ),
        ("x.gz", b"\x1f\x8b", "is a compressed file; unpack it first"),
        ("x.png", b"\x89PNG", "is one image; give a folder"),
        ("x.txt", b"file,group", "is not an npz file"),
    ],
)
def test_other_files_are_named(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    (tmp_path / name).write_bytes(content)
    refused(tmp_path / name, message)


def test_a_zip_file_of_images(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as file:
        file.writestr("a/0.png", b"")
    refused(tmp_path / "x.zip", r"found a/0.png.*a zip file of images must be unpacked first")


@pytest.mark.parametrize("method", [zipfile.ZIP_LZMA, zipfile.ZIP_BZIP2])
def test_other_ways_of_packing(tmp_path: Path, method: int, save: Save) -> None:
    with np.load(save({"images": noise(8, 8, 8), "labels": np.arange(8) % 2})) as plain:
        arrays = dict(plain)
    with zipfile.ZipFile(tmp_path / "x.npz", "w", method) as file:
        for key, value in arrays.items():
            with file.open(f"{key}.npy", "w") as stream:
                np.lib.format.write_array(stream, value)
    refused(tmp_path / "x.npz", "is packed by another method .such as LZMA.*savez_compressed")


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9, 0.99])
def test_files_that_are_cut_off(save: Save, official: dict[str, Any], share: float) -> None:
    path = Path(save(official))
    raw = path.read_bytes()
    path.write_bytes(raw[: int(share * len(raw))])
    refused(path, "is not an npz file|is damaged")


def test_a_bomb_is_not_unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archive, "BOMB_BYTES", 1_000_000)
    images = np.zeros((3000, 28, 28), np.uint8)
    np.savez_compressed(tmp_path / "x.npz", images=images, labels=np.arange(3000) % 2)
    monkeypatch.setattr(zipfile.ZipFile, "open", None)
    refused(tmp_path / "x.npz", r"would grow from \d\.\d+ kB to 2.38 MB, more than 200 times")


def test_pipes_and_devices(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "x.npz")
    refused(tmp_path / "x.npz", "is a pipe, a socket or a device, which is never opened")
    refused("/dev/null", "is a pipe, a socket or a device")


def test_a_pipe_that_takes_the_place_of_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "plain").touch()
    os.mkfifo(tmp_path / "pipe")
    monkeypatch.setattr(files, "status", lambda path: (tmp_path / "plain").stat())
    with pytest.raises(KRError, match="is a pipe"), files.open_regular(tmp_path / "pipe"):
        pass


@pytest.mark.parametrize("name", ["x" * 300, "a\0b", "x" * 5000])
def test_impossible_paths(name: str) -> None:
    with pytest.raises(KRError) as error:
        open_source(Data(source=f"/tmp/{name}"))
    assert len(str(error.value)) < 700


@pytest.mark.parametrize("order", ["C", "F"])
def test_blocks_make_up_the_array(save: Save, order: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archive, "BLOCK_BYTES", 200)
    images = noise(20, 8, 8, 3)
    source = open_source(
        Data(source=save({"images": np.asarray(images, order=order), "labels": np.arange(20) % 2}))
    )
    np.testing.assert_array_equal(source.images, images)


def test_class_names_of_the_file(save: Save) -> None:
    arrays = {"images": noise(12, 8, 8), "labels": np.arange(12) % 2}
    names = np.array([" glioma", "no tumour "])
    assert open_source(Data(source=save(arrays | {"class_names": names}))).class_names == (
        "glioma",
        "no tumour",
    )
    with pytest.raises(KRError, match="class_names: expected strings, found float64"):
        open_source(Data(source=save(arrays | {"class_names": np.array([0.5, 1])})))


def test_colour_and_range_of_arrays(save: Save) -> None:
    images = noise(12, 8, 8, 3)
    path = save({"images": images.astype(np.uint16) * 16, "labels": np.arange(12) % 2})
    source = open_source(Data(source=path, range=(0, 4080), color="grey"))
    assert source.images.shape == (12, 8, 8, 1)
    weights = np.array([299, 587, 114]) / 1000
    np.testing.assert_allclose(source.images[..., 0], images @ weights, atol=1)


def test_an_unknown_home(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", unknown)
    with pytest.raises(KRError, match=r"breastmnist.npz: the cache .* set the environment variab"):
        open_source(Data(source="breastmnist"))
    with pytest.raises(KRError, match="the home folder is not known"):
        open_source(Data(source="~nobody_of_that_name/x"))
