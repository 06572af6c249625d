"""The run directory: file names, atomic writes, done marks, hashes, the lock.

Every file is written under a temporary name and then moved into place, so a file that is there
is whole. A stage's `result.json` comes last: its presence means that the stage is done, and the
hashes in it say from what. The marker says what is ours, see `manifest`.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, overload

from knowledge_recycling.config import Config
from knowledge_recycling.errors import KRError, printable
from knowledge_recycling.storage import lock, manifest, ownership
from knowledge_recycling.storage.files import (
    bytes_digest,
    digest,
    file_digest,
    json_bytes,
    read_json,
    read_table,
    same_digest,
    write_bytes,
    write_json,
)
from knowledge_recycling.storage.manifest import MARKER, Manifest

if TYPE_CHECKING:
    from knowledge_recycling import results
    from knowledge_recycling.results import Result, SplitRecord

RESULT = "result.json"
STATE = "state.pt"
INPUTS = "inputs.json"
CACHE = "cache"
"""Folder of the decoded images of files, see `data.cache`; it may be deleted at any time."""
SOURCE = "source.npz"
"""The arrays that a run was given from Python."""
PRECISION = "precision.json"
NOT_FORKED = ("report", "shadows")
SCHEME = "3"
"""How `RunDir.inputs` makes its hashes. Raise it when a default of the config changes: the fields
that stand at their defaults are not hashed, so that a new one leaves finished runs valid."""
MEASURED = (
    "seconds",
    "finished",
    "peak_memory_bytes",
    "resumed",
    "versions",
    "machine",
    "device",
)
"""Entries of a result that differ from one equal run to the next."""


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
        self.is_shadow = False

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
        kept = [
            self.path / "split.json",
            *self.path.glob(PRECISION),
            *self.path.glob(f"*/{RESULT}"),
        ]
        return Manifest(sha256={str(p.relative_to(self.path)): file_digest(p) for p in kept})

    def discard(self, folder: bool = True) -> None:
        """Removes what is here where that is no more than `claim`, a lock and the data.

        Args:
            folder: the folder itself too.
        """
        ours = {MARKER, ownership.LOCK, ownership.OWNER, SOURCE, CACHE}
        if {path.name for path in self.path.iterdir()} <= ours:
            shutil.rmtree(self.path / CACHE, ignore_errors=True)
            for path in self.path.iterdir():
                path.unlink()
            if folder:
                self.path.rmdir()

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
        shadow = RunDir(path, trust_code=self.trust_code, networks=self.networks)
        shadow.is_shadow = True
        return shadow

    @contextlib.contextmanager
    def lock(self) -> Iterator[None]:
        """Makes the folder ours and keeps a second process off it.

        Meanwhile everything is written for this user alone, and an error of the file system ends
        in a sentence. Of a folder that was new or empty nothing is left if the work fails before it
        is a run.

        Raises:
            KRError: another process works here, the folder is not ours, or it cannot be written.
        """
        was_there, empty, held = self.path.exists(), _is_empty(self.path), False
        try:
            with ownership.private_umask(), lock.explained(self.path):
                self.claim()
                with lock.held(self.path):
                    held = True
                    ownership.tidy(self.path)
                    yield
        except BaseException:
            if held and empty and self.path.exists():
                self.discard(folder=not was_there)
            raise

    def keep(self, name: str, content: bytes) -> None:
        """Writes a file whose hash the marker holds, see `manifest`."""
        self._marked().having(name, bytes_digest(content)).save(self.path)
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

    def record(self, names: Iterable[str]) -> None:
        """Compares files with their hashes, and takes up as they are those that have none yet.

        Raises:
            KRError: a file has changed since it was taken up.
        """
        known = found = self._marked()
        for name in names:
            if name in found.sha256:
                found.check(self.path, name)
            elif (self.path / name).exists():
                found = found.having(name, file_digest(self.path / name))
        if found is not known:
            found.save(self.path)

    def forget(self, folder: str) -> None:
        """Drops the hashes of a folder that is to be made anew."""
        found = self._marked()
        kept = {k: v for k, v in found.sha256.items() if not k.startswith(f"{folder}/")}
        if kept != found.sha256:
            found.model_copy(update={"sha256": kept}).save(self.path)

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

    def _marked(self) -> Manifest:
        found = manifest.load(self.path)
        if found is None:
            raise KRError(f"{self.path}: its marker {MARKER} is gone; nothing is written")
        return found

    def _record(self, stage: str) -> dict[str, Any]:
        name = f"{stage}/{RESULT}"
        if not (self.path / name).exists():
            raise KRError(
                f"{self.path / name}: the stage `{stage}` has not run yet; run `kr {stage}` first"
            )
        return read_table(self.check(name))

    def adopt(self, config: Config, split: SplitRecord) -> SplitRecord:
        """Makes this the run of a configuration and of data, or checks that it is so already.

        Returns:
            What split.json says.

        Raises:
            KRError: as `check_same`; then nothing was written.
        """
        self.check_same(config, split)
        if not self.has_split():
            self.keep("split.json", json_bytes(split.tree()))
        write_bytes(self.path / "config.yaml", self._portable(config).dump().encode())
        return self.split()

    def check_same(self, config: Config, split: SplitRecord | None) -> None:
        """Compares config.yaml and split.json, where they are there, with what is asked for now.

        `runtime` may differ, and where the data lie: their hash says whether they are the same.

        Raises:
            KRError: names the fields that differ, or both hashes.
        """
        path = self.path / "config.yaml"
        if path.exists() and (differences := config.differences(Config.load(path))):
            raise KRError(
                f"{path}: this run was made with another configuration:\n  "
                + "\n  ".join(differences)
                + "\nStart a new run with another -o, or take over what stays valid with "
                "--fork NEW_RUN."
            )
        path = self.path / "split.json"
        if not path.exists() or split is None:
            return
        there, here = self.split().data_sha256, split.data_sha256
        if there != here:
            raise KRError(
                f"{path}: this run was made from data with the hash {there[:16]}, but the data "
                f"given now has {here[:16]}. Bring the old data back, or start a new run with "
                "another -o."
            )

    def _portable(self, config: Config) -> Config:
        """The run's own copy of the data is named from here, so that the run can be moved."""
        if Path(config.data.source).absolute() != (self.path / SOURCE).absolute():
            return config
        section = config.data.model_copy(update={"source": SOURCE})
        return config.model_copy(update={"data": section})

    def fork(self, target: Path) -> RunDir:
        """Copies the finished stages to a new folder; those whose inputs change will run again.

        A fork that was begun before is gone on with; one in which no command has come as far as
        writing its config.yaml is made anew. The data are copied where the run has them; real
        images in its report are not.

        Raises:
            KRError: the target is something else, or lies in this run.
        """
        new = RunDir(target, trust_code=self.trust_code, networks=self.networks)
        if self.path.resolve() in (target.resolve(), *target.resolve().parents):
            raise KRError(f"{target}: lies in the run that is to be forked; name another directory")
        new.check_ours()
        before = manifest.load(target)
        if (before and not before.fork) or (not before and (target / "config.yaml").exists()):
            raise KRError(f"{target}: exists already; --fork needs a new directory")
        if before and before.copied and (target / "config.yaml").exists():
            return new
        with new.lock():
            Manifest(fork=True, copied=False).save(target)
            self._copy_to(target).save(target)
        return new

    def _copy_to(self, target: Path) -> Manifest:
        """Copies stages that are done and the run's own data; returns the finished marker."""
        copied = Manifest(fork=True)
        for folder in sorted(path for path in target.iterdir() if path.is_dir()):
            ownership.clear_stage(folder, RESULT)
        for result in sorted(self.path.glob(f"*/{RESULT}")):
            folder = result.parent
            if folder.name in NOT_FORKED:
                continue
            name = f"{folder.name}/{RESULT}"
            copied = copied.having(name, file_digest(self.check(name)))
            for path in ownership.stage_files(folder):
                if path.name != STATE:
                    place = target / path.relative_to(self.path)
                    place.parent.mkdir(parents=True, exist_ok=True)
                    shutil.copyfile(path, place)
        if (self.path / SOURCE).exists():
            shutil.copyfile(self.path / SOURCE, target / SOURCE)
        for path in (self.path / CACHE).glob("[!.]*"):
            (target / CACHE).mkdir(exist_ok=True)
            shutil.copyfile(path, target / CACHE / path.name)
        if (self.path / PRECISION).exists():
            shutil.copyfile(self.check(PRECISION), target / PRECISION)
            copied = copied.having(PRECISION, file_digest(target / PRECISION))
        return copied

    def has_split(self) -> bool:
        """Whether the data of this run are recorded already."""
        return (self.path / "split.json").exists()

    def split(self) -> SplitRecord:
        """The record of the data: hash, class names, indices of each split."""
        from knowledge_recycling.results import SplitRecord, read

        return read(self.check("split.json"), SplitRecord)

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
            KRError: the stage has not run, the file has changed since, or it says something else
                than a stage writes.
        """
        # Here, for what an audit finds is typed by modules that load SciPy.
        from knowledge_recycling.results import RESULTS, read

        self._record(stage)
        return read(self.path / stage / RESULT, RESULTS[stage])

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
        return hashes | {need: digest(_lasting(self._record(need))) for need in needs}

    def check_scheme(self) -> None:
        """Refuses a run whose hashes were made otherwise: all of it would silently run again.

        Raises:
            KRError: the run is of another version.
        """
        for path in sorted(self.path.glob(f"*/{INPUTS}")):
            inputs = _read_inputs(path.parent)
            scheme = SCHEME if inputs is None else inputs.get("scheme", "1")
            if scheme != SCHEME and (self.path / "config.yaml").exists():
                raise KRError(
                    f"{path}: this run was made by another version of kr (scheme {scheme} of its "
                    f"inputs, here {SCHEME}) and cannot go on or be forked. Its results stay "
                    "readable as they are; start a new run with another -o."
                )

    def is_done(self, stage: str, inputs: Mapping[str, str]) -> bool:
        """True when the stage has a result made from these inputs.

        Raises:
            KRError: a file of the stage is not what it wrote.
        """
        folder = self.path / stage
        if not (folder / RESULT).exists() or not _same(self._record(stage).get("inputs"), inputs):
            return False
        self.verify_stage(stage)
        (folder / STATE).unlink(missing_ok=True)  # where a kill came before `write_result` did it
        return True

    def begin(self, stage: str, inputs: Mapping[str, str]) -> bool:
        """Readies a stage's folder; True when work on the same inputs goes on in it."""
        folder = self.path / stage
        self._marked()
        going_on = _same(_read_inputs(folder), inputs)
        (folder / RESULT).unlink(missing_ok=True)
        if not going_on:
            ownership.clear_stage(folder, INPUTS)
            write_json(folder / INPUTS, inputs)
        return going_on

    def write_result(self, stage: str, result: Result, **measured: Any) -> None:
        """Writes a stage's result, with what was measured of it, as its last file.

        The resume state is then dropped.
        """
        folder = self.path / stage
        common = {"artefacts": _artefacts(folder), "inputs": _read_inputs(folder), **measured}
        self.keep(f"{stage}/{RESULT}", json_bytes(result.model_copy(update=common).tree()))
        (folder / STATE).unlink(missing_ok=True)

    def log(self, line: str) -> None:
        """Adds one line with the time to log.txt; what would break the line is written out."""
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0)
        text = f"{time.strftime('%Y-%m-%d %H:%M:%S')} {printable(line)}\n"
        with open(os.open(self.path / ownership.LOG, flags, 0o600), "ab") as file:
            file.write(text.encode())


def _is_empty(folder: Path) -> bool:
    """Whether a folder is not there, or nothing is in it."""
    try:
        return not any(folder.iterdir())
    except FileNotFoundError:
        return True
    except OSError:
        return False


def _lasting(result: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in result.items() if name not in MEASURED}


def _read_inputs(folder: Path) -> Mapping[str, Any] | None:
    """What a stage under way is made from; None where that is unknown, so that it starts anew."""
    with contextlib.suppress(KRError):
        found = read_json(folder / INPUTS)
        return found if isinstance(found, Mapping) and "config" in found else None
    return None


def _same(recorded: Any, inputs: Mapping[str, str]) -> bool:
    return (
        isinstance(recorded, Mapping)
        and set(recorded) == set(inputs)
        and all(same_digest(recorded[name], inputs[name]) for name in inputs)
    )


def _artefacts(folder: Path) -> dict[str, str]:
    """SHA-256 of what a stage made, but for journals and the list that a person may write into."""
    files = [
        path
        for path in ownership.stage_files(folder)
        if path.name not in (RESULT, INPUTS, STATE, ownership.SCREENED)
        and path.suffix not in (".log", ".lock", ".tmp")
    ]
    return {path.relative_to(folder).as_posix(): file_digest(path) for path in files}
