"""What files a bundle has, their sums, and whether they are as they were written."""

from __future__ import annotations

import os
import re
from pathlib import Path

import yaml

from knowledge_recycling.bundle.facts import Facts
from knowledge_recycling.errors import KRError
from knowledge_recycling.results import read
from knowledge_recycling.storage.files import file_digest, read_json, write_bytes

SUMS = "SHA256SUMS"
REPORT = "report.json"
SCHEMA = "report.schema.json"
NEEDED = (
    "README.md",
    "LICENSE",
    "student.safetensors",
    "student.json",
    "student.onnx",
    "report.html",
    REPORT,
    SCHEMA,
)
OF_SET = (
    "README.md",
    "croissant.json",
    "synthetic.npz",
    "synthetic.parquet",
    "images/metadata.csv",
)
LINE = re.compile(r"([0-9a-f]{64})  (\S.*)")


def is_bundle(folder: Path) -> bool:
    """Whether a folder is a finished bundle."""
    return (folder / SUMS).is_file() and (folder / REPORT).is_file()


def seal(folder: Path) -> None:
    """Writes SHA256SUMS, last of all, in the format of `sha256sum`."""
    lines = [f"{file_digest(folder / name)}  {name}\n" for name in files(folder)]
    write_bytes(folder / SUMS, "".join(lines).encode())


def verify(folder: Path) -> int:
    """Checks sums, that nothing is missing or was added, report.json and the cards.

    Returns:
        The number of files.

    Raises:
        KRError: names everything that is wrong.
    """
    sums = _sums(folder)
    there = set(files(folder))
    wrong = [f"{name}: is missing" for name in sorted(set(sums) - there)]
    wrong += [f"{name}: was added" for name in sorted(there - set(sums))]
    wrong += [
        f"{name}: has changed"
        for name in sorted(there & set(sums))
        if file_digest(folder / name) != sums[name]
    ]
    wrong += [f"{name}: a bundle needs it" for name in NEEDED if name not in sums]
    if not wrong:
        wrong = _contradictions(folder)
    if wrong:
        raise KRError(f"{folder}: is not as it was released:\n  " + "\n  ".join(wrong))
    return len(sums)


def _contradictions(folder: Path) -> list[str]:
    facts = read(folder / REPORT, Facts)
    wrong = []
    if read_json(folder / SCHEMA) != Facts.model_json_schema():
        wrong.append(f"{SCHEMA}: is that of another version")
    cards = {"README.md": "model-index"}
    if facts.synthetic:
        cards["synthetic/README.md"] = "task_categories"
        names = [f"synthetic/{name}" for name in OF_SET]
        wrong += [f"{n}: a synthetic set needs it" for n in names if not (folder / n).is_file()]
    for card, key in cards.items():
        if (folder / card).is_file() and key not in front_matter(folder / card):
            wrong.append(f"{card}: its front matter has no {key}")
        if (folder / card).is_file() and facts.gate.status not in ("within",):
            text = (folder / card).read_text(encoding="utf-8")
            if "eleased all the same" not in text:
                wrong.append(f"{card}: does not say that the gate was overridden")
    return wrong


def front_matter(card: Path) -> dict[str, object]:
    """The YAML between the first two lines `---`; empty where there is none."""
    _, _, rest = card.read_text(encoding="utf-8").partition("---\n")
    head, _, _ = rest.partition("\n---\n")
    try:
        found = yaml.safe_load(head)
    except yaml.YAMLError:
        return {}
    return found if isinstance(found, dict) else {}


def _sums(folder: Path) -> dict[str, str]:
    try:
        lines = (folder / SUMS).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        raise KRError(f"{folder}: holds no bundle ({SUMS} cannot be read)") from None
    found = {}
    for line in lines:
        match = LINE.fullmatch(line)
        if not match:
            raise KRError(f"{folder / SUMS}: holds a line that is no sum")
        found[match[2]] = match[1]
    return found


def files(folder: Path) -> list[str]:
    """Paths of all files but SHA256SUMS, relative to the bundle.

    Raises:
        KRError: there is a link among them.
    """
    found = []
    for parent, folders, names in os.walk(folder):
        for name in (*folders, *names):
            path = Path(parent, name)
            if path.is_symlink():
                raise KRError(f"{path}: is a link; a bundle holds plain files only")
            if name in names and path != folder / SUMS:
                found.append(path.relative_to(folder).as_posix())
    return sorted(found)
