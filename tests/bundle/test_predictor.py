"""Predictions on new images: what every form of the Student says is the same."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

import knowledge_recycling as kr
from knowledge_recycling import cli
from tests import dicom_files
from tests.bundle.conftest import Released


def command(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> int:
    monkeypatch.setattr("sys.argv", ["kr", *map(str, arguments)])
    with pytest.raises(SystemExit) as end:
        cli.main()
    return int(str(end.value.code or 0))


def test_run_onnx_and_torch_agree(released: Released) -> None:
    images = released.private[:40]
    run = kr.load(released.run).predict(images)
    for engine in ("onnx", "torch"):
        found = kr.load(released.bundle, engine).predict(images)
        assert np.abs(found.probabilities - run.probabilities).max() < 1e-4
        assert found.classes == run.classes
    assert set(run.classes) <= {"benign", "malignant"}


def test_accuracy_is_that_of_the_run(released: Released) -> None:
    run = kr.open_run(released.run)
    places = list(run.split().indices["test"])
    found = kr.load(released.bundle).predict(released.private[places])
    right = found.probabilities.argmax(1) == np.array(places) % 2
    assert right.mean() == run.result("evaluation").student.accuracy


def test_files_folders_and_npz(
    released: Released,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder = tmp_path / "new"
    folder.mkdir()
    for index in range(3):
        Image.fromarray(released.private[index]).save(folder / f"{index}.png")
    np.savez(tmp_path / "new.npz", images=released.private[:3])
    asked = ("predict", released.bundle, folder, folder / "0.png", tmp_path / "new.npz")
    assert command(monkeypatch, *asked, "--json") == 0
    rows = json.loads(capsys.readouterr().out)
    assert [Path(row["image"]).name for row in rows] == [
        *("0.png", "1.png", "2.png", "0.png"),
        *("new.npz#0", "new.npz#1", "new.npz#2"),
    ]
    p = [row["p_benign"] for row in rows]
    assert p[:3] == p[4:]
    assert command(monkeypatch, *asked) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "image,class,p_benign,p_malignant"
    assert len(lines) == 8
    assert command(monkeypatch, *asked, "--parquet", tmp_path / "p.parquet") == 0
    assert pq.read_table(tmp_path / "p.parquet").to_pylist() == rows


@pytest.mark.parametrize(
    ("images", "words"),
    [
        (np.full((2, 8, 8), 3.5), "images: "),
        (np.zeros((2, 8, 8, 3), np.uint8), "takes grey images, and these have colour"),
        (np.zeros((8, 8), np.uint8), "expected images of shape"),
    ],
)
def test_input_that_does_not_fit_is_refused(
    images: np.ndarray, words: str, released: Released
) -> None:
    with pytest.raises(kr.KRError, match=words):
        kr.load(released.bundle).predict(images)


def test_files_unlike_those_of_training_are_refused(released: Released, tmp_path: Path) -> None:
    student = kr.load(released.bundle)
    dark = tmp_path / "dark.png"
    Image.fromarray(np.arange(64, dtype=np.uint16).reshape(8, 8) * 60).save(dark)
    with pytest.raises(kr.KRError, match=r"dark\.png: has 16 bits and no value above 3780"):
        student.read([dark])
    full = tmp_path / "full.png"
    Image.fromarray(np.arange(64, dtype=np.uint16).reshape(8, 8) * 1040).save(full)
    names, pixels = student.read([full])
    assert (names, pixels.max()) == ([str(full)], round(65520 / 257))
    pages = tmp_path / "pages.tif"
    first, *others = (Image.fromarray(image) for image in released.private[:3])
    first.save(pages, save_all=True, append_images=others)
    with pytest.raises(kr.KRError, match=r"pages\.tif: holds 3 pages"):
        student.read([pages])
    ranged = replace(student, limits=(0.0, 1000.0))
    with pytest.raises(kr.KRError, match=r"full\.png: holds values outside the range of training"):
        ranged.read([full])


def test_both_engines_print_the_same_classes(
    released: Released, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    np.savez(tmp_path / "new.npz", images=released.private[:9])
    for engine in ("onnx", "torch"):
        written = tmp_path / f"{engine}.parquet"
        asked = ("predict", released.bundle, tmp_path / "new.npz", "--parquet", written)
        assert command(monkeypatch, *asked, "--engine", engine) == 0
    onnx, torch = (pq.read_table(tmp_path / f"{e}.parquet").to_pydict() for e in ("onnx", "torch"))
    assert onnx["class"] == torch["class"]
    assert np.allclose(onnx["p_benign"], torch["p_benign"], atol=1e-4)


def test_the_command_line_releases_and_exits_as_the_gate_does(
    released: Released,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    asked = ("release", released.run, "-o", tmp_path / "bundle")
    assert command(monkeypatch, *asked) == 4
    assert capsys.readouterr().err.startswith("error: the gate is shut. Not audited: ")
    form = tmp_path / "release.yaml"
    assert command(monkeypatch, "release", "--init", "--form", form) == 0
    assert command(monkeypatch, *asked, "--form", form, "--override", "a test") == 0
    assert (tmp_path / "bundle" / "SHA256SUMS").exists()
    capsys.readouterr()
    assert command(monkeypatch, "verify", tmp_path / "bundle") == 0
    assert "all 8 files are as they were written" in capsys.readouterr().out


def test_larger_images_are_resized(released: Released) -> None:
    large = released.private[:4].repeat(2, 1).repeat(2, 2)
    assert kr.load(released.bundle).predict(large).probabilities.shape == (4, 2)


def test_a_changed_bundle_is_refused(released: Released, tmp_path: Path) -> None:
    copy = tmp_path / "bundle"
    shutil.copytree(released.bundle, copy)
    with (copy / "student.onnx").open("ab") as file:
        file.write(b"x")
    with pytest.raises(kr.KRError, match=r"student\.onnx: has changed"):
        kr.load(copy)
    with pytest.raises(kr.KRError, match="a run has no ONNX file"):
        kr.load(released.run, "onnx")
    with pytest.raises(kr.KRError, match="NIfTI volumes are not read"):
        kr.load(released.bundle).read(["a.nii"])


def test_dicom_files_say_what_the_same_pixels_say(released: Released, tmp_path: Path) -> None:
    grey = [np.asarray(Image.fromarray(image).convert("L")) for image in released.private[:2]]
    dicom_files.write(tmp_path / "one.dcm", grey[0])
    dicom_files.write(tmp_path / "two.dcm", np.stack(grey))
    predictor = kr.load(released.bundle)
    names, images = predictor.read([tmp_path])
    assert [name.removeprefix(f"{tmp_path}/") for name in names] == [
        "one.dcm",
        "two.dcm#0",
        "two.dcm#1",
    ]
    for found, pixels in zip(images, [grey[0], *grey], strict=True):
        Image.fromarray(pixels).save(tmp_path / "same.png")
        assert np.array_equal(found, predictor.read([tmp_path / "same.png"])[1][0])


def test_a_bundle_needs_no_torch(released: Released) -> None:
    code = (
        "import sys, numpy as np, knowledge_recycling as kr\n"
        f"found = kr.load({str(released.bundle)!r}).predict(np.zeros((2, 8, 8), np.uint8))\n"
        "print(found.probabilities.shape, 'torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "(2, 2) False\n"
