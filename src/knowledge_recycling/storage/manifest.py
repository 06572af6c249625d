"""The marker of a run directory, `.kr-run`: that we made it, and the SHA-256 of what it holds.

An entry is written before its file. A kill between the two leaves an entry without a file, which
is a stage that is not done; a file that is there without its entry, or with another hash, is none
that we wrote. The hashes find accidents and edits; against somebody who can write in the folder
and rewrites the marker too, only a copy elsewhere helps.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from knowledge_recycling.errors import KRError
from knowledge_recycling.storage.files import (
    file_digest,
    json_bytes,
    read_table,
    same_digest,
    write_bytes,
)

MARKER = ".kr-run"
FORMAT = 1


class Manifest(BaseModel):
    """What `.kr-run` says."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    format: int = FORMAT
    fork: bool = False
    """Made by `RunDir.fork`."""
    copied: bool = True
    """False while the stages of a fork are being copied."""
    sha256: dict[str, str] = {}
    """Path in the run directory -> SHA-256."""

    def save(self, folder: Path) -> None:
        """Writes the marker."""
        write_bytes(folder / MARKER, json_bytes(self.model_dump()))

    def having(self, name: str, digest: str) -> Manifest:
        """The same with another entry."""
        return self.model_copy(update={"sha256": {**self.sha256, name: digest}})

    def check(self, folder: Path, name: str) -> None:
        """Compares a file with its entry.

        Raises:
            KRError: names the file.
        """
        path = folder / name
        if name not in self.sha256:
            raise KRError(
                f"{path}: is not a file that this run wrote ({MARKER} does not name it). Delete it "
                "and run the same command again."
            )
        check_digest(path, self.sha256[name])


def load(folder: Path) -> Manifest | None:
    """Reads the marker; None where there is none.

    Raises:
        KRError: it is damaged, or of a later version.
    """
    path = folder / MARKER
    if not path.exists():
        return None
    tree: dict[str, Any] = read_table(path)
    if isinstance(tree.get("format"), int) and tree["format"] > FORMAT:
        raise KRError(
            f"{path}: this run was made by a later version of knowledge-recycling (format "
            f"{tree['format']}, here {FORMAT}); install that version"
        )
    try:
        return Manifest.model_validate(tree)
    except ValidationError:
        raise KRError(f"{path}: is damaged; bring it back from a copy of the run") from None


def check_digest(path: Path, recorded: Any) -> None:
    """Compares a file with its recorded SHA-256.

    Raises:
        KRError: the file is missing, cannot be read, or has changed.
    """
    try:
        found = file_digest(path)
    except OSError as error:
        raise KRError(f"{path}: cannot be read: {error.strerror}. {_mend(path)}") from None
    if not same_digest(recorded, found):
        raise KRError(
            f"{path}: has changed since this run wrote it (SHA-256 {found[:16]}, recorded "
            f"{str(recorded)[:16]}). {_mend(path)}"
        )


def _mend(path: Path) -> str:
    again = "start a new run"
    if (result := path.parent / "result.json").exists():
        again = f"delete {result} and run the same command again"
    elif "shadows" in path.parts:
        again = "move the folder `shadows` away and run them again"
    return f"Bring the file back from a copy, or {again}."
