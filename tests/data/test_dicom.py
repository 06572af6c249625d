from __future__ import annotations

import builtins
import os
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pydicom.dataset import Dataset
from pydicom.pixels.processing import apply_modality_lut, apply_voi, apply_windowing
from pydicom.sequence import Sequence
from pydicom.uid import JPEG2000Lossless, JPEGBaseline8Bit, JPEGLSLossless, RLELossless

from knowledge_recycling.config import Data
from knowledge_recycling.data import Source, describe, open_source
from knowledge_recycling.data.decode import Decoded, Rule
from knowledge_recycling.data.dicom import read_dicom
from knowledge_recycling.data.dicom_levels import Window, apply_window
from knowledge_recycling.errors import KRError
from tests.dicom_files import bars, dataset, folder, write

RAW = Rule(None)


def opened(root: Path, **fields: object) -> Source:
    return open_source(Data.model_validate({"source": str(root), **fields}))


def one(path: Path, pixels: np.ndarray, rule: Rule = RAW, **fields: Any) -> Decoded:
    (found,) = read_dicom(write(path, pixels, **fields), rule)
    return found


@pytest.fixture
def deep() -> np.ndarray:
    """12 bits, (16, 16)."""
    return np.random.default_rng(0).integers(0, 4096, (16, 16), dtype=np.uint16)


@pytest.mark.parametrize("suffix", ["dcm", "DCM", "ima", ""])
def test_a_folder(tmp_path: Path, suffix: str) -> None:
    root = folder(tmp_path / "set", Manufacturer="Acme")
    for path in list(root.rglob("*.dcm")):
        path.rename(path.with_suffix(f".{suffix}" if suffix else ""))
    source = opened(root)
    assert source.images.shape == (16, 16, 16, 1)
    np.testing.assert_array_equal(source.images[9, ..., 0], bars(1, 101))
    assert source.labels.tolist() == [0] * 8 + [1] * 8
    assert source.groups is not None
    assert source.groups.tolist() == list(range(16))
    assert (source.class_names, source.notes, source.name) == (("a", "b"), (), "set")


def test_splits_and_patients(tmp_path: Path) -> None:
    """Blanks, case and the file's place do not make another patient of one."""
    names = {"train": ("P1", "p1 ", "P2"), "val": ("P3", "P3", "P4"), "test": ("P5", "P1", "P6")}
    for split, patients in names.items():
        for label in "ab":
            for i, patient in enumerate(patients):
                pixels = bars(label == "b", len(split) * 10 + i).astype(np.uint8)
                write(tmp_path / "set" / split / label / f"{i}.dcm", pixels, PatientID=patient)
    config = Data(source=str(tmp_path / "set"))
    source = open_source(config)
    assert source.groups is not None
    assert source.groups.tolist() == [0, 0, 1, 0, 0, 1, 2, 2, 3, 2, 2, 3, 4, 0, 5, 4, 0, 5]
    assert source.assigned.tolist() == [0] * 6 + [1] * 6 + [2] * 6
    assert "1 group (patient) is in both train and test" in describe(source, config, 0).notes


def test_the_data_hash_is_the_same_in_another_process(tmp_path: Path) -> None:
    """Digests of patients are not, so codes must not follow their order."""
    from knowledge_recycling.data import scans

    root = folder(tmp_path / "set")
    first = opened(root).sha256
    scans._KEY, kept = os.urandom(32), scans._KEY
    try:
        os.utime(root / "a" / "0.dcm", (0, 0))  # or the source is kept in the process
        os.utime(root / "b" / "7.dcm")
        assert opened(root).sha256 == first
    finally:
        scans._KEY = kept


