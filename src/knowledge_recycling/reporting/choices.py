"""The chapters on what validation chose: the snapshot, the parameters of synthesis, the labels."""

from __future__ import annotations

from dataclasses import asdict

from knowledge_recycling.reporting import choice_figures
from knowledge_recycling.reporting.document import (
    Block,
    Cell,
    Chapter,
    Gallery,
    Picture,
    Table,
    Text,
    cells,
    not_run,
)
from knowledge_recycling.reporting.formats import count, decimal, percent
from knowledge_recycling.reporting.reader import RunResults
from knowledge_recycling.results import Finalist, Look, Trial, TuningResult
from knowledge_recycling.synthesis.parameters import Parameters

DIAGNOSTIC = "Diagnostic AUC"


def snapshots(run: RunResults, show_real: bool) -> Chapter:
    """Checkpoint Optimisation: every snapshot with its validation CAS."""
    result = run.selection
    if not result:
        return not_run("snapshots", "Checkpoint Optimisation", "Selection")
    if result.skipped:
        return Chapter("snapshots", "Checkpoint Optimisation", [Text(result.skipped)])
    table, chosen = result.table, result.snapshot
    intro = (
        "Each snapshot of the Generator trained a probe on synthetic images alone; its accuracy "
        "on real validation images (CAS) decides. All get a short screen; the best meet the last, "
        "the default, in a longer look, and replace it if they lead by more than a standard error."
    )
    head = (
        "Snapshot",
        "Screen accuracy",
        DIAGNOSTIC,
        "Loss",
        "Longer look",
        DIAGNOSTIC,
        "Loss",
    )
    rows = [
        [
            _trial_name(row.snapshot, row.snapshot == chosen),
            *_look(row.screen),
            *_look(row.final),
        ]
        for row in table
    ]
    alt = f"Validation CAS of {len(table)} snapshots, tabled below; step {chosen} is chosen."
    plot = Picture("snapshots", choice_figures.snapshots(table, chosen), alt)
    blocks: list[Block] = [
        Text(intro),
        Gallery([plot]),
        Table("Snapshots by Generator step.", head, rows),
    ]
    return Chapter("snapshots", "Checkpoint Optimisation", blocks)


def _trial_name(number: int, chosen: bool, default: bool = False) -> Cell:
    notes = [word for word, holds in (("chosen", chosen), ("un-tuned", default)) if holds]
    return Cell(count(number), ", ".join(notes))


def _look(look: Look | None) -> list[Cell]:
    if not look:
        return cells("", "", "")
    return cells(percent(look.accuracy), decimal(look.auc), decimal(look.loss))


PARAMETERS = {
    "latent_std": "latent standard deviation s",
    "temperature": "soft-label temperature",
    "filter_threshold": "filter threshold",
}


def tuning(run: RunResults, show_real: bool) -> Chapter:
    """Generator Tuning: the trials, the finalists, the choice; and the kind of labels."""
    result = run.tuning
    if not result:
        return not_run("tuning", "Generator Tuning", "Tuning")
    if not result.table:
        words = result.skipped or "Not searched: one trial was asked for, the un-tuned parameters."
        words = f"{words} They are: {_setting(result.parameters)}."
        return Chapter("tuning", "Generator Tuning", [Text(words), *_labels(result)])
    table = result.table
    default = next((row.trial for row in table if row.parameters == result.default), None)
    chosen = next((row.trial for row in result.finalists if row.chosen), None)
    intro = (
        "With the snapshot fixed, the parameters of synthesis are searched on validation CAS. "
        "The un-tuned setting is one of the trials, meets the best ones again in longer probes "
        "and stays unless one of them leads by more than a standard error; "
        f"chosen: {_setting(result.parameters)}."
    )
    pictures = [
        Picture(
            f"tuning_{field}",
            choice_figures.tuning(table, field, label, default, chosen),
            f"Validation CAS of {len(table)} trials over the {label}, tabled below.",
        )
        for field, label in PARAMETERS.items()
    ]
    tables = [*_tuning_tables(result, default, chosen), *_labels(result)]
    return Chapter("tuning", "Generator Tuning", [Text(intro), Gallery(pictures), *tables])


def _labels(result: TuningResult) -> list[Block]:
    """What the probe of each kind of labels reached; nothing where the kind was not left open."""
    if not result.labels_table:
        return []
    rows = [
        [
            Cell(row.labels, "chosen" if row.labels == result.labels else ""),
            *_look(row),
            Cell(percent(row.error)),
        ]
        for row in result.labels_table
    ]
    caption = (
        "Kinds of labels, the one that leaks least first. Of those whose accuracy is not lower "
        "than the best by more than one standard error of the difference, the first is taken."
    )
    head = ("Labels", "Accuracy", DIAGNOSTIC, "Loss", "Standard error of the difference")
    return [Table(caption, head, rows)]


def _setting(parameters: Parameters) -> str:
    named = zip(map(_spaced, asdict(parameters)), _values(parameters), strict=True)
    return ", ".join(f"{name} {value}" for name, value in named)


def _spaced(name: str) -> str:
    return name.replace("_", " ")


def _values(p: Parameters) -> tuple[str, str, str, str]:
    return f"{p.latent_std:.3g}", p.prior, f"{p.temperature:.3g}", f"{p.filter_threshold:.3g}"


def _tuning_tables(result: TuningResult, default: int | None, chosen: int | None) -> list[Block]:
    def row(entry: Trial | Finalist) -> list[Cell]:
        name = _trial_name(entry.trial, entry.trial == chosen, entry.trial == default)
        return [name, *_look(entry)]

    def trial(entry: Trial) -> list[Cell]:
        return [*row(entry), *cells(*_values(entry.parameters), entry.state)]

    head = ("Trial", "Accuracy", DIAGNOSTIC, "Loss")
    setting = ("Latent std", "Prior", "Temperature", "Filter", "State")
    finalists = [row(entry) for entry in result.finalists]
    trials = [trial(entry) for entry in result.table]
    return [
        Table("Finalists, in longer probes with fresh seeds.", head, finalists),
        Table(f"All {len(trials)} trials.", (*head, *setting), trials, folded=True),
    ]
