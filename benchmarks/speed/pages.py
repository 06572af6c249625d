"""docs/results/speed.md: a table for each part that the result file holds."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from statistics import median
from typing import Any

from benchmarks import common
from benchmarks.speed import audit, runs, scorers, shadows, teacher
from benchmarks.speed.turns import Measured, results

TABLE = common.DOCS / "speed.md"
ABOUT = """\
Written by `python -m benchmarks.speed` from [speed.json](../../benchmarks/results/speed.json). Each
measurement is a process of its own, on one thread unless a row says otherwise; rows take turns, so
that a busy machine slows all alike. Given are medians over the turns; a ratio is the median of
those within the same turn. Seconds are of the clock, processor seconds those of all processes
together: where other work ran on the machine, only the latter tell.

![Seconds of training, of scoring and of the audit, and of a whole run by the number of
records](../images/speed.png)
"""
WORDS = {
    "audit": f"""\
This code beside commit {audit.BEFORE}, whose intervals came from a bootstrap of 1,000 draws;
`audit_signals` with the primary attack alone, scoring included. Processor seconds.
""",
    "teacher": """\
A ResNet of width 16 on batches of 64 images of 28 x 28, shifted by up to 2 pixels, under AdamW:
`training.loop.fit` at the precision that a run would take here, and a plain loop (DataLoader over a
TensorDataset, float32, each image cropped by itself). GFLOP/s are those of the network's products,
forward and backward, in processor seconds.
""",
    "shadows": """\
The same network and number of epochs for all, batches of 64. `this package` trains through
`workers/`, and its seconds hold the start of the worker processes; `one batched training` stacks
the networks by `torch.func` and augments as this package does. The peers train without
augmentation, which is less work: `PyTorchClassifier.fit`, and the function by which SACRO-ML's LiRA
attack trains its shadows, with the plain loop above.
""",
    "scorers": """\
Every pipeline is the target once and the others are its shadows. `audit_scores` gives an attack
AUC, TPRs at 1% and 0.1% FPR and a lower bound on epsilon, each with its interval; `jax_privacy` the
same by 1,000 bootstrap draws. It has no scorer, and SACRO-ML no intervals of these figures.
""",
    "pipeline": """\
`kr run` from start to end with 20 steps of each training: what grows is all that is done once per
image. The last columns are what a further thousand records add to the row above: they stay the same
where growth is linear.
""",
    "help": """\
From the start of the process to its end.
""",
}
TITLES = {
    "audit": "The audit, before and now",
    "teacher": "The Teacher",
    "shadows": "Shadows",
    "scorers": "Scores and figures of an attack",
    "pipeline": "A whole run by the number of records",
    "help": "Help",
}
Case = Mapping[str, Sequence[Measured]]


def page() -> str:
    """The whole page."""
    return f"# Speed\n\n{ABOUT}\n{table()}"


def table() -> str:
    """A section for each part that has been measured."""
    found = results()
    return "\n".join(_section(part, found[part]) for part in TITLES if part in found)


def _section(part: str, found: Mapping[str, Any]) -> str:
    made = TABLES[part](found["cases"])
    where = f"{found['repeats']} turns at commit {found['code']}; {found['machine']}"
    others = ", ".join(f"{name} {version}" for name, version in found["peers"].items())
    lines = [f"## {TITLES[part]}", "", WORDS[part], *made]
    if part in PEERS:
        missing = [peer for case, peer in PEERS[part] if peer not in found["cases"][case]]
        lines += ["", f"Not measured, for lack of it: {'; '.join(missing)}."] * bool(missing)
        where += f"; {others}" * bool(others)
    return "\n".join([*lines, "", where + ".", ""])


def middle(turns: Sequence[Measured], key: str) -> float | None:
    """Median over the turns; None where they do not tell."""
    values = [turn[key] for turn in turns if key in turn]
    return median(values) if values else None


def ratio(turns: Sequence[Measured], to: Sequence[Measured], key: str) -> float:
    """Median over the turns of how many times as much as another version took."""
    return median(a[key] / b[key] for a, b in zip(turns, to, strict=False))


def _shown(value: float | None) -> str:
    """Three digits, or nothing."""
    if value is None:
        return ""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _row(*cells: str | float | None) -> str:
    return f"| {' | '.join(cell if isinstance(cell, str) else _shown(cell) for cell in cells)} |"


def _head(*cells: str) -> list[str]:
    return [_row(*cells), "|" + "---|" * len(cells)]


def _audit(cases: Mapping[str, Case]) -> list[str]:
    rows = _head("", "seconds before", "now", "ratio", "MiB before", "now")
    for name, of in cases.items():
        before, now = of.get("before", []), of["now"]
        faster = ratio(before, now, "processor") if before else None
        took = [middle(turns, "processor") for turns in (before, now)]
        rows.append(_row(name, *took, faster, middle(before, "mib"), middle(now, "mib")))
    return rows


def _versions(cases: Mapping[str, Case]) -> list[str]:
    """Each case's versions beside the first of them."""
    rows = []
    for name, versions in cases.items():
        first = next(iter(versions.values()))
        rows += ["", *_head(name, "seconds", "times the first", "processor seconds", "times")]
        for version, turns in versions.items():
            cells = []
            for key in ("seconds", "processor"):
                cells += [middle(turns, key), ratio(turns, first, key)]
            rows.append(_row(version, *cells))
    return rows[1:]


