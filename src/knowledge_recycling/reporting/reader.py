"""What a run left behind. The only module here that opens files of the run."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from knowledge_recycling import results
from knowledge_recycling.auditing.limits import Limits
from knowledge_recycling.bundle.form import Form
from knowledge_recycling.config import Config
from knowledge_recycling.errors import KRError
from knowledge_recycling.storage.metrics_log import read_rows

PRIVATE_FIELDS = ("source", "groups", "canaries")
"""Fields of the section `data` that may hold a path of the user's machine."""
REAL_EXAMPLES = "real_examples.npz"
"""Real images; opened only where the user asks for them."""
WITHHELD = "(path withheld)"
FORM = "release.yaml"
"""What people state of the release, where they put it into the run directory."""

R = TypeVar("R", bound=results.Record)


@dataclass(frozen=True)
class RunResults:
    """A run's results, no private path in them; None for what is not there yet.

    Args:
        path: the run directory.
        config: config.yaml; see `settings` for what of it may be shown.
        split: split.json, without the indices.
        teacher: teacher/result.json, and so on for the stages that follow.
        limits: limits.yaml of the run directory, or the default.
        form: release.yaml of the run directory; without one nothing is stated.
    """

    path: Path
    config: Config | None = None
    split: results.SplitRecord | None = None
    teacher: results.TeacherResult | None = None
    generator: results.GeneratorResult | None = None
    selection: results.SelectionResult | None = None
    tuning: results.TuningResult | None = None
    distillation: results.DistillationResult | None = None
    evaluation: results.EvaluationResult | None = None
    audit: results.AuditResult | None = None
    limits: Limits = field(default_factory=Limits.load)
    form: Form = field(default_factory=Form)

    @classmethod
    def load(cls, path: Path) -> RunResults:
        """Reads config.yaml, split.json and every result.json that is there.

        Raises:
            KRError: the run directory is missing, or a file in it is not what a run writes.
        """
        if not path.is_dir():
            raise KRError(f"{path}: no such run directory; `kr run DATA -o {path}` makes one")
        config = Config.load(path / "config.yaml") if (path / "config.yaml").is_file() else None
        private = _private(config)

        def read(file: Path, model: type[R]) -> R | None:
            if not file.is_file():
                return None
            return results.read(file, model, lambda tree: withhold(tree, private))

        split = read(path / "split.json", results.SplitRecord)
        if split:
            split = split.model_copy(update={"indices": {}})
        done: dict[str, Any] = {
            stage: read(path / stage / "result.json", results.RESULTS[stage]) for stage in STAGES
        }
        form = Form.load(path / FORM) if (path / FORM).is_file() else Form()
        return cls(path, config, split, limits=Limits.of_folder(path), form=form, **done)

    @property
    def done(self) -> dict[str, results.Result]:
        """The results that are there by stage, in the stages' order."""
        found = {stage: getattr(self, stage) for stage in STAGES}
        return {stage: result for stage, result in found.items() if result is not None}

    @property
    def name(self) -> str:
        """What the data may be called."""
        return self.split.name if self.split else "unnamed data"

    @property
    def class_names(self) -> list[str]:
        """The names of the classes, white space collapsed; numbers where the split is missing."""
        if self.split:
            return [" ".join(name.split()) for name in self.split.class_names]
        return (
            [str(c) for c in range(len(self.evaluation.teacher.recall))] if self.evaluation else []
        )

    def settings(self) -> dict[str, Any]:
        """The configuration as plain values, without where the data lie."""
        if not self.config:
            return {}
        tree = self.config.model_dump(mode="json")
        for name in PRIVATE_FIELDS:
            tree["data"].pop(name, None)
        shown: dict[str, Any] = withhold(tree, _private(self.config))
        return shown

    @property
    def version(self) -> str:
        """Of this software, with its commit where that was known, in the last stage that ran."""
        found = [result.versions.get("knowledge-recycling", "") for result in self.done.values()]
        return found[-1] if found else ""

    @property
    def date(self) -> str:
        """When the last stage was finished; empty where it was not recorded."""
        return max((result.finished[:10] for result in self.done.values()), default="")

    @property
    def seconds(self) -> float:
        """Of all stages, and of the shadows where they were run."""
        shadows = self.audit.shadows.seconds_per_shadow if self.audit and self.audit.shadows else ()
        return sum(result.seconds for result in self.done.values()) + sum(shadows)

    def sha256(self, name: str) -> str:
        """Of a file in the run directory; empty where there is none."""
        path = self.path / name
        return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""

    def metrics(self, stage: str) -> list[dict[str, float]]:
        """Rows of a stage's metrics.jsonl in the order of the steps."""
        return read_rows(self.path / stage / "metrics.jsonl")

    def arrays(self, name: str) -> dict[str, np.ndarray]:
        """Arrays of an npz file in the run directory; empty where there is none.

        Raises:
            KRError: the file is there and cannot be read.
        """
        path = self.path / name
        if not path.is_file():
            return {}
        try:
            with np.load(path, allow_pickle=False) as file:
                return dict(file)
        except Exception as error:  # zipfile and NumPy raise nearly anything on corrupt bytes
            raise KRError(
                f"{path}: cannot be read as npz ({error}); delete it and run the same command "
                f"again to redo `{path.parent.name}`"
            ) from None


STAGES = tuple(f.name for f in fields(RunResults) if f.name in results.RESULTS)
"""Those whose results the report shows."""


def _private(config: Config | None) -> list[str]:
    values = [getattr(config.data, name) for name in PRIVATE_FIELDS] if config else []
    return [value for value in values if value]


def withhold(tree: Any, private: Sequence[str]) -> Any:
    """Replaces every private path in the texts of a tree, with whatever follows it up to a space.

    Example:
        >>> withhold({"notes": ["skipped /home/a/set/x.png twice"]}, ["/home/a/set"])
        {'notes': ['skipped (path withheld) twice']}
    """
    paths = {str(path) for path in private} | {str(Path(path).absolute()) for path in private}
    # A name such as `digits` is no path; taking it out would garble the page.
    wanted = sorted((p for p in paths if "/" in p or "\\" in p), key=len, reverse=True)
    if not wanted:
        return tree
    return _replace(tree, re.compile("(?:" + "|".join(map(re.escape, wanted)) + r")\S*"))


def _replace(tree: Any, pattern: re.Pattern[str]) -> Any:
    if isinstance(tree, dict):
        return {key: _replace(value, pattern) for key, value in tree.items()}
    if isinstance(tree, list):
        return [_replace(value, pattern) for value in tree]
    return pattern.sub(WITHHELD, tree) if isinstance(tree, str) else tree
