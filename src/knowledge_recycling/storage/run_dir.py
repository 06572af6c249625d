"""The run directory: file names, atomic writes, done marks, hashes, the lock.

Every file is written under a temporary name and then moved into place, so a file that is there
is whole. A stage's `result.json` comes last: its presence means that the stage is done, and the
hashes in it say from what. The marker says what is ours, see `manifest`.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from knowledge_recycling.config import Config
from knowledge_recycling.errors import KRError
from knowledge_recycling.storage import manifest, ownership
from knowledge_recycling.storage.files import (
    digest,
    disk_full_explained,
    escaped,
    file_digest,
    json_bytes,
    read_json,
    read_table,
    same_digest,
    write_bytes,
    write_json,
)
from knowledge_recycling.storage.manifest import MARKER, Manifest

RESULT = "result.json"
STATE = "state.pt"
INPUTS = "inputs.json"
SOURCE = "source.npz"
"""The arrays that a run was given from Python."""
REAL_EXAMPLES = "real_examples.npz"
NOT_FORKED = ("report", "shadows")
MEASURED = ("seconds", "peak_memory_bytes", "resumed", "versions", "machine", "device")
"""Entries of a result that differ from one equal run to the next."""


def _lasting(result: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in result.items() if name not in MEASURED}


class RunDir:
    """One run's folder. Nothing is written before `lock` or `fork`.

    Args:
        path: the folder; it need not be there yet.
        trust_code: build networks of any import path that the run's files name, which runs that
            code.
        networks: import paths of networks that the user named in this very call.
    """

    def __init__(
        self, path: Path | str, *, trust_code: bool = False, networks: Sequence[str] = ()
    ) -> None:
        self.path = Path(path)
        self.trust_code = trust_code
        self.networks = tuple(networks)

    @classmethod
    def existing(cls, path: Path | str, *, trust_code: bool = False) -> RunDir:
        """A run directory that is there already.

        Raises:
            KRError: there is no run, or one with links to elsewhere.
        """
        path = Path(path)
        if not (path / "config.yaml").exists():
            raise KRError(f"{path}: holds no run; start one with `kr run DATA -o {path}`")
        run = cls(path, trust_code=trust_code)
        run.check_ours()
        return run

    def trusts(self, network: str) -> bool:
        """Whether a network's import path may be imported: the user named it, or trusts all."""
        return self.trust_code or network in self.networks

    def check_ours(self) -> None:
        """Refuses a folder that is neither new, nor empty, nor a run. Writes nothing.

        Raises:
            KRError: says what was found there.
        """
        if self.path.exists() and not self.path.is_dir():
            raise KRError(f"{self.path}: cannot be a run directory: it is a file")
        if not self.path.exists():
            return
        ownership.refuse_foreign(self.path)
        ownership.refuse_links(self.path)
        manifest.load(self.path)

    def check_apart(self, config: Config) -> None:
        """Refuses a run directory inside the data, or around it. Writes nothing.

        Raises:
            KRError: names both.
        """
        for private in (config.data.source, config.data.groups):
            if private and (path := Path(private)).exists():
                ownership.refuse_nesting(self.path, path, self.path / SOURCE)

    def claim(self) -> None:
        """Makes the folder and its marker, where they are missing.

        Raises:
            KRError: the folder is not ours, or cannot be written.
        """
        self.check_ours()
        if (self.path / MARKER).exists():
            return
        try:
            self.path.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._adopted().save(self.path)
        except OSError as error:
            raise KRError(f"{self.path}: cannot be made a run directory: {error}") from None

    def _adopted(self) -> Manifest:
        """The marker of a new run; for a run that had none, its files are taken as they are."""
        if not ownership.is_unmarked_run(self.path):
            return Manifest()
        kept = [self.path / "split.json", *self.path.glob(f"*/{RESULT}")]
        return Manifest(sha256={str(p.relative_to(self.path)): file_digest(p) for p in kept})

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
        path = self.shadows / f"{k:02d}"
        return RunDir(path, trust_code=self.trust_code, networks=self.networks)

    @contextlib.contextmanager
    def lock(self) -> Iterator[None]:
        """Makes the folder ours and keeps a second process off it.

        The system frees the lock however this process ends. Meanwhile everything is written for
        this user alone, and an error of the file system ends in a sentence.

        Raises:
            KRError: another process works here, the folder is not ours, or it cannot be written.
        """
        with ownership.private_umask(), self._explained():
            self.claim()
            lock = FileLock(self.path / ownership.LOCK, mode=0o600)
            try:
                lock.acquire(timeout=0)
            except Timeout:
                raise KRError(
                    f"{self.path}: another process (number {self._owner()}) is working on this "
                    "run. Wait for it, or choose another directory with -o."
                ) from None
            with lock:
                lock.release()  # the count that `acquire` above has taken
                write_bytes(self.path / ownership.OWNER, str(os.getpid()).encode())
                ownership.tidy(self.path)
                yield

    def _owner(self) -> str:
        with contextlib.suppress(OSError, UnicodeDecodeError):
            return escaped((self.path / ownership.OWNER).read_text(encoding="ascii")[:20])
        return "unknown"

    @contextlib.contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            with disk_full_explained(self.path):
                yield
        except OSError as error:
            if not (self.path / MARKER).exists() and not isinstance(error, PermissionError):
                raise KRError(
                    f"{self.path}: the run directory has vanished during the work ({error}). Bring "
                    "it back and run the same command again, or start a new run."
                ) from error
            where = Path(os.fsdecode(error.filename or ""))
            inside = self.path.absolute() in where.absolute().parents
            if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS) and inside:
                raise KRError(f"{where}: may not be read or written ({error.strerror})") from error
            raise

    def keep(self, name: str, content: bytes) -> None:
        """Writes a file whose hash the marker holds, see `manifest`."""
        found = manifest.load(self.path)
        if found is None:
            raise KRError(f"{self.path}: holds no run that this version made ({MARKER} is missing)")
        found.having(name, digest_of(content)).save(self.path)
        write_bytes(self.path / name, content)

    def check(self, name: str) -> Path:
        """The path of a file that `keep` wrote, after a look at its hash.

        Raises:
            KRError: the file has changed, or is not ours.
        """
        found = manifest.load(self.path)
        if found is not None:
            found.check(self.path, name)
        return self.path / name

    def artefact(self, stage: str, name: str) -> Path:
        """The path of a file that a finished stage left, after a look at its hash.

        Raises:
            KRError: the stage has not run, or the file is missing, has changed, or is not its own.
        """
        recorded = self._record(stage).get("artefacts")
        path = self.path / stage / name
        if not isinstance(recorded, dict) or name not in recorded:
            early = isinstance(recorded, dict) and all(len(h) == 16 for h in recorded.values())
            if early and path.suffix == ".json":
                return path  # versions before 0.2 hashed arrays and tensors only
            raise KRError(f"{path}: is not a file that the stage `{stage}` wrote")
        manifest.check_digest(path, recorded[name])
        return path

    def verify_stage(self, stage: str) -> int:
        """Compares a finished stage's result and all its files with their hashes.

        Returns:
            The number of files.

        Raises:
            KRError: names the first file that is not what the stage wrote.
        """
        names = self._record(stage).get("artefacts", {})
        for name in names:
            self.artefact(stage, name)
        return 1 + len(names)

    def verify(self) -> int:
        """Compares every file of the run and of its shadows with its hash.

        Returns:
            The number of files.

        Raises:
            KRError: names each file that is not what the run wrote.
        """
        shadows = [RunDir(p.parent) for p in sorted(self.shadows.glob(f"*/{MARKER}"))]
        errors: list[str] = []
        total = 0
        for run in (self, *shadows):
            run.check_ours()
            for name in run._kept():
                try:
                    total += run._verify_kept(name, drops=run is not self)
                except KRError as error:
                    errors.append(str(error))
        if errors:
            raise KRError("not as this run wrote it:\n  " + "\n  ".join(errors))
        return total

    def _kept(self) -> list[str]:
        found = manifest.load(self.path) or self._adopted()
        results = {str(p.relative_to(self.path)) for p in self.path.glob(f"*/{RESULT}")}
        return sorted({"split.json"} | {n for n in found.sha256 if (self.path / n).exists()} | results)

    def _verify_kept(self, name: str, drops: bool) -> int:
        self.check(name)
        stage = Path(name).parent.name
        # A finished shadow has dropped its networks.
        if Path(name).name != RESULT or drops:
            return 1
        return self.verify_stage(stage)

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
