"""Runs side by side: utility, leaks, guarantees, cost and the settings that differ.

Runs that differ in nothing but their seed are one column: the mean over the seeds.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from knowledge_recycling.reporting import comparison_rows as rows
from knowledge_recycling.reporting.comparison_rows import Group, Row
from knowledge_recycling.reporting.reader import RunResults
from knowledge_recycling.reporting.templates import html

OTHER_DATA = (
    "These runs are not of the same data or image size: their figures measure different tasks."
)
COMPOSITION = (
    "Several of these runs are private and of the same data. What is released of them adds up: "
    "`kr budget` says to which epsilon."
)


@dataclass(frozen=True)
class Section:
    """Rows under a heading."""

    title: str
    rows: tuple[Row, ...]


@dataclass(frozen=True)
class Comparison:
    """What `kr compare` shows.

    Attributes:
        columns: the runs' folder names; of runs that differ only in their seed, joined.
        seeds: of each column.
        sections: utility, leaks, guarantee, cost, settings.
        notes: what a reader must know.
    """

    columns: tuple[str, ...]
    seeds: tuple[tuple[int, ...], ...]
    sections: tuple[Section, ...]
    notes: tuple[str, ...]

    def tree(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)

    def html(self) -> bytes:
        """One page that loads nothing, in the style of the report."""
        return html().get_template("comparison.html.j2").render(found=self).encode()


def compare(runs: Sequence[Path]) -> Comparison:
    """Puts runs side by side from their result files; writes nothing.

    Raises:
        KRError: a run directory is missing, or a file in it cannot be read.
    """
    groups = _groups([RunResults.load(path) for path in runs])
    sections = (
        Section("Utility on test", tuple(rows.utility(groups))),
        Section("Leaks found by whole-pipeline shadows", tuple(rows.leaks(groups))),
        Section("Guarantee", (rows.formal(groups),)),
        Section("Cost", tuple(rows.cost(groups))),
        Section("Data and settings that differ", tuple(rows.settings(groups))),
    )
    return Comparison(
        columns=tuple(", ".join(run.path.resolve().name for run in group) for group in groups),
        seeds=tuple(tuple(r.config.seed for r in group if r.config) for group in groups),
        sections=tuple(section for section in sections if section.rows),
        notes=tuple(_notes(groups)),
    )


def _groups(runs: Sequence[RunResults]) -> list[Group]:
    found: dict[str, list[RunResults]] = {}
    for run in runs:
        shadows = run.audit.shadows if run.audit else None
        audited = shadows and (shadows.count, shadows.reuse_choices, shadows.canary_count)
        key = repr((rows.flat(run), rows.data(run), tuple(run.done), audited, run.version))
        while _seen(run, found.get(key, [])):
            key += " again"
        found.setdefault(key, []).append(run)
    return list(found.values())


def _seen(run: RunResults, group: Group) -> bool:
    """Whether a mean would count one seed twice; the noise of private runs is of no seed."""
    if run.teacher and run.teacher.guarantee:
        return False
    return rows.seed(run) in map(rows.seed, group)


def _notes(groups: Sequence[Group]) -> Iterator[str]:
    runs = [run for group in groups for run in group]
    if len({rows.data(run) for run in runs}) > 1:
        yield OTHER_DATA
    private = [rows.data(run) for run in runs if run.teacher and run.teacher.guarantee]
    if len(private) > len(set(private)):
        yield COMPOSITION
    yield (
        "Small print: 95% intervals. Of one run they cover the choice of test images or of "
        "records and shadows, not of the seed; of several seeds, the spread of the seeds."
    )
    yield "An audit gives lower bounds: what it does not find is not found at this power."
