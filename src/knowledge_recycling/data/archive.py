"""The arrays in a zip file: sizes are known and judged before a byte is unpacked."""

from __future__ import annotations

import math
import zipfile
import zlib
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, BinaryIO

import numpy as np
from numpy.lib import format as npy

from knowledge_recycling.data.files import check_memory, open_regular
from knowledge_recycling.data.kinds import BY_SUFFIX, NIFTI, kind_of_bytes, kind_of_name
from knowledge_recycling.data.words import listed, shown, size_of
from knowledge_recycling.errors import KRError

BLOCK_BYTES = 64_000_000
MOST_GROWTH = 200
"""How many times larger than in the file the arrays may be, from `BOMB_BYTES` on. Real images
compress 2 to 10 times; deflate allows 1,032 times."""
BOMB_BYTES = 1_000_000_000

ADVICE = "expected a file written by numpy.savez (a download may be cut off: fetch it again)"
SAVE_AS = "save its images and labels with numpy.savez('set.npz', images=..., labels=...)"
INSTEAD = {
    "HDF5": f"is an HDF5 file; read it with h5py and {SAVE_AS}",
    "MATLAB": f"is a MATLAB file; read it with scipy.io.loadmat and {SAVE_AS}",
    "pickle": f"is a Python pickle, which could run code when read and is never opened; {SAVE_AS}",
    "NumPy": f"is a single array (.npy), not an npz file; {SAVE_AS}",
    "DICOM": "is one DICOM file; give a folder of them, class/x.dcm",
    "NIfTI": f"{NIFTI} in a folder class/x.png",
    "PNG": "is one image; give a folder, class/x.png",
    "JPEG": "is one image; give a folder, class/x.png",
    "gzip": "is a compressed file; unpack it first",
}
SUFFIXES = {**BY_SUFFIX, ".pkl": "pickle", ".pickle": "pickle", ".png": "PNG", ".jpg": "JPEG"}


@dataclass(frozen=True)
class Member:
    """One array in the file, as its header describes it."""

    name: str
    shape: tuple[int, ...]
    dtype: np.dtype
    fortran: bool

    @property
    def nbytes(self) -> int:
        """Size when unpacked."""
        return math.prod(self.shape) * self.dtype.itemsize


