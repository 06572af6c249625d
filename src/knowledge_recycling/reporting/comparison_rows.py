"""The rows of a comparison: what each run, or the mean over seeds, says of one thing."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from knowledge_recycling.auditing.figures import Figures, Target
from knowledge_recycling.reporting.formats import NONE, count, decimal, duration, percent, signed
from knowledge_recycling.reporting.reader import RunResults
from knowledge_recycling.results import ShadowAudit, Utility
from knowledge_recycling.statistics.estimate import Estimate
from knowledge_recycling.statistics.rates import mean_interval

Group = Sequence[RunResults]
"""Runs that differ in nothing but their seed."""
Number = Estimate | float | None
Show = Callable[[float], str]
NOT_COMPARED = ("seed", "runtime", "report")
"""Parts of the configuration that change no result but by chance, or only the page."""
CHANNELS = {
    "teacher": "Teacher (control)",
    "student": "Student",
    "synthetic": "synthetic images",
    "soft_labels": "images with soft labels",
    "rounded_labels": "images with rounded labels",
    "hard_labels": "images with hard labels",
}
UTILITY: tuple[tuple[str, str, Show], ...] = (
    ("accuracy", "accuracy", percent),
    ("diagnostic AUC", "auc", decimal),
    ("balanced accuracy", "balanced_accuracy", percent),
    ("macro F1", "f1_macro", decimal),
    ("calibration error (ECE)", "ece", decimal),
)


@dataclass(frozen=True)
class Entry:
    """A figure of one column.

    Attributes:
        text: as it is shown.
        note: a smaller second line, such as the interval.
        value: the mean over the column's runs; None where it is no number or not there.
        low: lower end of the 95% interval; None where there is none.
        high: upper end.
    """

    text: str
    note: str = ""
    value: float | None = None
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class Row:
    """One thing that is compared, an entry per column."""

    name: str
    entries: tuple[Entry, ...]


def _entry(found: Sequence[Number], show: Show, missing: str = NONE) -> Entry:
    """The figure of one run with its own interval, or the mean over seeds with theirs."""
    known = [number for number in found if number is not None]
    if not known:
        return Entry(missing)
    values = [n.value if isinstance(n, Estimate) else float(n) for n in known]
    if len(values) == 1:
        only = known[0]
        note = f"{show(only.low)} to {show(only.high)}" if isinstance(only, Estimate) else ""
        ends = (only.low, only.high) if isinstance(only, Estimate) else (None, None)
        return Entry(show(values[0]), note, values[0], *ends)
    mean = mean_interval(values)
    note = f"{show(mean.low)} to {show(mean.high)}, {len(values)} runs"
    return Entry(show(mean.value), note, mean.value, mean.low, mean.high)


def _row(
    name: str,
    groups: Sequence[Group],
    of: Callable[[RunResults], Number],
    show: Show,
    missing: str = NONE,
) -> Row:
    return Row(name, tuple(_entry([of(run) for run in g], show, missing) for g in groups))


def utility(groups: Sequence[Group]) -> Iterator[Row]:
    """Student, Teacher and the gap between them on test."""

    def of(who: str, key: str) -> Callable[[RunResults], Number]:
        def get(run: RunResults) -> Number:
            if run.evaluation is None:
                return None
            utility: Utility = getattr(run.evaluation, who)
            return utility.accuracy_interval if key == "accuracy" else getattr(utility, key)

        return get

    missing = "not evaluated"
    yield _row(
        "CAS gap, points",
        groups,
        lambda run: run.evaluation.cas_gap if run.evaluation else None,
        signed,
        missing,
    )
    for name, key, show in UTILITY:
        yield _row(f"Student, {name}", groups, of("student", key), show, missing)
    for name, key, show in UTILITY:
        yield _row(f"Teacher, {name}", groups, of("teacher", key), show, missing)
    yield _row(
        "Test images",
        groups,
        lambda run: float(run.evaluation.images) if run.evaluation else None,
        count,
        missing,
    )


def leaks(groups: Sequence[Group]) -> Iterator[Row]:
    """What the audit found of each release channel, by its primary attack."""
    power = [_words(_power(shadows) for shadows in map(_shadows, group)) for group in groups]
    yield Row("Audit", tuple(map(Entry, power)))
    audited = [shadows for group in groups for run in group if (shadows := _shadows(run))]
    if not audited:
        return
    for channel, words in CHANNELS.items():
        yield from _attack(groups, f"{words}, records", partial(_record, channel=channel))
        yield from _attack(groups, f"{words}, patients", partial(_patient, channel=channel))
        if any(shadows.canaries and channel in shadows.canaries for shadows in audited):
            of = partial(_canaries, channel=channel)
            yield _row(f"{words}, planted records: attack AUC", groups, of, decimal, "none planted")
    yield _row(
        "Student: empirical epsilon, at least",
        groups,
        lambda run: f.epsilon.value if (f := _record(run, "student")) and f.epsilon else None,
        decimal,
        "not audited",
    )
    yield _row(
        "Members with a copy, beyond chance",
        groups,
        lambda run: shadows.copies.excess if (shadows := _shadows(run)) else None,
        percent,
        "not audited",
    )


def _attack(
    groups: Sequence[Group], words: str, of: Callable[[RunResults], Figures | None]
) -> Iterator[Row]:
    """Two rows, or none where no run has them."""
    if not any(of(run) for group in groups for run in group):
        return

    def rate(run: RunResults) -> Number:
        figures = of(run)
        return figures.tpr_at_fpr.get("0.01") if figures else None

    def auc(run: RunResults) -> Number:
        figures = of(run)
        return figures.auc if figures else None

    yield _row(f"{words}: found at 1% false alarms", groups, rate, percent, "not audited")
    yield _row(f"{words}: attack AUC", groups, auc, decimal, "not audited")


def _shadows(run: RunResults) -> ShadowAudit | None:
    return run.audit.shadows if run.audit else None


def _power(shadows: ShadowAudit | None) -> str:
    if shadows is None:
        return "not audited"
    verdict = "" if shadows.powered else "too weak to conclude; "
    return f"{verdict}{shadows.count} shadows, {count(shadows.pool)} records"


def _target(run: RunResults, channel: str) -> Target | None:
    return run.audit.targets.get(channel) if run.audit and run.audit.shadows else None


def _record(run: RunResults, channel: str) -> Figures | None:
    target, shadows = _target(run, channel), _shadows(run)
    return target.attacks.get(shadows.primary) if target and shadows else None


def _patient(run: RunResults, channel: str) -> Figures | None:
    target, shadows = _target(run, channel), _shadows(run)
    return target.groups.get(shadows.primary) if target and target.groups and shadows else None


def _canaries(run: RunResults, channel: str) -> Estimate | None:
    shadows = _shadows(run)
    arm = shadows.canaries.get(channel) if shadows and shadows.canaries else None
    return arm.attacks[shadows.primary].auc if arm and shadows else None


def formal(groups: Sequence[Group]) -> Row:
    """Epsilon and delta of each run."""

    def words(run: RunResults) -> str:
        found = run.teacher.guarantee if run.teacher else None
        if found is None:
            return "none"
        return f"epsilon {found.epsilon:.3g}, delta {found.delta:.3g}, per {found.unit}"

    return Row("Formal, per run", tuple(Entry(_words(map(words, group))) for group in groups))


def cost(groups: Sequence[Group]) -> Iterator[Row]:
    """Time and size."""
    yield _row(
        "Time of all stages",
        groups,
        lambda run: sum(r.seconds for r in run.done.values()) or None,
        duration,
    )
    yield _row(
        "Time of the shadows",
        groups,
        lambda run: sum(shadows.seconds_per_shadow) if (shadows := _shadows(run)) else None,
        duration,
        "none run",
    )
    yield _row(
        "Weights of the Student",
        groups,
        lambda run: float(run.distillation.parameters) if run.distillation else None,
        count,
    )


def settings(groups: Sequence[Group]) -> Iterator[Row]:
    """Seeds, and every setting in which columns differ."""
    yield Row("seed", tuple(Entry(_words(seed(run) for run in group)) for group in groups))
    sources = [
        f"{run.name}, {run.split.size} pixels, {run.split.data_sha256[:12]}" if run.split else NONE
        for run in (group[0] for group in groups)
    ]
    if len(set(sources)) > 1:
        yield Row("data, size and hash", tuple(map(Entry, sources)))
    versions = [group[0].version or NONE for group in groups]
    if len(set(versions)) > 1:
        yield Row("version", tuple(map(Entry, versions)))
    trees = [flat(group[0]) for group in groups]
    for name in dict.fromkeys(name for tree in trees for name in tree):
        values = [str(tree.get(name, "not set")) for tree in trees]
        if len(set(values)) > 1:
            yield Row(name, tuple(map(Entry, values)))


def seed(run: RunResults) -> str:
    """As text; `n/a` without a configuration."""
    return str(run.config.seed) if run.config else NONE


def _words(texts: Iterable[str]) -> str:
    return "; ".join(dict.fromkeys(texts))


def flat(run: RunResults) -> dict[str, Any]:
    """`section.field` -> value of all settings that may change a result."""

    def leaves(tree: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
        for name, value in tree.items():
            if isinstance(value, Mapping):
                yield from leaves(value, f"{prefix}{name}.")
            else:
                yield prefix + name, value

    return dict(leaves({k: v for k, v in run.settings().items() if k not in NOT_COMPARED}))


def data(run: RunResults) -> tuple[str, int, int] | None:
    """What makes figures comparable: hash of the data, size and channels of the images."""
    return (run.split.data_sha256, run.split.size, run.split.channels) if run.split else None
