"""Reads what a run left behind. The only module here that opens files of the run."""

from __future__ import annotations

import json
import re
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from knowledge_recycling.errors import KRError

STAGES = ("teacher", "generator", "selection", "tuning", "distillation", "evaluation", "audit")
PRIVATE_FIELDS = ("source", "groups")
"""Fields of the section `data` that may hold a path of the user's machine."""
REAL_EXAMPLES = "real_examples.npz"
"""Real images; opened only where the user asks for them."""
WITHHELD = "(path withheld)"


@dataclass(frozen=True)
class Results:
    """A run's results, already without the fields that may hold a private path.

    Args:
        run: the run directory.
        config: config.yaml as a tree, without `data.source` and `data.groups`.
        split: split.json, without the indices.
        stages: result.json of each stage that is done, by its name.
    """

    run: Path
    config: dict[str, Any]
    split: dict[str, Any]
    stages: dict[str, dict[str, Any]]

    @classmethod
    def load(cls, run: Path) -> Results:
        """Reads config.yaml, split.json and every result.json that is there.

        Raises:
            KRError: the run directory is missing, or a file in it cannot be read.
        """
        if not run.is_dir():
            raise KRError(f"{run}: no such run directory; `kr run DATA -o {run}` makes one")
        config = _read_yaml(run / "config.yaml")
        data = config.get("data") or {}
        private = [data.pop(name) for name in PRIVATE_FIELDS if data.get(name)]
        for name in PRIVATE_FIELDS:
            data.pop(name, None)
        split = _read_json(run / "split.json") or {}
        split.pop("indices", None)
        found = {name: _read_json(run / name / "result.json") for name in STAGES}
        stages = {name: result for name, result in found.items() if result is not None}
        return cls(
            run, withhold(config, private), withhold(split, private), withhold(stages, private)
        )

    @property
    def name(self) -> str:
        """What the data may be called."""
        return str(self.split.get("name") or "unnamed data")

    @property
    def class_names(self) -> list[str]:
        """The names of the classes, white space collapsed; numbers where the split is missing."""
        names = self.split.get("class_names")
        if names is None:
            recall = self.stages.get("evaluation", {}).get("teacher", {}).get("recall", [])
            names = range(len(recall))
        return [" ".join(str(name).split()) for name in names]

    def metrics(self, stage: str) -> list[dict[str, Any]]:
        """Rows of a stage's metrics.jsonl by ascending step.

        A resumed run writes some steps twice, and a killed one may leave half a line: of a
        step the last row counts, and what is not a whole row is passed over.
        """
        path = self.run / stage / "metrics.jsonl"
        rows: dict[float, dict[str, Any]] = {}
        text = path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""
        for line in text.splitlines():
            try:
                row = json.loads(line)
                rows[row["step"]] = rows.get(row["step"], {}) | row
            except (json.JSONDecodeError, KeyError, TypeError):
                continue
        return [rows[step] for step in sorted(rows)]

    def arrays(self, name: str) -> dict[str, np.ndarray]:
        """Arrays of an npz file in the run directory; empty where there is none.

        Raises:
            KRError: the file is there and cannot be read.
        """
        path = self.run / name
        if not path.is_file():
            return {}
        try:
            with np.load(path, allow_pickle=False) as file:
                return dict(file)
        except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
            raise KRError(f"{path}: cannot be read as npz ({error}); {_again(path)}") from None


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


def _read_json(path: Path) -> dict[str, Any] | None:
    if not path.is_file():
        return None
    try:
        tree = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise KRError(f"{path}: cannot be read as JSON ({error}); {_again(path)}") from None
    if not isinstance(tree, dict):
        raise KRError(f"{path}: holds no JSON object; {_again(path)}")
    return tree


def _read_yaml(path: Path) -> dict[str, Any]:
    try:
        tree = yaml.safe_load(path.read_text(encoding="utf-8")) if path.is_file() else {}
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise KRError(f"{path}: cannot be read as YAML ({error})") from None
    return tree if isinstance(tree, dict) else {}


def _again(path: Path) -> str:
    return f"delete it and run the same command again to redo `{path.parent.name}`"
