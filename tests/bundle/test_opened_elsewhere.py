"""Bundles of three kinds of data, opened with other packages: every form is the same Student."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnxruntime
import pydicom
import pytest
import torch
from safetensors.torch import load_file
from scipy.special import log_softmax
from sklearn.datasets import load_digits

import knowledge_recycling as kr
from tests import dicom_files
from tests.small_runs import TINIEST

SYNTHETIC = 24
OPEN = """
import io, sys
import datasets, mlcroissant
import numpy as np
from PIL import Image

def pixels(images):
    return np.stack([np.asarray(image) for image in images])

cache, *folders = sys.argv[1:]
found = {}
for folder in folders:
    name = folder.split("/")[-4]
    parquet = dict(data_files=folder + "synthetic.parquet", cache_dir=cache + name)
    rows = datasets.load_dataset("parquet", split="train", **parquet)
    found[name + " parquet images"] = pixels(rows["image"])
    found[name + " parquet labels"] = rows["label"]
    plain = dict(data_dir=folder + "images", cache_dir=cache + name)
    rows = datasets.load_dataset("imagefolder", split="train", **plain)
    found[name + " imagefolder images"] = pixels(rows["image"])
    found[name + " imagefolder labels"] = rows["label"]
    croissant = mlcroissant.Dataset(jsonld=folder + "croissant.json")
    rows = list(croissant.records("images"))
    found[name + " croissant images"] = pixels(row["images/image"] for row in rows)
    found[name + " croissant labels"] = [row["images/label"] for row in rows]
np.savez(cache + "found.npz", **found)
"""
"""Run without this package, and without a network."""


@dataclass(frozen=True)
class Given:
    run: kr.Run
    bundle: Path
    test: np.ndarray
    """(n, s, s) uint8 test images as their own files hold them, and not as kr read them."""
    truth: np.ndarray
    """(n,) int"""


def digits(folder: Path) -> tuple[str, np.ndarray, np.ndarray]:
    images, labels = load_digits(return_X_y=True)
    return "digits", np.rint(images.reshape(-1, 8, 8) * 255 / 16).astype(np.uint8), labels


def medmnist(folder: Path) -> tuple[Path, np.ndarray, np.ndarray]:
    """A file as MedMNIST's: three splits, grey, 28 pixels, two classes."""
    sizes = {"train": 160, "val": 40, "test": 60}
    labels = {split: np.arange(n) % 2 for split, n in sizes.items()}
    images = {
        split: np.stack([dicom_files.bars(int(y), 7 * n + i, side=28) for i, y in enumerate(of)])
        for (split, n), of in zip(sizes.items(), labels.values(), strict=True)
    }
    arrays: dict[str, np.ndarray] = {
        f"{split}_images": images[split].astype(np.uint8) for split in sizes
    }
    arrays |= {f"{split}_labels": labels[split][:, None] for split in sizes}
    np.savez(folder / "scansmnist.npz", allow_pickle=False, **arrays)
    # kr counts the splits one after the other.
    whole = np.concatenate(list(images.values())).astype(np.uint8)
    return folder / "scansmnist.npz", whole, np.concatenate(list(labels.values()))


def dicom(folder: Path) -> tuple[Path, np.ndarray, np.ndarray]:
    """A folder for each class, a patient in each file."""
    dicom_files.folder(folder / "scans", n=60)
    files = sorted((folder / "scans").rglob("*.dcm"))
    images = np.stack([pydicom.dcmread(file).pixel_array for file in files])
    return folder / "scans", images, np.array([file.parent.name == "b" for file in files], int)


@pytest.fixture(scope="module")
def given(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Given]:
    found = {}
    for make in (digits, medmnist, dicom):
        folder = tmp_path_factory.mktemp("sets") / make.__name__
        folder.mkdir()
        source, images, labels = make(folder)
        run = kr.run(source, folder / "run", settings=TINIEST)
        bundle = folder / "bundle"
        kr.release(run, bundle, synthetic=SYNTHETIC, override="only a test")
        places = list(run.split().indices["test"])
        found[make.__name__] = Given(run, bundle, images[places], labels[places])
    return found


def opened(given: dict[str, Given], cache: Path) -> dict[str, np.ndarray]:
    """What `datasets` and mlcroissant make of the synthetic sets."""
    folders = [f"{one.bundle}/synthetic/" for one in given.values()]
    command = [sys.executable, "-c", OPEN, f"{cache}/", *folders]
    environment = os.environ | {"HF_HUB_OFFLINE": "1", "HF_HOME": str(cache)}
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    with np.load(cache / "found.npz") as arrays:
        return dict(arrays)


def by_onnxruntime(bundle: Path, images: np.ndarray) -> np.ndarray:
    """(n, C) logits; the file says what it takes."""
    session = onnxruntime.InferenceSession(bundle / "student.onnx")
    (taken,) = session.get_inputs()
    assert taken.shape[1:] == [1, *images.shape[1:]]
    logits: np.ndarray = session.run(["logits"], {taken.name: images[:, None]})[0]
    return logits


def by_safetensors(one: Given, images: np.ndarray) -> np.ndarray:
    """The weights of the bundle in a network whose own are forgotten."""
    network = kr.student(one.run)
    for tensor in network.state_dict().values():
        tensor.zero_()
    network.load_state_dict(load_file(one.bundle / "student.safetensors"), strict=True)
    with torch.no_grad():
        found: np.ndarray = network(torch.from_numpy(images[:, None]).float() / 127.5 - 1).numpy()
    return found


def accuracy(logits: np.ndarray, labels: Sequence[int] | np.ndarray) -> float:
    return float(np.mean(logits.argmax(1) == labels))


@pytest.mark.parametrize("name", ["digits", "medmnist", "dicom"])
def test_every_form_of_the_student_is_as_accurate_as_the_student(
    given: dict[str, Given], name: str
) -> None:
    one = given[name]
    evaluated = kr.predictions(one.run)
    assert np.array_equal(evaluated["labels"], one.truth)
    expected = evaluated["student"]
    forms = {
        "onnxruntime": by_onnxruntime(one.bundle, one.test),
        "safetensors": by_safetensors(one, one.test),
        "kr, onnx": np.log(kr.load(one.bundle).predict(one.test).probabilities),
        "kr, torch": np.log(kr.load(one.bundle, "torch").predict(one.test).probabilities),
    }
    wanted = one.run.result("evaluation").student.accuracy
    assert {form: accuracy(found, one.truth) for form, found in forms.items()} == dict.fromkeys(
        forms, wanted
    )
    for form, found in forms.items():
        assert np.array_equal(found.argmax(1), expected.argmax(1)), form
        assert np.abs(log_softmax(found, 1) - log_softmax(expected, 1)).max() < 1e-4, form
    assert json.loads((one.bundle / "report.json").read_text())["student"]["accuracy"] == wanted


def test_every_form_of_the_set_holds_the_same(given: dict[str, Given], tmp_path: Path) -> None:
    found = opened(given, tmp_path)
    for name, one in given.items():
        with np.load(one.bundle / "synthetic" / "synthetic.npz", allow_pickle=False) as arrays:
            images, labels = arrays["train_images"], arrays["train_labels"][:, 0]
        assert len(images) == SYNTHETIC
        wanted = accuracy(by_onnxruntime(one.bundle, images), labels)
        for form in ("parquet", "imagefolder", "croissant"):
            same, classes = (found[f"{name} {form} {what}"] for what in ("images", "labels"))
            assert np.array_equal(same, images), (name, form)
            assert np.array_equal(classes, labels), (name, form)
            assert accuracy(by_onnxruntime(one.bundle, same), classes) == wanted
