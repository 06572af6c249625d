"""The run directory: file names, atomic writes, done marks, hashes, the lock.

Every file is written under a temporary name and then moved into place, so a file that is there
is whole. A stage's `result.json` comes last: its presence means that the stage is done, and the
hashes in it say from what.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import io
import json
import os
import shutil
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import IO, Any

import numpy as np

from knowledge_recycling.config import Config
from knowledge_recycling.errors import KRError

RESULT = "result.json"
STATE = "state.pt"
INPUTS = "inputs.json"
MEASURED = ("seconds", "peak_memory_bytes", "resumed", "versions", "machine", "device")
"""Entries of a result that differ from one equal run to the next."""


@contextlib.contextmanager
def atomic(path: Path) -> Iterator[Path]:
    """Gives a temporary path beside `path` to write to, and moves it into place at the end.

    However the writing ends, the temporary file is gone and `path` is either old or new.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def disk_full_explained(path: Path) -> Iterator[None]:
    """Turns whatever a library raises for lack of room into one clear message.

    Raises:
        KRError: the disk is full; files that were there before are untouched.
    """
    try:
        yield
    except Exception as error:
        # safetensors and torch wrap the system's error in exceptions of their own.
        codes = (errno.ENOSPC, errno.EDQUOT)
        full = isinstance(error, OSError) and error.errno in codes
        if full or os.strerror(errno.ENOSPC) in str(error) or _free_bytes(path) == 0:
            raise KRError(
                f"{path}: the disk is full. Nothing that was finished is lost: "
                "make room and run the same command again."
            ) from error
        raise


def _free_bytes(path: Path) -> int:
    return shutil.disk_usage(path).free


def write_bytes(path: Path, content: bytes) -> None:
    """Writes a file whole or not at all."""
    with atomic(path) as temporary:
        temporary.write_bytes(content)


def write_json(path: Path, tree: Any) -> None:
    """Writes JSON whole or not at all."""
    write_bytes(path, (json.dumps(tree, indent=1) + "\n").encode())


def write_npz(path: Path, **arrays: np.ndarray) -> None:
    """Writes compressed arrays whole or not at all; the same arrays give the same bytes."""
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)  # type: ignore[arg-type]
    write_bytes(path, buffer.getvalue())


def read_json(path: Path) -> Any:
    """Reads JSON, with a message that says which file is at fault."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise KRError(f"{path}: cannot be read: {error}") from None


def digest(tree: Any) -> str:
    """SHA-256 of a tree of plain values, as 16 hexadecimal digits."""
    return hashlib.sha256(json.dumps(tree, sort_keys=True).encode()).hexdigest()[:16]


def file_digest(path: Path) -> str:
    """SHA-256 of a file, as 16 hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:16]


def _lasting(result: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in result.items() if name not in MEASURED}


