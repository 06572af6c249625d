"""A run on a folder of DICOM files, from end to end: whose they are stays in the files."""

from __future__ import annotations

import hashlib
import io
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

import knowledge_recycling as kr
from knowledge_recycling.cli import app
from tests.dicom_files import bars, write
from tests.small_runs import TINY

PATIENTS = 30
SETTINGS = [part for setting in TINY for part in ("--set", setting)]


def identifier(patient: int) -> str:
    return f"ZQ-{patient:03d}-Wxyz"


@pytest.fixture(scope="module")
def scans(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two classes; each patient has a file of two frames and one of a single frame."""
    root = tmp_path_factory.mktemp("scans") / "knees"
    for patient in range(PATIENTS):
        label = patient % 2
        frames = [bars(label, 10 * patient + k).astype(np.uint8) for k in range(3)]
        who = {"PatientID": identifier(patient), "PatientName": f"Qvortrup^Nr{patient}"}
        folder = root / "ab"[label]
        write(folder / f"{patient}-0.dcm", np.stack(frames[:2]), **who)  # type: ignore[arg-type]
        write(folder / f"{patient}-1.dcm", frames[2], **who)  # type: ignore[arg-type]
    return root


def contents(folder: Path) -> Iterator[tuple[str, bytes]]:
    """Every file, and every member of an archive unpacked."""
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        raw = path.read_bytes()
        yield str(path), raw
        if zipfile.is_zipfile(io.BytesIO(raw)):
            with zipfile.ZipFile(io.BytesIO(raw)) as archive:
                for name in archive.namelist():
                    yield f"{path}:{name}", archive.read(name)


def traces() -> dict[str, bytes]:
    """Texts by which a patient could be known again."""
    found = {}
    for patient in range(PATIENTS):
        for text in (identifier(patient), identifier(patient).casefold(), f"Qvortrup^Nr{patient}"):
            for code in ("utf-8", "utf-16-le", "utf-32-le"):
                found[f"{text} as {code}"] = text.encode(code)
            for method in ("md5", "sha1", "sha256", "blake2b"):
                hashed = hashlib.new(method, text.encode())
                found[f"{method} of {text}"] = hashed.hexdigest()[:16].encode()
                found[f"{method} of {text}, raw"] = hashed.digest()[:8]
    return found


def leaks(folder: Path, *texts: str) -> list[str]:
    wanted = traces()
    places = [*contents(folder), *((f"text {i}", t.encode()) for i, t in enumerate(texts))]
    return [
        f"{what} in {place}"
        for place, raw in places
        for what, trace in wanted.items()
        if trace in raw
    ]


def test_the_search_finds_what_is_there(scans: Path) -> None:
    assert len(leaks(scans)) >= 4 * PATIENTS


def test_patients_appear_nowhere_in_a_run(scans: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    arguments = ["run", str(scans), "-o", str(out), *SETTINGS, "--until", "teacher"]
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 0, done.output
    run = kr.open_run(out)
    split = run.split()
    assert split.has_groups
    assert "60 images from files of several frames" in " ".join(split.notes)
    assert sum(len(places) for places in split.indices.values()) == 3 * PATIENTS
    # The listing is by class and name, so that three images in a row are of one patient.
    homes = {name: {i // 3 for i in places} for name, places in split.indices.items()}
    assert sum(map(len, homes.values())) == PATIENTS
    assert not leaks(out, done.output)


@pytest.mark.usefixtures("small_features")
def test_a_private_run_protects_patients(scans: Path, tmp_path: Path) -> None:
    settings = ("runtime.threads=1",)
    run = kr.run(scans, tmp_path / "run", epsilon=3, settings=settings, until="teacher")
    promise = run.result("teacher").guarantee
    assert promise is not None
    assert promise.unit == "patient"
    assert not leaks(tmp_path)  # the ledger, too


def test_refusals_name_no_patient(scans: Path, tmp_path: Path) -> None:
    root = tmp_path / "set"
    for path in scans.rglob("*.dcm"):
        (root / path.parent.name).mkdir(parents=True, exist_ok=True)
        (root / path.parent.name / path.name).write_bytes(path.read_bytes())
    (root / "a" / "0-1.dcm").write_bytes((scans / "a" / "0-1.dcm").read_bytes()[:-90])
    write(root / "b" / "1-1.dcm", bars(1, 1).astype(np.uint8), PatientID="")
    for more in ([], ["--set", "data.skip_broken=true"]):
        arguments = ["run", str(root), "-o", str(tmp_path / "run"), *SETTINGS, *more]
        done = CliRunner().invoke(app, arguments)
        assert done.exit_code == 2, done.output
        assert "the patient of 1 image is unknown" in done.output
        assert not leaks(tmp_path / "run", done.output)
