"""The ledger: what every run has spent on the same data, in one file per user.

A line per release of a run: the hash of the data, mu, unit, date. mu^2 adds up over the lines of
the same data (also where a later run is chosen by the results of earlier ones: Smith and Thakurta,
arXiv:2210.17520). The order of work that makes it right:

1. `new_entry` for a release whose noise is about to be drawn, with an id of its own;
2. `record` it, which returns once it is on the disk: a killed release is not free;
3. draw the noise, and store the released value with the entry's id.

Who finds a released value on resumption uses it and spends nothing (to record its entry again
changes nothing); who finds none starts at 1, with a new id, since new noise is a new release.

Two units on the same data. What is private for a patient is, by the clipping of this package, as
private for each image, so the total per image counts all lines. A line per image promises
nothing for a patient with an unknown number of images, so with such a line the total per patient
is infinite.
"""

from __future__ import annotations

import datetime
import math
import os
import secrets
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from knowledge_recycling.errors import KRError
from knowledge_recycling.privacy import accountant
from knowledge_recycling.privacy.clipping import Unit
from knowledge_recycling.privacy.json_lines import append_line, locked, read_lines

FILE = "ledger.jsonl"


class Entry(BaseModel):
    """One release: what it is of, and what it costs.

    Args:
        id: of the release; equal ids are the same released value.
        data: hash of the whole data set.
        run: of the user's naming, to be recognised in a list.
        stage: likewise.
        unit: whom mu is promised to.
        mu: of the release, above 0.
        epsilon: of this release alone.
        delta: at which epsilon is given.
        date: UTC, ISO 8601.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str = Field(min_length=1)
    data: str = Field(min_length=1)
    run: str
    stage: str
    unit: Unit
    mu: float = Field(gt=0, allow_inf_nan=False)
    epsilon: float = Field(ge=0, allow_inf_nan=False)
    delta: float = Field(gt=0, lt=1)
    date: str


@dataclass(frozen=True)
class Limit:
    """The most that all runs on the same data may spend together.

    Args:
        epsilon: above 0.
        delta: between 0 and 1.
    """

    epsilon: float
    delta: float

    @property
    def mu(self) -> float:
        """The same as mu."""
        return accountant.mu(self.epsilon, self.delta)


def new_entry(*, data: str, run: str, stage: str, unit: Unit, mu: float, delta: float) -> Entry:
    """An entry for a release whose noise is about to be drawn, with an id that no other has.

    Args:
        data: hash of the whole data set.
        run: name of the run.
        stage: name of the stage.
        unit: whom mu is promised to.
        mu: of the release.
        delta: at which its epsilon is given.

    Raises:
        KRError: a mu or delta out of its range.
    """
    return Entry(
        id=secrets.token_hex(16),
        data=data,
        run=run,
        stage=stage,
        unit=unit,
        mu=mu,
        epsilon=accountant.epsilon(delta, mu),
        delta=delta,
        date=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    )


def state_folder() -> Path:
    """Where the user's ledger is: $XDG_STATE_HOME, or ~/.local/state, /knowledge-recycling.

    Raises:
        KRError: neither XDG_STATE_HOME nor HOME is an absolute path.
    """
    for name, below in (("XDG_STATE_HOME", ""), ("HOME", ".local/state")):
        path = Path(os.environ.get(name, ""))
        if path.is_absolute():
            return path / below / "knowledge-recycling"
    raise KRError(
        "The ledger of privacy budgets has no place: neither XDG_STATE_HOME nor HOME is set to an "
        "absolute path. Set one of them."
    )


def record(entry: Entry, folders: Sequence[Path], limit: Limit | None = None) -> None:
    """Adds an entry to the ledger of each folder, once; on return it is on the disk.

    Call it before the noise is drawn. The folders' ledgers are locked from the check of the limit
    to the last write, so that two runs cannot both take what is left.

    Args:
        entry: from `new_entry`.
        folders: the user's (`state_folder`), and others that get a copy, such as a run's.
        limit: None: no limit.

    Raises:
        KRError: beyond the limit, a ledger that cannot be read, written or locked, or the same id
            with other values.
    """
    paths = [folder / FILE for folder in folders]
    with locked(paths):
        known = {path: {old.id: old for old in _read(path)} for path in paths}
        if any(entry != ids.get(entry.id, entry) for ids in known.values()):
            raise KRError(f"the entry {entry.id} is in the ledger with other values")
        if limit is not None:
            _check(entries(folders, entry.data), entry, limit)
        for path in paths:
            if entry.id not in known[path]:
                append_line(path, entry.model_dump_json())


def entries(folders: Iterable[Path], data: str) -> list[Entry]:
    """All entries of one data set, each id once, in the order in which they were written.

    Args:
        folders: of the ledgers; a folder without one has no entries.
        data: hash of the data set.

    Raises:
        KRError: a damaged ledger, or one id with different values.
    """
    found: dict[str, Entry] = {}
    for folder in folders:
        for entry in _read(folder / FILE):
            if found.setdefault(entry.id, entry) != entry:
                raise KRError(f"the entry {entry.id} is in the ledger with other values")
    return [entry for entry in found.values() if entry.data == data]


def total(spent: Iterable[Entry], unit: Unit) -> float:
    """The mu of all entries together for one unit; infinite where nothing can be promised.

    Args:
        spent: entries of one data set.
        unit: "image" counts all; "patient" is infinite with any entry per image.

    Example:
        >>> a = new_entry(data="d", run="r", stage="s", unit="patient", mu=0.3, delta=1e-5)
        >>> b = a.model_copy(update={"id": "b", "mu": 0.4})
        >>> total([a, b], "image"), total([a, b], "patient")
        (0.5, 0.5)
        >>> total([a, b.model_copy(update={"unit": "image"})], "patient")
        inf
    """
    return accountant.compose(
        math.inf if unit == "patient" and entry.unit == "image" else entry.mu for entry in spent
    )


def check(entry: Entry, limit: Limit, folders: Iterable[Path]) -> None:
    """Refuses a release, or a whole run given as one entry, that would go beyond a limit.

    Args:
        entry: what is wanted; one that is recorded already wants nothing more.
        limit: of all runs on the data.
        folders: of the ledgers.

    Raises:
        KRError: says what is spent, what is wanted and what is left; or a damaged ledger.
    """
    _check(entries(folders, entry.data), entry, limit)


def _check(spent: Sequence[Entry], entry: Entry, limit: Limit) -> None:
    if any(entry.id == old.id for old in spent):
        return
    before = total(spent, entry.unit)
    if accountant.compose([before, entry.mu]) <= limit.mu * (1 + 1e-9):
        return
    left = math.sqrt(max(limit.mu**2 - before**2, 0.0))
    wants = accountant.epsilon(limit.delta, entry.mu)
    raise KRError(
        f"This would go beyond the privacy budget of epsilon {limit.epsilon:g} per {entry.unit} "
        f"at delta {limit.delta:g}. {_spent_words(spent, entry.unit, before, limit.delta)}; this "
        f"run wants epsilon {wants:.3g}; left is epsilon "
        f"{accountant.epsilon(limit.delta, left):.3g}. Ask for less, or raise the budget."
    )


def _spent_words(spent: Sequence[Entry], unit: Unit, mu: float, delta: float) -> str:
    if math.isinf(mu):
        return f"An earlier run on these data promised nothing per {unit}, only per image"
    releases = "1 release" if len(spent) == 1 else f"{len(spent)} releases"
    return f"Spent in {releases} is epsilon {accountant.epsilon(delta, mu):.3g}"


def _read(path: Path) -> list[Entry]:
    return [_parse(path, number, line) for number, line in read_lines(path)]


def _parse(path: Path, number: int, line: str) -> Entry:
    try:
        return Entry.model_validate_json(line)
    except ValidationError:
        raise KRError(
            f"{path}: line {number} is not an entry of the ledger, so what was spent on the data "
            "is not known; bring back a whole copy (each run directory has its own lines)"
        ) from None
