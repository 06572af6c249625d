"""What a bundle holds, and that nothing private is in it."""

from __future__ import annotations

import base64
import io
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image
from safetensors.numpy import load_file

import knowledge_recycling as kr
from knowledge_recycling.auditing.limits import Limits
from knowledge_recycling.bundle.contents import front_matter
from knowledge_recycling.bundle.form import TEMPLATE, Form
from knowledge_recycling.config import Config
from knowledge_recycling.releasing import GateShutError, channels
from knowledge_recycling.stages.release import Wanted, _draw
from knowledge_recycling.storage.run_dir import RunDir
from tests.bundle.conftest import HOST, PLACE, USER, Released
from tests.words import bare_auc

ZOOMS = (1, 10)
"""The report enlarges images of 8 pixels tenfold."""


def files(bundle: Path) -> list[Path]:
    return sorted(path for path in bundle.rglob("*") if path.is_file())


def pictures(bundle: Path) -> Iterator[np.ndarray]:
    """Every image of every file, (h, w) or (h, w, c)."""
    for path in files(bundle):
        content = path.read_bytes()
        if path.suffix == ".png":
            yield np.asarray(Image.open(path))
        if path.suffix == ".npz":
            with np.load(path, allow_pickle=False) as arrays:
                yield from arrays["train_images"]
        if path.suffix == ".parquet":
            for cell in pq.read_table(path)["image"].to_pylist():
                yield np.asarray(Image.open(io.BytesIO(cell["bytes"])))
        if path.suffix == ".html":
            for code in re.findall(rb"data:image/png;base64,([A-Za-z0-9+/=]+)", content):
                yield np.asarray(Image.open(io.BytesIO(base64.b64decode(code))))


def leaked(bundle: Path, private: np.ndarray) -> int:
    """Number of pictures that hold a row of a private image; rows of noise are unlike all else."""
    rows = {row.tobytes() for row in private.reshape(-1, 8)}
    found = 0
    for picture in pictures(bundle):
        plane = picture if picture.ndim == 2 else picture[..., 0]
        smaller = (plane[::zoom, ::zoom] for zoom in ZOOMS)
        seen = {
            line[start : start + 8].tobytes()
            for small in smaller
            for line in np.ascontiguousarray(small)
            for start in range(len(line) - 7)
        }
        found += bool(rows & seen)
    return found


def test_no_image_of_a_bundle_is_private(released: Released, tmp_path: Path) -> None:
    assert sum(1 for _ in pictures(released.bundle)) > 90
    assert leaked(released.bundle, released.private) == 0
    copy = tmp_path / "bundle"
    shutil.copytree(released.bundle, copy)
    Image.fromarray(released.private[7]).save(copy / "planted.png")
    file = io.BytesIO()
    Image.fromarray(released.private[9].repeat(10, 0).repeat(10, 1)).save(file, format="PNG")
    code = base64.b64encode(file.getvalue()).decode()
    (copy / "planted.html").write_text(f'<img src="data:image/png;base64,{code}">')
    assert leaked(copy, released.private) == 2, "the search finds what is planted"


def test_no_file_names_a_path_a_host_or_a_user(released: Released) -> None:
    secrets = [PLACE, HOST, USER, os.getcwd(), sys.prefix, "site-packages", "/home/", "/tmp/"]
    for path in files(released.bundle):
        content = path.read_bytes()
        for secret in secrets:
            assert secret.encode() not in content, f"{path.name}: {secret}"


def test_no_network_but_the_student_and_nothing_of_single_records(released: Released) -> None:
    bundle, run = released.bundle, kr.open_run(released.run)
    names = {path.relative_to(bundle).as_posix() for path in files(bundle)}
    assert not {name for name in names if re.search("teacher|generator|split|predict", name)}
    assert {name for name in names if "/" not in name} == {
        "LICENSE",
        "README.md",
        "SHA256SUMS",
        "report.html",
        "report.json",
        "report.schema.json",
        "student.json",
        "student.onnx",
        "student.safetensors",
    }
    (tensors,) = [path for path in files(bundle) if path.suffix == ".safetensors"]
    student = load_file(run.path / "distillation" / "network.safetensors")
    found = load_file(tensors)
    assert set(found) == set(student)
    assert all(np.array_equal(found[name], student[name]) for name in found)
    report = (bundle / "report.json").read_text()
    assert '"indices"' not in report
    longest = max(len(run_) for run_ in re.findall(r"[\d.,\s-]+", report))
    assert longest < 2000, "no list as long as the records"