def test_missing_patients(tmp_path: Path) -> None:
    root = folder(tmp_path / "set")
    for i, name in enumerate(("", "NA", "Anonymous")):
        write(root / "a" / f"{i}.dcm", bars(0, i).astype(np.uint8), PatientID=name)
    with pytest.raises(KRError, match=r"the patient of 3 images is unknown \(first: a/0.dcm; unkn"):
        opened(root)
    rows = [f"{p.relative_to(root)},{p.stem}{p.parent.name}" for p in sorted(root.rglob("*.dcm"))]
    (tmp_path / "table.csv").write_text("\n".join(["file,group", *rows]))
    source = opened(root, groups=str(tmp_path / "table.csv"))
    assert source.groups is not None
    assert len(set(source.groups.tolist())) == 16


def test_no_file_names_its_patient(tmp_path: Path) -> None:
    source = opened(folder(tmp_path / "set", PatientID=""))
    assert source.groups is None
    assert source.notes == (
        "no DICOM file names its patient, so images of one patient may lie in both train and test; "
        "a table of patients (data.groups=patients.csv) prevents it",
    )
    frames = np.stack([bars(0, i) for i in range(3)]).astype(np.uint8)
    write(tmp_path / "set" / "a" / "x.dcm", frames)
    with pytest.raises(KRError, match="files of several frames, which are of one patient each, an"):
        opened(tmp_path / "set")


def test_frames_are_images_of_one_patient(tmp_path: Path) -> None:
    root = folder(tmp_path / "set")
    frames = np.stack([bars(1, 500 + i) for i in range(5)]).astype(np.uint8)
    write(root / "b" / "0.dcm", frames, PatientID="Patient-b-1")
    source = opened(root)
    assert len(source) == 20
    np.testing.assert_array_equal(source.images[8:13, ..., 0], frames)
    assert source.groups is not None
    assert source.groups[8:14].tolist() == [8] * 6
    assert source.notes == (
        "5 images from files of several frames: each frame is an image with the label of its file, "
        "and those of one patient stay together",
    )


@pytest.mark.parametrize("function", ["LINEAR", "LINEAR_EXACT", "SIGMOID"])
def test_windows_equal_pydicom(deep: np.ndarray, function: str) -> None:
    header = dataset(deep, BitsStored=12, WindowCenter=2000.5, WindowWidth=1500)
    header.VOILUTFunction = function
    expected = apply_windowing(deep, header) / 4095
    ours = apply_window(deep.astype(float), Window(2000.5, 1500, function))
    np.testing.assert_allclose(ours, expected, atol=1e-12)


def test_a_window_of_width_one_is_a_threshold() -> None:
    values = np.array([1.0, 2.0, 2.5, 3.0])
    assert apply_window(values, Window(2.5, 1)).tolist() == [0, 0, 1, 1]


def test_a_window_over_modality_values(tmp_path: Path, deep: np.ndarray) -> None:
    """CT: slope and intercept give Hounsfield units, of which the first window is shown."""
    fields: dict[str, Any] = {"RescaleSlope": 1, "RescaleIntercept": -1024}
    found = one(
        tmp_path / "x.dcm", deep, WindowCenter=["40", "400"], WindowWidth=["350", "9"], **fields
    )
    units = deep.astype(float) - 1024
    expected = np.clip((units - 39.5) / 349 + 0.5, 0, 1) * 255
    np.testing.assert_array_equal(found.pixels, np.rint(expected))
    assert (found.depth, found.low, found.high) == ("windowed", units.min(), units.max())
    stated = one(tmp_path / "x.dcm", deep, Rule(None, (-1000.0, 1000.0)), WindowCenter=40, **fields)
    expected = np.clip((units + 1000) / 2000, 0, 1) * 255
    np.testing.assert_array_equal(stated.pixels, np.rint(expected))
    assert (stated.depth, stated.outside) == ("stated", True)


def test_signed_values(tmp_path: Path) -> None:
    units = np.arange(-128, 128, dtype=np.int16).reshape(16, 16) * 8
    found = one(tmp_path / "x.dcm", units, Rule(None, (-1024.0, 1016.0)))
    np.testing.assert_array_equal(found.pixels, np.arange(256).reshape(16, 16))