class Archive:
    """An open npz file whose headers are sound."""

    def __init__(self, path: Path, archive: zipfile.ZipFile, members: dict[str, Member]) -> None:
        self.path = path
        self.members = members
        self._zip = archive

    def read(self, key: str) -> np.ndarray:
        """A whole array."""
        parts = list(self.blocks(self.members[key]))
        member = self.members[key]
        return np.concatenate(parts) if member.shape else parts[0]

    def blocks(self, member: Member) -> Iterator[np.ndarray]:
        """Consecutive pieces along the first axis, of about 64 MB each.

        Raises:
            KRError: there is less than the header promises.
        """
        if member.fortran or not member.shape or member.nbytes == 0:
            whole = f"{self.path}: {member.name} ({size_of(member.nbytes)})"
            check_memory(2 * member.nbytes, whole, "save it in C order (numpy.ascontiguousarray)")
            yield self._whole(member)
            return
        row = member.nbytes // member.shape[0]
        rows = max(1, BLOCK_BYTES // row)
        with self._zip.open(f"{member.name}.npy") as stream:
            _header(stream)
            for start in range(0, member.shape[0], rows):
                n = min(rows, member.shape[0] - start)
                raw = _exactly(stream, n * row, f"{self.path}: {member.name}")
                yield np.frombuffer(raw, member.dtype).reshape(n, *member.shape[1:])
            stream.read(1)  # at the end of a member its checksum is compared

    def _whole(self, member: Member) -> np.ndarray:
        with self._zip.open(f"{member.name}.npy") as stream:
            return np.array(npy.read_array(stream, allow_pickle=False))


def _exactly(stream: IO[bytes], size: int, where: str) -> bytes:
    raw = stream.read(size)
    if len(raw) < size:
        raise KRError(f"{where}: ends before its last value; {ADVICE}")
    return raw


@contextmanager
def open_archive(path: Path, keys: Collection[str], expected: str) -> Iterator[Archive]:
    """Opens an npz file; arrays of other names than `keys` are not looked at.

    Raises:
        KRError: it is no npz file, is damaged, grows beyond all measure when unpacked, or holds
            none of the keys.
    """
    with open_regular(path) as stream:
        _check_kind(stream, path)
        try:
            with zipfile.ZipFile(stream) as archive:
                yield Archive(path, archive, _members(archive, path, keys, expected))
        # RuntimeError: encrypted; NotImplementedError: packed by a method that zipfile lacks.
        except (zipfile.BadZipFile, zlib.error, OSError, EOFError, RuntimeError) as error:
            raise KRError(f"{path}: is damaged ({shown(str(error))[:200]}); {ADVICE}") from None


def _check_kind(stream: BinaryIO, path: Path) -> None:
    kind = kind_of_bytes(stream.read(512))
    if kind_of_name(path.name) == "NIfTI":  # which is most often compressed
        kind = "NIfTI"
    if kind is None and path.suffix.lower() != ".npz":
        kind = SUFFIXES.get(path.suffix.lower())
    if kind in INSTEAD:
        raise KRError(f"{path}: {INSTEAD[kind]}")
    if not zipfile.is_zipfile(stream):
        raise KRError(f"{path}: is not an npz file; {ADVICE}")


def _members(
    archive: zipfile.ZipFile, path: Path, keys: Collection[str], expected: str
) -> dict[str, Member]:
    infos = {i.filename.removesuffix(".npy"): i for i in archive.infolist() if _is_array(i)}
    if not infos:
        found = listed(i.filename for i in archive.infolist()) or "nothing"
        raise KRError(
            f"{path}: is a zip file without arrays, not an npz file (found {found}); {ADVICE}; "
            "a zip file of images must be unpacked first"
        )
    known = {key: info for key, info in infos.items() if key in keys}
    if not known:
        raise KRError(f"{path}: {expected}; found {listed(sorted(infos), 20)}")
    _check_growth(path, list(known.values()))
    return {key: _member(archive, info, key, path) for key, info in known.items()}


def _is_array(info: zipfile.ZipInfo) -> bool:
    return info.filename.endswith(".npy")


def _check_growth(path: Path, infos: list[zipfile.ZipInfo]) -> None:
    for info in infos:
        if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise KRError(
                f"{path}: {shown(info.filename)} is packed by another method (such as LZMA) than "
                "numpy.savez uses; save it anew with numpy.savez_compressed"
            )
    packed = path.stat().st_size
    size = sum(info.file_size for info in infos)
    if size > BOMB_BYTES and size > MOST_GROWTH * packed:
        raise KRError(
            f"{path}: would grow from {size_of(packed)} to {size_of(size)}, more than "
            f"{MOST_GROWTH} times, which real images never do; it was not unpacked"
        )


def _member(archive: zipfile.ZipFile, info: zipfile.ZipInfo, key: str, path: Path) -> Member:
    where = f"{path}: {key}"
    with archive.open(info) as stream:
        try:
            shape, fortran, dtype = _header(stream)
        except (zipfile.BadZipFile, zlib.error, OSError, EOFError, RuntimeError):
            raise
        except Exception as error:  # NumPy evaluates the header's text, which may be anything
            raise KRError(f"{where}: is not a readable array ({shown(str(error))[:200]})") from None
    if dtype.hasobject:
        raise KRError(
            f"{where}: is an array of Python objects, which could run code when read and "
            "is never opened; save it as numbers (labels also as strings)"
        )
    member = Member(key, shape, dtype, fortran)
    if any(side < 0 for side in shape) or member.nbytes > info.file_size:
        raise KRError(
            f"{where}: its header promises {size_of(member.nbytes)} (shape {shape}), and the file "
            f"holds {size_of(info.file_size)}; it is damaged: {ADVICE}"
        )
    if key.rpartition("_")[2] != "images":
        check_memory(member.nbytes, f"{where} ({size_of(member.nbytes)})", "it is no such array")
    return member


def _header(stream: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype]:
    version = npy.read_magic(stream)
    if version == (1, 0):
        return npy.read_array_header_1_0(stream)
    if version == (2, 0):
        return npy.read_array_header_2_0(stream)
    raise ValueError(f"version {version[0]}.{version[1]} of the format")
