"""What a DICOM file says beside its pixels, and what of that must be noted of a whole set.

Patients are known here as digests under a key that is never stored; no text of a header is shown.
"""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from knowledge_recycling.data.names import NOT_A_VALUE, UNKNOWN, group_codes, stripped
from knowledge_recycling.data.words import count
from knowledge_recycling.errors import KRError

_KEY = os.urandom(32)
"""Digests of patients can be compared within this process, and told to nobody."""

NOBODY = NOT_A_VALUE | UNKNOWN | {"anonymous", "anonymized", "anonymised", "anonym", "anon"}
"""Identifiers, in lower case, that name no patient."""

MODALITIES = frozenset(
    "CR CT DX ECG ES GM IO IVUS MG MR NM OCT OP OPT OT PT PX RF RG SC SM US XA XC".split()  # noqa: SIM905
)
"""Codes that a note may quote; a header can hold any text in their place."""

PATIENTS_BY_TABLE = "data.groups=patients.csv"


@dataclass(frozen=True)
class Scan:
    """What the header of one DICOM file says of an image.

    Attributes:
        patient: digest of the patient's identifier, lower case; empty where it names none.
        frames: how many the file has.
        modality: such as `CT`, or `other`.
        maker: digest of the device's manufacturer.
        window: digest of the window or table that the image is shown through; empty: none.
        inverted: whether low values are bright (MONOCHROME1).
        burnt_in: whether the file says that text is burnt into its pixels.
    """

    patient: str = ""
    frames: int = 1
    modality: str = "other"
    maker: str = ""
    window: str = ""
    inverted: bool = False
    burnt_in: bool = False


def digest(text: object) -> str:
    """A name for a text that says nothing of it, and is another in each process."""
    return hashlib.blake2b(
        str(text).encode("utf-8", "replace"), key=_KEY, digest_size=16
    ).hexdigest()


def patient_digest(identifier: object) -> str:
    """Digest of a patient's identifier, blanks around it and case apart; empty for nobody.

    Example:
        >>> patient_digest("P-7 ") == patient_digest("p-7"), patient_digest("Anonymous")
        (True, '')
    """
    name = stripped(str(identifier)).casefold()
    return "" if name in NOBODY else digest(name)


def patients(
    scans: Sequence[Scan], where: str, place: Callable[[int], str]
) -> tuple[np.ndarray | None, list[str]]:
    """Numbers the patients in the order in which they are met.

    Args:
        scans: n of them.
        where: what to call the set in a message.
        place: says where the i-th comes from.

    Returns:
        (n,) int64 codes, or None where no file names its patient; and notes.

    Raises:
        KRError: some files name their patient and others do not, or none does and there are
            files of several frames, which belong together.
    """
    if not any(scan.patient for scan in scans):
        if any(scan.frames > 1 for scan in scans):
            raise KRError(
                "there are files of several frames, which are of one patient each, and no file "
                f"names its patient; name the patients in a table with {PATIENTS_BY_TABLE}"
            )
        note = (
            "no DICOM file names its patient, so images of one patient may lie in both train and "
            f"test; a table of patients ({PATIENTS_BY_TABLE}) prevents it"
        )
        return None, [note]
    codes = group_codes(np.array([scan.patient for scan in scans]), where, place)
    # Not in the order of digests, which is another in each process.
    first = np.unique(codes, return_index=True)[1]
    return np.argsort(np.argsort(first))[codes].astype(np.int64), []


def facts(scans: Sequence[Scan]) -> dict[str, list[str]]:
    """What may tell the classes apart without a look at the pixels."""
    if not scans:
        return {}
    return {
        "modality": [scan.modality for scan in scans],
        "device maker": [scan.maker for scan in scans],
        "window": [scan.window for scan in scans],
    }


def notes(scans: Sequence[Scan]) -> list[str]:
    """What was done, and what is doubtful."""
    if not scans:
        return []
    modalities = Counter(scan.modality for scan in scans)
    told = ", ".join(f"{n:,} {name}" for name, n in modalities.most_common())
    windows = {scan.window for scan in scans} - {""}
    inverted, burnt, frames = (
        sum(values)
        for values in zip(*((s.inverted, s.burnt_in, s.frames > 1) for s in scans), strict=True)
    )
    sentences = {
        f"DICOM images of {len(modalities)} modalities: {told}": len(modalities) > 1,
        f"{count(sum(bool(s.window) for s in scans), 'image')} shown through the window in the "
        "file": len(windows) == 1,
        f"images shown through {len(windows):,} different windows, as their files say, so equal "
        "brightness does not mean equal values; data.range puts all on one scale": len(windows) > 1,
        f"{count(inverted, 'image')} inverted, since low values are bright in the file "
        "(MONOCHROME1)": inverted,
        f"{count(frames, 'image')} from files of several frames: each frame is an image with the "
        "label of its file, and those of one patient stay together": frames,
        f"{count(burnt, 'image')} with text burnt into the pixels, as the files say; it may name "
        "the patient, and synthetic images may show it: cover it or leave these files out": burnt,
    }
    return [sentence for sentence, holds in sentences.items() if holds]
