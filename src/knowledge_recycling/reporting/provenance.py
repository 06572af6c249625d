"""How the run was made: time, memory, data, versions, configuration."""

from __future__ import annotations

from typing import Any

import yaml

from knowledge_recycling.reporting.document import (
    Block,
    Cell,
    Chapter,
    Code,
    Heading,
    Table,
    Text,
    cells,
    class_cell,
)
from knowledge_recycling.reporting.formats import count, duration, memory, percent
from knowledge_recycling.reporting.reader import STAGES, RunResults
from knowledge_recycling.results import (
    DistillationResult,
    GeneratorResult,
    Result,
    SelectionResult,
    TeacherResult,
    TuningResult,
)


def making(run: RunResults, show_real: bool) -> Chapter:
    """What it took, what it was made from, and with which settings."""
    blocks: list[Block] = [
        _costs(run),
        *_data(run),
        Heading("Provenance"),
        _provenance(run),
        Code("Configuration (where the data lie is left out)", _yaml(run.settings())),
    ]
    return Chapter("making", "How it was made", blocks)


def _costs(run: RunResults) -> Table:
    rows = [
        [
            Cell(name.title()),
            *cells(*_cost(run.done[name])),
        ]
        if name in run.done
        else cells(name.title(), "not run", "", "", "")
        for name in STAGES
    ]
    about = run.audit.shadows if run.audit else None
    if about:
        seconds = duration(sum(about.seconds_per_shadow))
        rows.append(cells("Shadows", seconds, "", "", f"{about.count} pipelines"))
    head = ("Stage", "Time", "Peak memory", "Device, precision", "What")
    caption = f"Time and peak memory of each stage; {duration(run.seconds)} in all."
    return Table(caption, head, rows, prose=True)


def _cost(result: Result) -> tuple[str, str, str, str]:
    where = ", ".join(word for word in (result.device, result.precision) if word)
    return duration(result.seconds), memory(result.peak_memory_bytes), where, _what(result)


def _what(result: Result) -> str:
    """A stage's size in a few words."""
    match result:
        case TeacherResult():
            parts = _size(result)
        case GeneratorResult():
            mixed = f"{result.count} {result.method}, mixed"
            parts = [mixed if result.count > 1 else result.method, *_size(result)]
        case SelectionResult() | TuningResult():
            parts = [f"{len(result.table)} tried"]
        case DistillationResult():
            period = result.regeneration_period
            every = "every epoch" if period == 1 else f"every {period} epochs"
            parts = [
                *_size(result),
                f"{result.labels} labels",
                f"new images {every}" if period else "one fixed set",
                f"filter keeps {percent(result.acceptance)}",
            ]
        case _:
            parts = []
    return ", ".join(parts)


def _size(result: TeacherResult | GeneratorResult | DistillationResult) -> list[str]:
    return [f"{count(result.parameters)} parameters", f"{count(result.steps)} steps"]


def _data(run: RunResults) -> list[Block]:
    split = run.split
    if not split:
        return []
    counts = split.counts
    rows = [
        [class_cell(index, name), *cells(*(count(counts[part][index]) for part in counts))]
        for index, name in enumerate(run.class_names)
    ]
    rows.append(cells("All", *(count(sum(counts[part])) for part in counts)))
    colour = {1: "grey", 3: "colour"}.get(split.channels, "")
    drawn = ", ".join(split.drawn)
    words = f"Images of {split.size} by {split.size} pixels, {colour}. "
    words += f"Splits drawn by this run: {drawn}. " if drawn else "All splits are the source's. "
    words += "Groups (patients) are known." if split.has_groups else "No groups are known."
    notes = [Text(f"Note: {note}") for note in split.notes]
    head = ("Class", *(part.title() for part in counts))
    return [Heading("Data"), Text(words), *notes, Table("Images by class and split.", head, rows)]


def _provenance(run: RunResults) -> Table:
    machines = dict.fromkeys(result.machine for result in run.done.values() if result.machine)
    when = sorted(result.finished for result in run.done.values() if result.finished)
    dates = " to ".join(dict.fromkeys((when[0], when[-1]))) if when else ""
    rows = [("Stages finished", dates), ("Machine", "; ".join(machines)), *_versions(run).items()]
    if run.split:
        rows.insert(0, ("Data hash (SHA-256)", run.split.data_sha256))
    if run.config:
        rows[:0] = [("Preset", run.config.preset), ("Seed", str(run.config.seed))]
    shown = [cells(*row) for row in rows if row[1]]
    return Table("What it takes to repeat this run.", ("Item", "Value"), shown, prose=True)


def _versions(run: RunResults) -> dict[str, str]:
    """Each package's version; all of them where a run was resumed with another one."""
    seen: dict[str, dict[str, None]] = {}
    for result in run.done.values():
        for package, version in result.versions.items():
            seen.setdefault(package, {})[version] = None
    return {f"{package} version": ", then ".join(found) for package, found in seen.items()}


def _yaml(settings: dict[str, Any]) -> str:
    return yaml.safe_dump(settings, sort_keys=False, allow_unicode=True)
