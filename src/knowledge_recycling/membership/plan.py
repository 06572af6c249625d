"""What the shadows of a run have in common: the pool, its canaries, and who trains on what.

The pool is the run's training split; validation is the same in all pipelines and is not audited,
and test is not opened.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from knowledge_recycling import data
from knowledge_recycling.config import Config
from knowledge_recycling.data import Split
from knowledge_recycling.errors import KRError
from knowledge_recycling.membership import canaries
from knowledge_recycling.membership.canaries import CANARY_KINDS, KINDS
from knowledge_recycling.membership.halves import complementary_coins, complementary_halves
from knowledge_recycling.membership.members import Membership
from knowledge_recycling.results import SplitRecord, read
from knowledge_recycling.storage.files import read_npz, read_table, write_json, write_npz
from knowledge_recycling.training.seeds import derive

FILES = ("plan.json", "plan.npz", "split.json", "canaries.npz")
"""What `draw` writes, the last only where canaries are planted."""


@dataclass(frozen=True)
class Plan:
    """The shadows of a run.

    Attributes:
        asked: `count`, `reuse_choices`, `canaries` and `seed`.
        membership: which records train which pipeline.
        labels: (N,) int64, canaries with the label that they are planted with.
        indices: (N,) positions in the source, canaries after its end.
        kind: (N,) int8 codes of `canaries.KINDS`.
        record: what split.json says, with the whole pool for train and no test.
        config: the run's, with the canaries among the data.
    """

    asked: Mapping[str, Any]
    membership: Membership
    labels: np.ndarray
    indices: np.ndarray
    kind: np.ndarray
    record: SplitRecord
    config: Config

    @classmethod
    def load(cls, folder: Path, config: Config) -> Plan:
        """Reads what `draw` wrote to a folder."""
        arrays = read_npz(folder / "plan.npz")
        asked = read_table(folder / "plan.json")
        record = read(folder / "split.json", SplitRecord)
        try:
            config = _with_canaries(config, folder) if asked["canaries"] else config
            membership = Membership.of(arrays.pop("membership"))
            return cls(asked, membership, record=record, config=config, **arrays)
        except (KeyError, TypeError):
            raise KRError(f"{folder}: holds no shadows that this run planned") from None

    def pool(self) -> Split:
        """All records, in the order of the columns of the membership."""
        (pool,) = data.load(self.config.data, self.record, "train")
        return pool

    def canary_kinds(self) -> dict[str, np.ndarray]:
        """Which records (N,) bool are canaries of each kind."""
        return {KINDS[code]: self.kind == code for code in CANARY_KINDS}

    def half(self, k: int) -> SplitRecord:
        """What the split.json of pipeline k says: its half of the pool to train on."""
        inside = self.membership.mask[k]
        counts = np.bincount(self.labels[inside], minlength=len(self.record.class_names))
        return self.record.with_split("train", self.indices[inside].tolist(), counts.tolist())


def exists(folder: Path) -> bool:
    """Whether shadows were planned here."""
    return (folder / "plan.json").exists()


def draw(
    folder: Path,
    record: SplitRecord,
    config: Config,
    count: int,
    *,
    reuse_choices: bool,
    canary_count: int,
) -> Plan:
    """Draws halves and canaries and writes them to a folder, or reads what is there.

    Args:
        folder: of the shadows.
        record: what split.json of the run says.
        config: of the run.
        count: K, even.
        reuse_choices: whether shadows take over the run's choices.
        canary_count: how many records are planted.

    Raises:
        KRError: other shadows are there, or the pool is too small.
    """
    asked = {
        "count": count,
        "reuse_choices": reuse_choices,
        "canaries": canary_count,
        "seed": config.seed,
    }
    if exists(folder):
        there = read_table(folder / "plan.json")
        if there != asked:
            raise KRError(
                f"{folder}: holds other shadows ({json.dumps(there)}, asked for "
                f"{json.dumps(asked)}). Move that folder away first."
            )
        return Plan.load(folder, config)
    _write(folder, record, config, asked)
    write_json(folder / "plan.json", asked)
    return Plan.load(folder, config)


def _with_canaries(config: Config, folder: Path) -> Config:
    path = str((folder / "canaries.npz").absolute())
    section = config.data.model_copy(update={"canaries": path})
    return config.model_copy(update={"data": section})


def _write(folder: Path, record: SplitRecord, config: Config, asked: dict[str, Any]) -> None:
    (pool,) = data.load(config.data, record, "train")
    classes = len(record.class_names)
    planted = canaries.make(
        pool, classes, asked["canaries"], derive(config.seed, "shadows", "canaries")
    )
    stay = np.setdiff1d(np.arange(len(pool)), planted.bases)
    groups = None if pool.groups is None else pool.groups[stay]
    seed = derive(config.seed, "shadows", "membership")
    halves = complementary_halves(pool.labels[stay], groups, asked["count"], seed)
    coins = complementary_coins(
        planted.unit, asked["count"], derive(config.seed, "shadows", "coins")
    )
    source = data.open_source(config.data)
    labels = np.concatenate([pool.labels[stay], planted.labels])
    indices = np.concatenate([pool.indices[stay], len(source) + np.arange(len(planted.labels))])
    if asked["canaries"]:
        write_npz(
            folder / "canaries.npz",
            images=planted.images,
            labels=planted.labels,
            unit=planted.unit,
        )
        source = data.open_source(_with_canaries(config, folder).data)
    write_npz(
        folder / "plan.npz",
        membership=np.concatenate([halves, coins], axis=1),
        labels=labels,
        indices=indices,
        kind=np.concatenate([np.zeros(len(stay), np.int8), planted.kind]),
    )
    counts = np.bincount(labels, minlength=classes).tolist()
    whole = record.with_split("train", indices.tolist(), counts)
    whole = whole.with_split("test", (), [0] * classes)
    whole = whole.model_copy(update={"data_sha256": source.sha256, "notes": ()})
    write_json(folder / "split.json", whole.tree())
