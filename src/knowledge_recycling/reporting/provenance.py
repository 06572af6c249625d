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
)
from knowledge_recycling.reporting.formats import count, duration, finite, memory, percent
from knowledge_recycling.reporting.results import STAGES, Results


def making(results: Results, show_real: bool) -> Chapter:
    """What it took, what it was made from, and with which settings."""
    blocks: list[Block] = [
        _costs(results),
        *_data(results),
        Heading("Provenance"),
        _provenance(results),
        Code("Configuration (where the data lie is left out)", _yaml(results.config)),
    ]
    return Chapter("making", "How it was made", blocks)


def _costs(results: Results) -> Table:
    rows = [
        [
            Cell(name.title()),
            *cells(*_cost(results.stages[name])),
        ]
        if name in results.stages
        else cells(name.title(), "not run", "", "", "")
        for name in STAGES
    ]
    seconds = [finite(result.get("seconds")) for result in results.stages.values()]
    total = duration(sum(value or 0.0 for value in seconds))
    head = ("Stage", "Time", "Peak memory", "Device, precision", "What")
    return Table(f"Time and peak memory of each stage; {total} in all.", head, rows, prose=True)


def _cost(result: dict[str, Any]) -> tuple[str, str, str, str]:
    where = ", ".join(str(result[key]) for key in ("device", "precision") if result.get(key))
    return (
        duration(result.get("seconds")),
        memory(result.get("peak_memory_bytes")),
        where,
        _what(result),
    )


def _what(result: dict[str, Any]) -> str:
    """A stage's size in a few words, from those fields that it has."""
    parts = []
    if "method" in result:
        mixed = result["count"] > 1
        parts.append(f"{result['count']} {result['method']}, mixed" if mixed else result["method"])
    if "parameters" in result and finite(result["parameters"]) is not None:
        parts.append(f"{count(result['parameters'])} parameters")
    if "steps" in result:
        parts.append(f"{count(result['steps'])} steps")
    if "labels" in result:
        parts.append(f"{result['labels']} labels")
    if "regeneration_period" in result:
        period = result["regeneration_period"]
        every = "every epoch" if period == 1 else f"every {period} epochs"
        parts.append(f"new images {every}" if period else "one fixed set")
    if finite(result.get("acceptance")) is not None:
        parts.append(f"filter keeps {percent(result['acceptance'])}")
    if "table" in result:
        parts.append(f"{len(result['table'])} tried")
    return ", ".join(parts)


def _data(results: Results) -> list[Block]:
    split = results.split
    if not split:
        return []
    counts = split["counts"]
    rows = [
        [Cell(name, f"class {index}"), *cells(*(count(counts[part][index]) for part in counts))]
        for index, name in enumerate(results.class_names)
    ]
    rows.append(cells("All", *(count(sum(counts[part])) for part in counts)))
    colour = {1: "grey", 3: "colour"}.get(split.get("channels", 0), "")
    drawn = ", ".join(split.get("drawn") or [])
    words = f"Images of {split['size']} by {split['size']} pixels, {colour}. "
    words += f"Splits drawn by this run: {drawn}. " if drawn else "All splits are the source's. "
    words += "Groups (patients) are known." if split.get("has_groups") else "No groups are known."
    notes = [Text(f"Note: {note}") for note in split.get("notes") or []]
    head = ("Class", *(part.title() for part in counts))
    return [Heading("Data"), Text(words), *notes, Table("Images by class and split.", head, rows)]


def _provenance(results: Results) -> Table:
    rows = [
        ("Preset", str(results.config.get("preset", ""))),
        ("Seed", str(results.config.get("seed", ""))),
        ("Data hash (SHA-256)", str(results.split.get("data_sha256", ""))),
        ("Machine", _distinct(results, "machine")),
    ]
    rows += [(f"{name} version", text) for name, text in _versions(results).items()]
    shown = [cells(*row) for row in rows if row[1]]
    return Table("What it takes to repeat this run.", ("Item", "Value"), shown, prose=True)


def _distinct(results: Results, key: str) -> str:
    values = (str(result[key]) for result in results.stages.values() if result.get(key))
    return "; ".join(dict.fromkeys(values))


def _versions(results: Results) -> dict[str, str]:
    """Each package's version; all of them where a run was resumed with another one."""
    seen: dict[str, dict[str, None]] = {}
    for result in results.stages.values():
        for package, version in (result.get("versions") or {}).items():
            seen.setdefault(package, {})[str(version)] = None
    return {package: ", then ".join(versions) for package, versions in seen.items()}


def _yaml(config: dict[str, Any]) -> str:
    return yaml.safe_dump(config, sort_keys=False, allow_unicode=True)