def rates(cases: Mapping[str, Case]) -> dict[str, float]:
    """GFLOP/s of each version of the Teacher's training and of the matrix products."""
    return {
        version: median(turn["flops"] / turn["processor"] / 1e9 for turn in turns)
        for versions in cases.values()
        for version, turns in versions.items()
    }


def _teacher(cases: Mapping[str, Case]) -> list[str]:
    every = rates(cases)
    rows = [*_versions({teacher.TRAINING: cases[teacher.TRAINING]}), ""]
    rows += _head("", "precision", "GFLOP/s", "of the float32 product")
    for versions in cases.values():
        for version, turns in versions.items():
            taken = sorted({turn.get("precision", version) for turn in turns})
            share = 100 * every[version] / every["float32"]
            name = version if "precision" in turns[0] else f"{version} matrix product"
            rows.append(_row(name, ", ".join(taken), every[version], f"{share:.0f}%"))
    return rows


def _pipeline(cases: Mapping[str, Case]) -> list[str]:
    rows = _head(
        "records", "seconds", "processor seconds", "per 1,000", "MiB",
        "processor seconds per 1,000 more", "MiB per 1,000 more",
    )  # fmt: skip
    last: tuple[float, ...] | None = None
    for name, count in zip(cases, runs.RECORDS, strict=True):
        (turns,) = cases[name].values()
        now = [median(turn[key] for turn in turns) for key in ("seconds", "processor", "mib")]
        more: list[float | None] = [None, None]
        if last:
            thousands = (count - last[0]) / 1000
            more = [(now[1] - last[2]) / thousands, (now[2] - last[3]) / thousands]
        rows.append(_row(f"{count:,}", now[0], now[1], now[1] / count * 1000, now[2], *more))
        last = (count, *now)
    return rows


def _help(cases: Mapping[str, Case]) -> list[str]:
    (versions,) = cases.values()
    rows = _head("", "seconds", "processor seconds", "MiB")
    for version, turns in versions.items():
        cells = [middle(turns, key) for key in ("seconds", "processor", "mib")]
        rows.append(_row(f"`{version}`", *cells))
    return rows


TABLES: dict[str, Callable[[Mapping[str, Case]], list[str]]] = {
    "audit": _audit,
    "teacher": _teacher,
    "shadows": _versions,
    "scorers": _versions,
    "pipeline": _pipeline,
    "help": _help,
}
PEERS = {
    "shadows": [(shadows.CASE, peer) for peer in shadows.PEERS],
    "scorers": [(scorers.LIRA, scorers.SACRO), (scorers.FIGURES, scorers.JAX)],
}
"""Case and version of what is measured where the peers are installed."""