class RunDir:
    """One run's folder.

    Args:
        path: the folder; made when it is missing.
    """

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise KRError(f"{self.path}: cannot be made a run directory: {error}") from None

    @classmethod
    def existing(cls, path: Path) -> RunDir:
        """A run directory that is there already.

        Raises:
            KRError: there is no run.
        """
        if not (path / "config.yaml").exists():
            raise KRError(f"{path}: holds no run; start one with `kr run DATA -o {path}`")
        return cls(path)

    def stage(self, name: str) -> Path:
        """The folder of a stage, made when it is missing."""
        folder = self.path / name
        folder.mkdir(exist_ok=True)
        return folder

    @contextlib.contextmanager
    def lock(self) -> Iterator[None]:
        """Keeps a second process off this run; the system frees it however the first one ends.

        Raises:
            KRError: another process works here.
        """
        with (self.path / ".lock").open("a+") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                file.seek(0)
                owner = file.read().strip() or "unknown"
                raise KRError(
                    f"{self.path}: another process (number {owner}) is working on this run. "
                    "Wait for it, or choose another directory with -o."
                ) from None
            file.truncate(0)
            file.write(str(os.getpid()))
            file.flush()
            yield

    def adopt_config(self, config: Config) -> None:
        """Writes config.yaml, after a check that the one that is there says the same.

        `runtime` may differ, and where the data lie: their hash says whether they are the same.
        """
        path = self.path / "config.yaml"
        if path.exists():
            differences = config.differences(Config.load(path))
            if differences:
                raise KRError(
                    f"{path}: this run was made with another configuration:\n  "
                    + "\n  ".join(differences)
                    + "\nStart a new run with another -o, or take over what stays valid with "
                    "--fork NEW_RUN."
                )
        write_bytes(path, config.dump().encode())

    def adopt_split(self, split: dict[str, Any]) -> dict[str, Any]:
        """Writes split.json, or checks that it is of the same data; returns what is there.

        Raises:
            KRError: names both data hashes.
        """
        path = self.path / "split.json"
        if not path.exists():
            write_json(path, split)
        there: dict[str, Any] = read_json(path)
        if there["data_sha256"] != split["data_sha256"]:
            raise KRError(
                f"{path}: this run was made from data with the hash {there['data_sha256'][:16]}, "
                f"but the data given now has {split['data_sha256'][:16]}. Bring the old data "
                "back, or start a new run with another -o."
            )
        return there

    def fork(self, target: Path) -> RunDir:
        """Copies the finished stages to a new folder; those whose inputs change will run again.

        Raises:
            KRError: the target exists already.
        """
        if target.exists():
            raise KRError(f"{target}: exists already; --fork needs a new directory")
        new = RunDir(target)
        leave = shutil.ignore_patterns(
            "config.yaml", "split.json", "shadows", ".lock", "log.txt", STATE, "*.tmp"
        )
        shutil.copytree(self.path, target, ignore=leave, dirs_exist_ok=True)
        return new

    def split(self) -> dict[str, Any]:
        """The record of the data: hash, class names, indices of each split."""
        record: dict[str, Any] = read_json(self.path / "split.json")
        return record

    def result(self, stage: str) -> dict[str, Any]:
        """A finished stage's result.

        Raises:
            KRError: the stage has not run.
        """
        path = self.path / stage / RESULT
        if not path.exists():
            raise KRError(f"{path}: the stage `{stage}` has not run yet; run `kr {stage}` first")
        result: dict[str, Any] = read_json(path)
        return result

    def inputs(
        self, config: Config, stage: str, needs: Iterable[str], reads: Iterable[str]
    ) -> dict[str, str]:
        """Hashes of what a stage is made from.

        Args:
            config: of the run.
            stage: its name and its section's.
            needs: stages whose results it reads.
            reads: `section.field` of what else it reads of the config.
        """
        fields = config.model_dump(mode="json")
        read = {name: fields[name.split(".")[0]][name.split(".")[1]] for name in reads}
        hashes = {
            "config": digest([config.seed, config.precision, fields[stage], read]),
            "data": digest([self.split()["data_sha256"], self.split()["indices"]]),
        }
        return hashes | {need: digest(_lasting(self.result(need))) for need in needs}

    def is_done(self, stage: str, inputs: Mapping[str, str]) -> bool:
        """True when the stage has a result made from these inputs."""
        folder = self.path / stage
        return (folder / RESULT).exists() and self._same_inputs(folder, inputs)

    def begin(self, stage: str, inputs: Mapping[str, str]) -> bool:
        """Readies a stage's folder; True when work on the same inputs goes on in it."""
        folder = self.path / stage
        going_on = self._same_inputs(folder, inputs)
        if not going_on:
            shutil.rmtree(folder, ignore_errors=True)
        write_json(folder / INPUTS, inputs)
        (folder / RESULT).unlink(missing_ok=True)
        return going_on

    @staticmethod
    def _same_inputs(folder: Path, inputs: Mapping[str, str]) -> bool:
        path = folder / INPUTS
        return path.exists() and read_json(path) == inputs

    def write_result(self, stage: str, result: Any, **measured: Any) -> None:
        """Writes a stage's result (a dataclass, or a taken-over result's entries) as its last file.

        The resume state is dropped.
        """
        folder = self.path / stage
        (folder / STATE).unlink(missing_ok=True)
        artefacts = sorted(p for p in folder.rglob("*") if p.suffix in (".safetensors", ".npz"))
        tree = {
            "stage": stage,
            **(result if isinstance(result, Mapping) else asdict(result)),
            "artefacts": {str(p.relative_to(folder)): file_digest(p) for p in artefacts},
            "inputs": read_json(folder / INPUTS),
            **measured,
        }
        write_json(folder / RESULT, tree)

    def log(self, line: str) -> None:
        """Adds a line with the time to log.txt."""
        with (self.path / "log.txt").open("a", encoding="utf-8") as file:
            file.write(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {line}\n")


class Metrics:
    """A stage's metrics.jsonl: one row of numbers a line, in the order of the steps.

    On resumption the rows that the lost work had written are dropped.

    Args:
        path: the file.
        resume_step: rows with this `step` or a later one are forgotten.
    """

    def __init__(self, path: Path, resume_step: int) -> None:
        rows = [row for row in read_rows(path) if row["step"] < resume_step]
        write_bytes(path, "".join(json.dumps(row) + "\n" for row in rows).encode())
        self._file: IO[str] = path.open("a", encoding="utf-8")

    def write(self, **row: float) -> None:
        """Adds a row at once, so that a killed run keeps it."""
        self._file.write(json.dumps(row) + "\n")
        self._file.flush()

    def close(self) -> None:
        """Closes the file."""
        self._file.close()


def read_rows(path: Path) -> list[dict[str, float]]:
    """Rows of a metrics.jsonl; a last line that was cut off by a kill is left out."""
    if not path.exists():
        return []
    rows = []
    for line in path.read_text(encoding="utf-8").splitlines():
        with contextlib.suppress(json.JSONDecodeError):
            rows.append(json.loads(line))
    return rows