def test_onnx_equals_pytorch_for_any_number_of_images(released: Released) -> None:
    session = onnxruntime.InferenceSession(released.bundle / "student.onnx")
    student = kr.student(released.run)
    for n in (1, 2, 57):
        images = released.private[:n, None]
        logits, p = session.run(None, {"images": images})
        with torch.no_grad():
            expected = student(torch.from_numpy(images).float() / 127.5 - 1).numpy()
        assert np.abs(logits - expected).max() < 1e-4
        assert np.allclose(p.sum(1), 1)
    model = onnx.load(released.bundle / "student.onnx")
    about = {entry.key: entry.value for entry in model.metadata_props}
    assert json.loads(about["class_names"]) == ["benign", "malignant"]
    assert [o.version for o in model.opset_import if o.domain == ""] == [18]


def test_all_forms_of_the_set_hold_the_same(released: Released) -> None:
    folder = released.bundle / "synthetic"
    table = pq.read_table(folder / "synthetic.parquet").to_pydict()
    with np.load(folder / "synthetic.npz") as arrays:
        images, labels = arrays["train_images"], arrays["train_labels"]
        soft = arrays["train_soft_labels"]
    assert images.shape == (30, 8, 8)
    assert labels.shape == (30, 1)
    assert table["label"] == labels[:, 0].tolist()
    assert np.array_equal(np.array(table["soft_label"], np.float32), soft)
    assert all(table["synthetic"])
    lines = (folder / "images" / "metadata.csv").read_text().splitlines()
    assert lines[0] == "file_name,label,class_name,synthetic,soft_label"
    for index, line in enumerate(lines[1:]):
        name, label, *_ = line.split(",")
        png = Image.open(folder / "images" / name)
        assert np.array_equal(np.asarray(png), images[index])
        assert int(label) == labels[index, 0]
        assert png.text["synthetic"] == "true"  # type: ignore[attr-defined]
        assert png.text["DigitalSourceType"].endswith(  # type: ignore[attr-defined]
            "trainedAlgorithmicMedia"
        )