def lut(n: int, first: int, bits: int, data: np.ndarray) -> Sequence:
    item = Dataset()
    item.add_new(0x00283002, "US", [n, first, bits])
    item.add_new(0x00283006, "US", data.tolist())
    return Sequence([item])


def test_tables_equal_pydicom(tmp_path: Path, deep: np.ndarray) -> None:
    rng = np.random.default_rng(1)
    tables: dict[str, Any] = {
        "ModalityLUTSequence": lut(4096, 0, 16, np.sort(rng.integers(0, 1000, 4096))),
        "VOILUTSequence": lut(1000, 0, 12, np.sort(rng.integers(0, 4096, 1000))),
    }
    found = one(tmp_path / "x.dcm", deep, BitsStored=12, **tables)
    header = dataset(deep, **tables)
    expected = apply_voi(apply_modality_lut(deep, header), header) / 4095 * 255
    np.testing.assert_array_equal(found.pixels, np.rint(expected))
    assert found.depth == "windowed"


def test_each_frame_has_its_own_functional_group(tmp_path: Path, deep: np.ndarray) -> None:
    def group(name: str, **fields: float) -> Dataset:
        inner, outer = Dataset(), Dataset()
        for key, value in fields.items():
            setattr(inner, key, value)
        setattr(outer, name, Sequence([inner]))
        return outer

    shared = group("PixelValueTransformationSequence", RescaleSlope=2, RescaleIntercept=-10)
    own = [group("FrameVOILUTSequence", WindowCenter=c, WindowWidth=1001) for c in (1000, 3000)]
    path = write(
        tmp_path / "x.dcm",
        np.stack([deep, deep]),
        SharedFunctionalGroupsSequence=Sequence([shared]),
        PerFrameFunctionalGroupsSequence=Sequence(own),
    )
    for center, found in zip((1000, 3000), read_dicom(path, RAW), strict=True):
        expected = np.clip((deep * 2.0 - 10 - center + 0.5) / 1000 + 0.5, 0, 1) * 255
        np.testing.assert_array_equal(found.pixels, np.rint(expected))


def test_low_values_are_bright(tmp_path: Path) -> None:
    root = folder(tmp_path / "set", PhotometricInterpretation="MONOCHROME1")
    source = opened(root)
    np.testing.assert_array_equal(source.images[0, ..., 0], 255 - bars(0, 0))
    assert source.notes[0] == (
        "16 images inverted, since low values are bright in the file (MONOCHROME1)"
    )


def test_one_scale_for_all(tmp_path: Path) -> None:
    root = folder(tmp_path / "set")
    for path in sorted(root.rglob("*.dcm")):
        label = path.parent.name == "b"
        write(path, bars(label, int(path.stem), high=3000).astype(np.uint16), PatientID=path.name)
    with pytest.raises(KRError, match=r"values 0\.\.2\d+, and no window .* data.range=0,4095$"):
        opened(root)
    assert "values 0..4095 scaled to 0..255" in opened(root, range="0,4095").notes
    for path in root.glob("a/*.dcm"):
        pixels = bars(0, int(path.stem), high=3000).astype(np.uint16)
        window: dict[str, Any] = {"WindowCenter": 1500, "WindowWidth": 2000 + int(path.stem) % 2}
        write(path, pixels, PatientID=path.name, **window)
    with pytest.raises(KRError, match="with others: 8 windowed and 8 without a window; brightness"):
        opened(root)
    for path in root.glob("b/*.dcm"):
        pixels = bars(1, int(path.stem), high=3000).astype(np.uint16)
        write(path, pixels, PatientID=path.name, WindowCenter=1500, WindowWidth=2000)
    assert opened(root).notes == (
        "images shown through 2 different windows, as their files say, so equal brightness does "
        "not mean equal values; data.range puts all on one scale",
    )


