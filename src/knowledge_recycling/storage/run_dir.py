"""The run directory: file names, atomic writes, done marks, hashes, the lock.

Every file is written under a temporary name and then moved into place, so a file that is there
is whole. A stage's `result.json` comes last: its presence means that the stage is done, and the
hashes in it say from what.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, overload

from knowledge_recycling.config import Config
from knowledge_recycling.errors import KRError
from knowledge_recycling.storage.files import (
    digest,
    file_digest,
    read_json,
    write_bytes,
    write_json,
)

if TYPE_CHECKING:
    from knowledge_recycling import results
    from knowledge_recycling.results import Result, SplitRecord

RESULT = "result.json"
STATE = "state.pt"
INPUTS = "inputs.json"
SCHEME = "2"
"""How `RunDir.inputs` makes its hashes. Raise it when a default of the config changes: the fields
that stand at their defaults are not hashed, so that a new one leaves finished runs valid."""
MEASURED = ("seconds", "peak_memory_bytes", "resumed", "versions", "machine", "device")
"""Entries of a result that differ from one equal run to the next."""


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

    @property
    def shadows(self) -> Path:
        """The folder of the shadows, whether it is there or not."""
        return self.path / "shadows"

    def shadow(self, k: int) -> RunDir:
        """The run directory of shadow k."""
        return RunDir(self.shadows / f"{k:02d}")

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

    def adopt_split(self, split: SplitRecord) -> SplitRecord:
        """Writes split.json, or checks that it is of the same data; returns what is there.

        Raises:
            KRError: names both data hashes.
        """
        path = self.path / "split.json"
        if not path.exists():
            write_json(path, split.tree())
        there = self.split()
        if there.data_sha256 != split.data_sha256:
            raise KRError(
                f"{path}: this run was made from data with the hash {there.data_sha256[:16]}, "
                f"but the data given now has {split.data_sha256[:16]}. Bring the old data "
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

    def split(self) -> SplitRecord:
        """The record of the data: hash, class names, indices of each split."""
        from knowledge_recycling.results import SplitRecord, read

        return read(self.path / "split.json", SplitRecord)

    @overload
    def result(self, stage: Literal["teacher"]) -> results.TeacherResult: ...
    @overload
    def result(self, stage: Literal["generator"]) -> results.GeneratorResult: ...
    @overload
    def result(self, stage: Literal["selection"]) -> results.SelectionResult: ...
    @overload
    def result(self, stage: Literal["tuning"]) -> results.TuningResult: ...
    @overload
    def result(self, stage: Literal["distillation"]) -> results.DistillationResult: ...
    @overload
    def result(self, stage: Literal["evaluation"]) -> results.EvaluationResult: ...
    @overload
    def result(self, stage: Literal["audit"]) -> results.AuditResult: ...
    @overload
    def result(self, stage: str) -> Result: ...
    def result(self, stage: str) -> Result:
        """A finished stage's result.

        Raises:
            KRError: the stage has not run, or its file is not what a stage writes.
        """
        # Here, for what an audit finds is typed by modules that load SciPy.
        from knowledge_recycling.results import RESULTS, read

        return read(self._finished(stage), RESULTS[stage])

    def _finished(self, stage: str) -> Path:
        path = self.path / stage / RESULT
        if not path.exists():
            raise KRError(f"{path}: the stage `{stage}` has not run yet; run `kr {stage}` first")
        return path

    def inputs(
        self, config: Config, stage: str, needs: Iterable[str], reads: Iterable[str]
    ) -> dict[str, str]:
        """Hashes of what a stage is made from; of the config, of what differs from the defaults.

        Args:
            config: of the run.
            stage: its name and its section's.
            needs: stages whose results it reads.
            reads: `section.field` of what else it reads of the config.
        """
        shared = {name: getattr(config, name) for name in ("seed", "precision")}
        sections = {name.split(".")[0] for name in reads}
        changed = {section: config.changed(section) for section in sections | {stage}}
        read = {
            name: value
            for section in sections
            for field, value in changed[section].items()
            if (name := f"{section}.{field}") in set(reads)
        }
        hashes = {
            "scheme": SCHEME,
            "config": digest([shared, changed[stage], read]),
            "data": digest([self.split().data_sha256, self.split().indices]),
        }
        # Of the file and not of the model, so that a field with a default changes no hash.
        return hashes | {need: digest(_lasting(read_json(self._finished(need)))) for need in needs}

    def check_scheme(self) -> None:
        """Refuses a run whose hashes were made otherwise: all of it would silently run again.

        Raises:
            KRError: the run is of another version.
        """
        for path in sorted(self.path.glob(f"*/{INPUTS}")):
            scheme = read_json(path).get("scheme", "1")
            if scheme != SCHEME:
                raise KRError(
                    f"{path}: this run was made by another version of kr (scheme {scheme} of its "
                    f"inputs, here {SCHEME}) and cannot go on or be forked. Its results stay "
                    "readable as they are; start a new run with another -o."
                )

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

    def write_result(self, stage: str, result: Result, **measured: Any) -> None:
        """Writes a stage's result, with what was measured of it, as its last file.

        The resume state is dropped.
        """
        folder = self.path / stage
        (folder / STATE).unlink(missing_ok=True)
        artefacts = sorted(p for p in folder.rglob("*") if p.suffix in (".safetensors", ".npz"))
        common = {
            "artefacts": {str(p.relative_to(folder)): file_digest(p) for p in artefacts},
            "inputs": read_json(folder / INPUTS),
            **measured,
        }
        write_json(folder / RESULT, result.model_copy(update=common).tree())

    def log(self, line: str) -> None:
        """Adds a line with the time to log.txt."""
        with (self.path / "log.txt").open("a", encoding="utf-8") as file:
            file.write(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {line}\n")
