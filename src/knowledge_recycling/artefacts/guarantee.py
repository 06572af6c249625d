"""The formal guarantee of a private run: whom it is for, what a stage spends, and the ledger.

The order of work is that of `privacy.ledger`: an entry is on the disk before noise is drawn, and a
released value that is found again spends nothing. Shadows audit a run and are never released: what
they spend is written in their own directories alone.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

from knowledge_recycling import data
from knowledge_recycling.config import Config, Privacy
from knowledge_recycling.errors import KRError
from knowledge_recycling.privacy import accountant, ledger
from knowledge_recycling.privacy.clipping import Unit, Units
from knowledge_recycling.results import Guarantee, SplitRecord
from knowledge_recycling.storage.files import json_bytes, read_table
from knowledge_recycling.storage.run_dir import RunDir

SHARES: Mapping[str, Mapping[str, float]] = {
    "teacher": {"counts": 0.02, "mean": 0.03, "head": 0.80},
    "generator": {"moments": 0.15},
}
"""Of mu^2, by stage and release; all together 1."""
RELEASE = "release.json"
"""Written by a stage after all that it releases; its presence means that nothing is spent again."""


def mu(config: Config) -> float:
    """Of the whole run."""
    assert config.privacy.epsilon is not None
    return accountant.mu(config.privacy.epsilon, config.privacy.delta)


def unit(section: Privacy, has_groups: bool) -> Unit:
    """Whom the guarantee is for.

    Raises:
        KRError: a patient is asked for where patients are not known.
    """
    if section.unit == "patient" and not has_groups:
        raise KRError(
            "privacy.unit: patients are not known in these data. Give them (data.groups for a "
            "folder, `train_groups` in an npz file), or ask for the unit image."
        )
    if section.unit == "auto":
        return "patient" if has_groups else "image"
    return section.unit


def units(config: Config, split: data.Split) -> Units:
    """The same with the patient of each image."""
    who = unit(config.privacy, split.groups is not None)
    return Units(who, split.groups if who == "patient" else None)


def check(config: Config, run_dir: RunDir, record: SplitRecord) -> None:
    """Refuses a run that cannot keep its promise, before anything is written.

    Raises:
        KRError: unknown patients, or a total over the budget.
    """
    if config.privacy.epsilon is None:
        return
    who = unit(config.privacy, record.has_groups)
    if run_dir.is_shadow or not (limit := _limit(config)):
        return
    left = [sum(s.values()) for stage, s in SHARES.items() if not _release(run_dir, stage).exists()]
    if left:
        wanted = ledger.new_entry(
            data=record.data_sha256,
            run=str(run_dir.path),
            stage="all",
            unit=who,
            mu=mu(config) * math.sqrt(sum(left)),
            delta=config.privacy.delta,
        )
        ledger.check(wanted, limit, folders(run_dir))


def notes(config: Config, record: SplitRecord) -> list[str]:
    """What the holder of the data should know of the promise asked for.

    A mechanism that publishes one image in n at random keeps delta = 1/n (Dwork and Roth 2014,
    section 2.3), so that a delta as large promises nothing.
    """
    images = sum(record.counts["train"])
    if config.privacy.epsilon is None or config.privacy.delta * images < 1:
        return []
    return [
        f"privacy.delta: {config.privacy.delta:g} is not below 1 in {images:,} train images: even "
        "publishing one image at random would keep it. Choose a delta far below, 1e-5 say"
    ]


def spend(config: Config, run_dir: RunDir, stage: str) -> Guarantee:
    """Writes what a stage is about to spend into the ledgers; on return it is on the disk.

    Raises:
        KRError: the total would be over the budget, or a ledger cannot be written.
    """
    record = run_dir.split()
    entry = ledger.new_entry(
        data=record.data_sha256,
        run=str(run_dir.path),
        stage=stage,
        unit=unit(config.privacy, record.has_groups),
        mu=mu(config) * math.sqrt(sum(SHARES[stage].values())),
        delta=config.privacy.delta,
    )
    ledger.record(entry, folders(run_dir), None if run_dir.is_shadow else _limit(config))
    section = config.privacy
    assert section.epsilon is not None
    return Guarantee(
        epsilon=section.epsilon,
        delta=section.delta,
        unit=entry.unit,
        symmetry=section.symmetry,
        mu=entry.mu,
        entry=entry.id,
    )


def released(run_dir: RunDir, stage: str) -> Guarantee | None:
    """What the stage spent on a release that is there already, or None."""
    path = _release(run_dir, stage)
    return Guarantee(**read_table(path)["guarantee"]) if path.exists() else None


def counts(run_dir: RunDir) -> tuple[float, ...]:
    """The Teacher's noisy number of images per class."""
    return tuple(read_table(_release(run_dir, "teacher"))["counts"])


def keep(
    run_dir: RunDir, stage: str, guarantee: Guarantee, counts: Sequence[float] | None = None
) -> None:
    """Says that a stage has written all that it releases."""
    tree = {"guarantee": guarantee.tree()} | ({} if counts is None else {"counts": list(counts)})
    run_dir.stage(stage)
    run_dir.keep(f"{stage}/{RELEASE}", json_bytes(tree))


def folders(run_dir: RunDir) -> list[Path]:
    """Of the ledgers: the user's and the run's."""
    return [run_dir.path] if run_dir.is_shadow else [ledger.state_folder(), run_dir.path]


def _limit(config: Config) -> ledger.Limit | None:
    section = config.privacy
    return None if section.budget is None else ledger.Limit(section.budget, section.delta)


def _release(run_dir: RunDir, stage: str) -> Path:
    return run_dir.path / stage / RELEASE