def test_what_is_noted(tmp_path: Path) -> None:
    root = folder(tmp_path / "set", n=12, BurnedInAnnotation="YES", Manufacturer="Acme")
    for path in root.glob("b/*.dcm"):
        pixels = bars(1, int(path.stem)).astype(np.uint8)
        fields: dict[str, Any] = {"Modality": "CT", "Manufacturer": "Other", "PatientID": path.name}
        write(path, pixels, **fields)
    write(root / "a" / "0.dcm", bars(0, 0).astype(np.uint8), Modality="MeierMax", PatientID="x")
    notes = opened(root).notes
    assert notes[:2] == (
        "DICOM images of 3 modalities: 12 CT, 11 DX, 1 other",
        "11 images with text burnt into the pixels, as the files say; it may name the patient, and "
        "synthetic images may show it: cover it or leave these files out",
    )
    assert "the modality of the files alone tells the class in 98% of images" in notes[2]
    assert "the device maker of the files alone tells the class in" in notes[3]


def test_colour(tmp_path: Path) -> None:
    rgb = np.random.default_rng(0).integers(0, 256, (16, 16, 3), dtype=np.uint8)
    found = one(tmp_path / "x.dcm", rgb)
    np.testing.assert_array_equal(found.pixels, rgb)
    with Image.fromarray(rgb) as image:
        ycc = np.asarray(image.convert("YCbCr"))
    found = one(tmp_path / "x.dcm", ycc, PhotometricInterpretation="YBR_FULL")
    assert found.pixels is not None
    assert np.abs(found.pixels.astype(int) - rgb).max() <= 3
    deep = rgb.astype(np.uint16) * 256
    assert one(tmp_path / "x.dcm", deep).error == (
        "has colour of more than 8 bits, which is not read"
    )


def test_palettes_show_their_colours(tmp_path: Path) -> None:
    index = np.arange(256, dtype=np.uint8).reshape(16, 16)
    tables: dict[str, Any] = {
        f"{name}PaletteColorLookupTable{part}": value
        for name, values in (
            ("Red", np.arange(256)),
            ("Green", 255 - np.arange(256)),
            ("Blue", np.zeros(256)),
        )
        for part, value in (
            ("Descriptor", [256, 0, 16]),
            ("Data", (values.astype("<u2") * 257).tobytes()),
        )
    }
    found = one(tmp_path / "x.dcm", index, PhotometricInterpretation="PALETTE COLOR", **tables)
    expected = np.stack([index, 255 - index, 0 * index], axis=-1)
    np.testing.assert_array_equal(found.pixels, expected)


@pytest.mark.parametrize("syntax", [RLELossless, JPEG2000Lossless])
def test_compressed_without_loss(tmp_path: Path, deep: np.ndarray, syntax: str) -> None:
    header = dataset(deep, BitsStored=12, HighBit=11)
    if syntax == RLELossless:
        header.compress(RLELossless)
    else:
        encapsulate(header, jpeg(deep, "JPEG2000"), JPEG2000Lossless)
    header.save_as(tmp_path / "x.dcm")
    (found,) = read_dicom(tmp_path / "x.dcm", Rule(None, (0.0, 4095.0)))
    expected = np.rint(deep / 4095 * 255)
    np.testing.assert_array_equal(found.pixels, expected)


def jpeg(pixels: np.ndarray, form: str) -> bytes:
    import io

    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, form, quality=95)
    return stream.getvalue()


def encapsulate(header: Any, frame: bytes, syntax: str) -> None:
    from pydicom.encaps import encapsulate as wrapped

    header.PixelData = wrapped([frame])
    header["PixelData"].VR = "OB"
    header["PixelData"].is_undefined_length = True
    header.file_meta.TransferSyntaxUID = syntax


def test_jpeg(tmp_path: Path) -> None:
    pixels = bars(0, 0).astype(np.uint8)
    header = dataset(pixels)
    encapsulate(header, jpeg(pixels, "JPEG"), JPEGBaseline8Bit)
    header.save_as(tmp_path / "x.dcm")
    (found,) = read_dicom(tmp_path / "x.dcm", RAW)
    assert found.pixels is not None
    assert np.abs(found.pixels.astype(int) - pixels).mean() < 4