def test_datasets_and_mlcroissant_open_the_set(released: Released, tmp_path: Path) -> None:
    code = f"""
import datasets, mlcroissant
folder, cache = {str(released.bundle / "synthetic")!r}, {str(tmp_path)!r}
d = datasets.load_dataset("parquet", data_files=folder + "/synthetic.parquet", cache_dir=cache)
print(d["train"].num_rows, d["train"][0]["image"].size, d["train"].features["label"].names)
d = datasets.load_dataset("imagefolder", data_dir=folder + "/images", cache_dir=cache)
print(d["train"].num_rows, d["train"][0]["image"].size)
set = mlcroissant.Dataset(jsonld=folder + "/croissant.json")
assert not set.metadata.issues.errors
print(len(list(set.records("images"))))
"""
    environment = os.environ | {"HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, env=environment)
    said = done.stdout.decode().splitlines()
    assert said == ["30 (8, 8) ['benign', 'malignant']", "30 (8, 8)", "30"], done.stderr.decode()


def test_the_cards_say_what_report_json_says(released: Released) -> None:
    facts = json.loads((released.bundle / "report.json").read_text())
    card = released.bundle / "README.md"
    index: Any = front_matter(card)["model-index"]
    metrics = {m["type"]: m["value"] for m in index[0]["results"][0]["metrics"]}
    assert metrics["accuracy"] == round(facts["student"]["accuracy"], 4)
    text = card.read_text()
    assert bare_auc(text) == []
    for sentence in (
        "Not audited: no shadows were run",
        "Reason given: only a test",
        "Trained only on synthetic images made from",
        "not a medical device",
        "| Owner | not stated |",
    ):
        assert sentence in text
    about = facts["synthetic"]
    data_card = (released.bundle / "synthetic" / "README.md").read_text()
    assert (
        f"{about['drawn']} images were drawn; {about['copies_removed']} were removed" in data_card
    )
    assert about["drawn"] - about["copies_removed"] == about["images"] == 30


def test_a_shut_gate_writes_nothing(released: Released, tmp_path: Path) -> None:
    with pytest.raises(GateShutError, match=r"shut\. Not audited.*Nothing was written") as error:
        kr.release(released.run, tmp_path / "bundle")
    assert error.value.exit_code == 4
    assert not list(tmp_path.iterdir())
    with pytest.raises(kr.KRError, match="is there already"):
        kr.release(released.run, tmp_path, override="x")
    with pytest.raises(kr.KRError, match="lies in the run directory, which is private"):
        kr.release(released.run, released.run / "bundle", override="x")


def test_without_a_set_no_synthetic_image_is_in_the_bundle(
    released: Released, tmp_path: Path
) -> None:
    form = tmp_path / "release.yaml"
    form.write_text("owner: A Hospital\nlicence: MIT\nlicence_text: Do as you like.\n")
    kr.release(released.run, tmp_path / "bundle", override="x", form=form)
    assert not (tmp_path / "bundle" / "synthetic").exists()
    page = (tmp_path / "bundle" / "report.html").read_text()
    assert "synthetic images of the class" not in page
    assert "| Owner | A Hospital |" in (tmp_path / "bundle" / "README.md").read_text()
    assert (tmp_path / "bundle" / "LICENSE").read_text() == "Do as you like.\n"
    assert kr.verify(tmp_path / "bundle") == 8


@pytest.mark.parametrize("labels", ["hard", "rounded:2"])
def test_labels_other_than_soft(released: Released, tmp_path: Path, labels: str) -> None:
    kr.release(released.run, tmp_path / "b", synthetic=5, labels=labels, override="x")
    with np.load(tmp_path / "b" / "synthetic" / "synthetic.npz") as arrays:
        assert ("train_soft_labels" in arrays) == (labels != "hard")
        if labels != "hard":
            soft = arrays["train_soft_labels"].astype(np.float64)
            assert np.allclose(soft, soft.round(2), atol=1e-6)


def test_verify_names_what_was_done_to_a_bundle(released: Released, tmp_path: Path) -> None:
    count = len(files(released.bundle)) - 1
    assert kr.verify(released.bundle) == count
    copy = tmp_path / "bundle"
    shutil.copytree(released.bundle, copy)
    (copy / "LICENSE").unlink()
    (copy / "notes.txt").write_text("hello")
    with (copy / "README.md").open("a") as card:
        card.write("all is well\n")
    with pytest.raises(kr.KRError) as error:
        kr.verify(copy)
    assert str(error.value) == (
        f"{copy}: is not as it was released:\n  LICENSE: is missing\n  notes.txt: was added\n"
        "  README.md: has changed"
    )


def test_the_channels_that_the_gate_must_judge() -> None:
    assert channels(0, "soft") == ("student",)
    assert channels(9, "hard") == ("student", "synthetic", "hard_labels")
    assert channels(9, "rounded:1")[2] == "rounded_labels"
    assert channels(9, "rounded:2")[2] == "soft_labels"
    with pytest.raises(kr.KRError, match="expected soft, hard or rounded"):
        channels(9, "fuzzy")
    assert Limits.load().channels == ("student",)


@pytest.mark.parametrize("choice", ["leave_out", "keep"])
def test_a_tiny_class_is_released_only_where_asked(
    released: Released, choice: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_dir = RunDir(released.run)
    generator = run_dir.result("generator").model_copy(update={"tiny_classes": ("benign",)})
    read = RunDir.result
    monkeypatch.setattr(
        RunDir, "result", lambda own, stage: generator if stage == "generator" else read(own, stage)
    )
    config = Config.load(released.run / "config.yaml")
    section = config.distillation.model_copy(update={"tiny_classes": choice})
    config = config.model_copy(update={"distillation": section})
    made, about = _draw(config, run_dir, Wanted(20, "hard", None))
    assert len(made.images) == about.images == 20
    assert about.left_out == (() if choice == "keep" else ("benign",))
    assert (about.per_class[0] > 0) == (choice == "keep")


def test_the_template_explains_every_field() -> None:
    for name in Form.model_fields:
        assert re.search(rf"^# .+\n{name}:$", TEMPLATE, re.MULTILINE), name
    assert Form.model_validate(dict.fromkeys(Form.model_fields)) == Form()