def test_colour_jpeg(tmp_path: Path) -> None:
    smooth = np.linspace(0, 255, 16).astype(np.uint8)
    rgb = np.stack(np.broadcast_arrays(smooth, smooth[::-1, None], smooth[:, None]), axis=-1)
    header = dataset(np.ascontiguousarray(rgb), PhotometricInterpretation="YBR_FULL_422")
    encapsulate(header, jpeg(np.ascontiguousarray(rgb), "JPEG"), JPEGBaseline8Bit)
    header.save_as(tmp_path / "x.dcm")
    (found,) = read_dicom(tmp_path / "x.dcm", RAW)
    assert found.pixels is not None
    assert np.abs(found.pixels.astype(int) - rgb).mean() < 6


def test_a_compressed_frame_that_is_damaged(tmp_path: Path) -> None:
    pixels = bars(0, 0).astype(np.uint8)
    header = dataset(pixels)
    encapsulate(header, jpeg(pixels, "JPEG2000")[:150], JPEG2000Lossless)
    header.save_as(tmp_path / "x.dcm")
    (found,) = read_dicom(tmp_path / "x.dcm", RAW)
    assert found.error is not None
    assert found.error.startswith(
        "is compressed as JPEG 2000 Image Compression (Lossless Only), an"
    )


def test_values_of_32_bits(tmp_path: Path) -> None:
    values = np.linspace(0, 2**32 - 1, 256).astype(np.uint32).reshape(16, 16)
    found = one(tmp_path / "x.dcm", values, Rule(None, (0.0, 2.0**32 - 1)))
    np.testing.assert_array_equal(found.pixels, np.arange(256).reshape(16, 16))


def test_a_frame_larger_than_its_header_says(tmp_path: Path) -> None:
    header = dataset(bars(0, 0).astype(np.uint8))
    encapsulate(header, jpeg(np.zeros((400, 400), np.uint8), "JPEG"), JPEGBaseline8Bit)
    header.save_as(tmp_path / "x.dcm")
    (found,) = read_dicom(tmp_path / "x.dcm", RAW)
    assert found.error == "has a frame of another size than its header says"


def test_a_missing_decoder(tmp_path: Path) -> None:
    root = folder(tmp_path / "set")
    header = dataset(bars(0, 0).astype(np.uint8), PatientID="Meier")
    encapsulate(header, b"\xff\xd8\xff\xf7", JPEGLSLossless)
    header.save_as(root / "a" / "0.dcm")
    expected = (
        r"a/0.dcm cannot be decoded: is compressed as JPEG-LS Lossless Image Compression, for "
        r"which no decoder is installed; install one \(pip install pylibjpeg"
    )
    with pytest.raises(KRError, match=expected):
        opened(root)
    assert "1 broken file skipped" in opened(root, skip_broken=True).notes


def test_no_pydicom(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without(name: str, *arguments: Any, **named: Any) -> Any:
        if name.startswith("pydicom"):
            raise ImportError(name)
        return real(name, *arguments, **named)

    root = folder(tmp_path / "set")
    monkeypatch.setattr(builtins, "__import__", without)
    expected = r"^DICOM files need pydicom: pip install 'knowledge-recycling\[dicom\]'$"
    with pytest.raises(KRError, match=expected):
        opened(root)


def test_dicom_beside_images_is_refused(tmp_path: Path) -> None:
    root = folder(tmp_path / "set")
    for path in root.glob("b/*.dcm"):
        path.unlink()
        Image.fromarray(bars(1, 0).astype(np.uint8)).save(path.with_suffix(".png"))
    with pytest.raises(KRError, match="a holds no image that is read, but 8 DICOM files"):
        opened(root)


@pytest.mark.parametrize("what", ["file", "class"])
def test_links_are_not_followed(tmp_path: Path, what: str) -> None:
    root = folder(tmp_path / "set")
    if what == "file":
        outside = write(tmp_path / "x.dcm", bars(0, 77).astype(np.uint8), PatientID="x")
        (root / "a" / "x.dcm").symlink_to(outside)
    else:
        (root / "c").symlink_to(root / "a")
    with pytest.raises(KRError, match=r"is a link, which is not followed here; give the .*itself$"):
        opened(root)


HOSTILE = {
    "claims 60000 x 60000": "would grow to 3,600,000,000 pixels",
    "claims a million frames": "claims 1,000,000 frames; more than 10,000 are never read",
    "claims more frames": "is damaged or cut off",
    "cut in its pixels": "is damaged or cut off",
    "cut in its header": "cannot be decoded",
    "cut in its first part": "is damaged or cut off in its first part",
    "without a mark": "is no DICOM file (it lacks the mark DICM at byte 128)",
    "without pixels": "holds no image",
    "deflated": "is packed as a whole (deflated), and could grow beyond all measure",
    "an odd photometric": "has a photometric interpretation that is not known",
    "a window of no width": "its window is no window",
    "an endless element": "cannot be decoded",
}


def hostile(path: Path, what: str) -> None:
    pixels = bars(0, 0).astype(np.uint8)
    odd: dict[str, dict[str, Any]] = {
        "claims 60000 x 60000": {"Rows": 60000, "Columns": 60000},
        "claims a million frames": {"NumberOfFrames": 1_000_000},
        "claims more frames": {"NumberOfFrames": 9000},
        "an odd photometric": {"PhotometricInterpretation": "SecretId"},
        "a window of no width": {"WindowCenter": 1, "WindowWidth": 0},
    }
    header = dataset(pixels, PatientID="SecretId", PatientName="SecretName", **odd.get(what, {}))
    if what == "without pixels":
        for name in ("PixelData", "Rows", "Columns"):
            delattr(header, name)
    if what == "deflated":
        from pydicom.uid import DeflatedExplicitVRLittleEndian

        header.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    header.save_as(path)
    content = path.read_bytes()
    cuts = {"cut in its pixels": -50, "cut in its header": -330, "cut in its first part": 170}
    if what in cuts:
        path.write_bytes(content[: cuts[what]])
    if what == "without a mark":
        path.write_bytes(content[132:])
    if what == "an endless element":
        at = content.index(b"\x10\x00\x20\x00LO")
        path.write_bytes(content[:at] + b"\x10\x00\x20\x00UT\0\0" + struct.pack("<I", 2**32 - 2))


@pytest.mark.parametrize("what", HOSTILE)
def test_hostile_files(tmp_path: Path, what: str) -> None:
    """Each ends in a sentence that quotes nothing of the header, and can be left out."""
    root = folder(tmp_path / "set")
    hostile(root / "a" / "0.dcm", what)
    with pytest.raises(KRError) as caught:
        opened(root)
    assert HOSTILE[what] in str(caught.value)
    assert "a/0.dcm cannot be decoded" in str(caught.value)
    assert "Secret" not in str(caught.value)
    assert len(opened(root, skip_broken=True)) == 15


def test_any_damage_ends_in_a_sentence(tmp_path: Path) -> None:
    """Bytes flipped and cut at random: an image, or a reason; never another exception."""
    path = write(tmp_path / "x.dcm", bars(0, 0).astype(np.uint8), PatientID="SecretId")
    content = path.read_bytes()
    rng = np.random.default_rng(0)
    broken = 0
    for _ in range(300):
        damaged = bytearray(
            content[: rng.integers(140, len(content))] if rng.random() < 0.3 else content
        )
        for at in (
            rng.integers(132, min(700, len(damaged)), rng.integers(1, 4))
            if len(damaged) > 140
            else ()
        ):
            damaged[at] = rng.integers(0, 256)
        path.write_bytes(damaged)
        found = read_dicom(path, Rule(16))
        broken += found[0].error is not None
        assert "Secret" not in repr(found)
    assert 50 < broken < 300
