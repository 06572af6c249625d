"""A fabricated run directory, written by the result models; its numbers are made up here."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from knowledge_recycling.auditing.figures import (
    CanaryArm,
    Control,
    Copies,
    Estimate,
    Figures,
    OneRun,
    Power,
    Single,
    Target,
)
from knowledge_recycling.config import Config
from knowledge_recycling.results import (
    AuditResult,
    Calibration,
    Candidate,
    ClassLikeness,
    Diagnostics,
    DistillationResult,
    EvaluationResult,
    Finalist,
    GeneratorResult,
    LabelsLook,
    Likeness,
    Look,
    Result,
    SelectionResult,
    ShadowAudit,
    Sizes,
    SplitRecord,
    TeacherResult,
    Trial,
    TuningResult,
    Utility,
    Validation,
    Yardstick,
    YardstickSizes,
)
from knowledge_recycling.storage.files import write_json
from knowledge_recycling.synthesis.parameters import Parameters

STAGES = ("teacher", "generator", "selection", "tuning", "distillation", "evaluation", "audit")
PRIVATE = "/home/somebody/patients-2019"
MakeRun = Callable[..., Path]


def make_run(
    run: Path,
    *,
    names: Sequence[str] = ("cat", "dog", "owl"),
    until: str = "audit",
    gap: float = -0.009,
    student_recall: Sequence[float] | None = None,
    smallest: int = 40,
    warning: str | None = None,
    channels: int = 1,
    shadows: str = "",
) -> Path:
    """Writes a whole run (up to a stage) as the stages would, from a fixed seed.

    `shadows`: "found", "weak" (the Teacher's leak is not found), "telling" (membership can be
    seen in the images), or empty for none.
    """
    rng = np.random.default_rng(0)
    counts = [smallest + 10 * i for i in range(len(names))]
    run.mkdir(parents=True)
    (run / "config.yaml").write_text(_config().dump())
    write_json(run / "split.json", _split(names, counts, channels).tree())
    writers: dict[str, Callable[[], Result]] = {
        "teacher": lambda: _teacher(run, rng),
        "generator": lambda: _generator(run, rng, warning),
        "selection": _selection,
        "tuning": lambda: _tuning(rng),
        "distillation": lambda: _distillation(run, rng, len(names), channels),
        "evaluation": lambda: _evaluation(rng, counts, gap, student_recall),
        "audit": lambda: _audit(run, rng, shadows),
    }
    common = {
        "seconds": 12.5,
        "peak_memory_bytes": 2**30,
        "finished": "2026-11-20T09:30:00+00:00",
        "versions": {"knowledge-recycling": "0.1.0", "python": "3.11.7", "torch": "2.13.0"},
        "machine": "made-up machine, 2 cores",
        "device": "cpu",
        "precision": "fp32",
    }
    for stage in STAGES[: STAGES.index(until) + 1]:
        (run / stage).mkdir()
        put(run, writers[stage]().model_copy(update=common))
    return run


def put(run: Path, result: Result) -> None:
    """Writes a result, checked anew: `model_copy` takes any value."""
    checked = type(result).model_validate(result.tree())
    write_json(run / result.stage / "result.json", checked.tree())


def _rows(path: Path, rows: list[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def _config() -> Config:
    data = {"source": PRIVATE, "groups": f"{PRIVATE}/groups.csv", "size": 28}
    return Config.parse({"preset": "demo", "seed": 7, "data": data, "teacher": {"steps": 400}})


def _split(names: Sequence[str], counts: Sequence[int], channels: int) -> SplitRecord:
    return SplitRecord(
        name="Made-up animals",
        data_sha256="c0ffee" * 10,
        size=28,
        channels=channels,
        class_names=tuple(names),
        has_groups=False,
        notes=("3 duplicates across splits", f"resized from {PRIVATE}/x.png"),
        drawn=("val",),
        counts={
            "train": tuple(9 * n for n in counts),
            "val": tuple(counts),
            "test": tuple(counts),
        },
        indices={"train": (123456789,)},
    )


def _teacher(run: Path, rng: np.random.Generator) -> TeacherResult:
    rows: list[dict[str, Any]] = []
    for step in range(1, 401, 4):
        decay = float(np.exp(-step / 120))
        rows.append({"step": step, "loss": decay + 0.1 * rng.random(), "learning_rate": 1e-3})
        if step % 20 == 1:
            rows[-1] |= {
                "val_accuracy": 0.9 - 0.5 * decay,
                "val_auc": 0.95,
                "val_loss": decay + 0.2,
            }
    _rows(run / "teacher" / "metrics.jsonl", rows)
    validation = Validation(accuracy=0.9, auc=0.9, balanced_accuracy=0.9, f1_macro=0.9, ece=0.1)
    return TeacherResult(parameters=123456, steps=400, validation=validation)


def _generator(run: Path, rng: np.random.Generator, warning: str | None) -> GeneratorResult:
    rows = [
        {
            "step": s,
            "l1": 0.3 * np.exp(-s / 300) + 0.01 * rng.random(),
            "features": 2 / s**0.5,
            "kl": 0.01 * s**0.5,
        }
        for s in range(1, 1001, 5)
    ]
    _rows(run / "generator" / "metrics.jsonl", rows)
    return GeneratorResult(
        method="latent",
        count=2,
        parameters=654321,
        steps=1000,
        snapshots=(400, 600, 800, 1000),
        warning=warning,
    )


def _selection() -> SelectionResult:
    table = tuple(
        Candidate(
            snapshot=step,
            screen=Look(accuracy=0.6 + step / 5000, auc=0.8 + step / 10000, loss=1.2),
            final=Look(accuracy=0.7 + step / 5000, auc=0.9, loss=0.8) if step > 600 else None,
        )
        for step in (400, 600, 800, 1000)
    )
    return SelectionResult(snapshot=1000, table=table)


def _tuning(rng: np.random.Generator) -> TuningResult:
    keys = ("latent_std", "prior", "temperature", "filter_threshold")
    table = []
    for trial in range(12):
        setting = (
            0.8 + rng.random(),
            ("real", "balanced")[trial % 2],
            0.5 + 2 * rng.random(),
            0.8 * rng.random(),
        )
        values = setting if trial else (1.0, "real", 1.0, 0.0)
        score = 0.86 - 0.1 * (values[0] - 1.2) ** 2 + 0.01 * rng.random()
        table.append(
            Trial.model_validate(
                {
                    "trial": trial,
                    "state": "pruned" if trial in (4, 9) else "complete",
                    "accuracy": score,
                    "auc": 0.96,
                    "loss": 0.5,
                    **dict(zip(keys, values, strict=True)),
                }
            )
        )
    finalists = tuple(
        Finalist(trial=t, accuracy=0.87 + 0.001 * t, auc=0.97, loss=0.45, chosen=t == 5)
        for t in (0, 3, 5)
    )
    return TuningResult(
        parameters=table[5].parameters,
        default=table[0].parameters,
        table=tuple(table),
        finalists=finalists,
        labels="soft",
        labels_table=(
            LabelsLook(labels="hard", accuracy=0.79, auc=0.94, loss=0.6, error=0.012),
            LabelsLook(labels="soft", accuracy=0.855, auc=0.96, loss=0.5, error=0.0),
        ),
    )


def blobs(rng: np.random.Generator, classes: int, channels: int, per_class: int = 8) -> np.ndarray:
    """Smooth shapes, uint8 (C, m, 28, 28, c), a different number of dots for each class."""
    y, x = np.mgrid[:28, :28]
    images = np.zeros((classes, per_class, 28, 28, channels))
    for index in np.ndindex(classes, per_class):
        for _ in range(index[0] + 1):
            a, b, r = rng.uniform(6, 22), rng.uniform(6, 22), rng.uniform(2, 4)
            bump = np.exp(-((x - a) ** 2 + (y - b) ** 2) / (2 * r**2))
            images[index] += bump[..., None] * rng.uniform(0.4, 1, channels)
    return (255 * np.clip(images, 0, 1)).astype(np.uint8)


def _distillation(
    run: Path, rng: np.random.Generator, classes: int, channels: int
) -> DistillationResult:
    rows = [
        {"step": s, "loss": 1.5 * np.exp(-s / 200) + 0.2 + 0.05 * rng.random()}
        for s in range(1, 801, 4)
    ]
    _rows(run / "distillation" / "metrics.jsonl", rows)
    labels = rng.dirichlet(np.ones(classes) * 0.2, (classes, 8)).astype(np.float32)
    labels = 0.3 * labels + 0.7 * np.eye(classes, dtype=np.float32)[:, None]
    np.savez(
        run / "distillation" / "samples.npz",
        images=blobs(rng, classes, channels),
        soft_labels=labels,
    )
    np.savez(run / "real_examples.npz", images=blobs(rng, classes, channels))
    return DistillationResult(
        parameters=123456,
        steps=800,
        labels="soft",
        regeneration_period=1,
        synthetic_images=102400,
        acceptance=0.83,
        snapshot=1000,
        synthesis=Parameters(),
    )


def _classifier(
    rng: np.random.Generator, counts: Sequence[int], recall: Sequence[float], accuracy: float
) -> Utility:
    classes = len(counts)
    confusion = np.zeros((classes, classes), int)
    for i, (n, r) in enumerate(zip(counts, recall, strict=True)):
        confusion[i, i] = round(n * r)
        others = [j for j in range(classes) if j != i]
        confusion[i, others] += rng.multinomial(
            n - confusion[i, i], np.ones(classes - 1) / (classes - 1)
        )
    edges = (np.arange(15) + 0.5) / 15
    used = edges > 0.3
    bins = list(zip(edges, used, strict=True))
    return Utility(
        accuracy=accuracy,
        auc=0.9712,
        balanced_accuracy=float(np.mean(recall)),
        f1_macro=0.8765,
        ece=0.0312,
        recall=tuple(recall),
        confusion=tuple(map(tuple, confusion.tolist())),
        calibration=Calibration(
            confidence=tuple(float(e) if u else None for e, u in bins),
            accuracy=tuple(float(0.93 * e) if u else None for e, u in bins),
            count=tuple(int(200 * e**6) + 1 if u else 0 for e, u in bins),
        ),
        accuracy_interval=_estimate(accuracy, 0.021),
    )


def _evaluation(
    rng: np.random.Generator,
    counts: Sequence[int],
    gap: float,
    student_recall: Sequence[float] | None,
) -> EvaluationResult:
    recall = [0.9 - 0.02 * i for i in range(len(counts))]
    student = list(student_recall or [r + gap for r in recall])
    return EvaluationResult(
        images=sum(counts),
        teacher=_classifier(rng, counts, recall, 0.89),
        student=_classifier(rng, counts, student, 0.89 + gap),
        cas_gap=_estimate(100 * gap, 1.5),
        agreement=0.934,
        diagnostics=_diagnostics(counts),
    )


def _diagnostics(counts: Sequence[int]) -> Diagnostics:
    """The second class is hardly covered; the last has too few synthetic images."""
    names = tuple(Likeness.model_fields)
    synthetic, real, low = (
        Likeness(**dict(zip(names, values, strict=True)))
        for values in (
            (4.25, 0.125, 0.91, 0.81, 0.71, 0.61, 0.98),
            (1.5, -0.0625, 0.96, 0.95, 1.01, 0.965, 0.97),
            (20.5, 5.5, 0.91, 0.31, 0.72, 0.21, 0.98),
        )
    )
    rows = [low if c == 1 else synthetic for c in range(len(counts) - 1)]
    rows.append(Likeness(**dict.fromkeys(names)))
    made = [*counts[:-1], 3]
    return Diagnostics(
        space="teacher penultimate features",
        reference="test",
        neighbours=5,
        images=Sizes(reference=sum(counts), synthetic=sum(made)),
        overall=synthetic,
        per_class=tuple(
            ClassLikeness(images=Sizes(reference=n, synthetic=m), **dict(row))
            for n, m, row in zip(counts, made, rows, strict=True)
        ),
        yardstick=Yardstick(
            images=YardstickSizes(reference=74, compared=76), synthetic=synthetic, real=real
        ),
    )


def _audit(run: Path, rng: np.random.Generator, shadows: str) -> AuditResult:
    curves: dict[str, np.ndarray] = {}
    targets: dict[str, Target] = {}
    for target, leak in (("teacher", 0.07), ("student", 0.005)):
        attacks = {}
        for i, attack in enumerate(("confidence", "loss", "entropy")):
            auc = 0.5 + leak + 0.003 * i
            fpr = np.sort(rng.random(400))
            curves |= {
                f"{target}.{attack}.fpr": fpr,
                f"{target}.{attack}.tpr": fpr ** (1 / auc - 1),
            }
            rate = Estimate(0.01 + leak / 5, 0.008, 0.03)
            attacks[attack] = Figures(_estimate(auc), {"0.01": rate}, aop=0.85, protocol="paper")
        targets[target] = Target(attacks, aop=0.84, strongest="entropy")
    about = _add_shadows(targets, curves, shadows) if shadows else None
    np.savez(run / "audit" / "curves.npz", allow_pickle=False, **curves)
    warning = "The splits may come from other sources."
    return AuditResult(
        protocols=("paper", "shadows") if shadows else ("paper",),
        warning=warning,
        members=1350,
        nonmembers=150,
        targets=targets,
        shadows=about,
    )


def _estimate(value: float, half: float = 0.02) -> Estimate:
    return Estimate(value, value - half, value + half)


def _figures(area: float) -> Figures:
    rates = {"0.01": _estimate(0.03, 0.01), "0.001": None}
    return Figures(_estimate(area), rates, protocol="shadows")


def _add_shadows(
    targets: dict[str, Target], curves: dict[str, np.ndarray], shadows: str
) -> ShadowAudit:
    areas = {
        "teacher": 0.505 if shadows == "weak" else 0.62,
        "student": 0.535,
        "synthetic": 0.51,
        "soft_labels": 0.512,
        "hard_labels": 0.501,
        "tempered_labels": 0.513,
        "rounded_labels": 0.508,
    }
    grid = np.geomspace(1e-3, 1, 31)
    for channel, area in areas.items():
        target = targets.get(channel, Target({}))
        found = {"threshold": _figures(0.5), "shrunken_t": _figures(area)}
        targets[channel] = replace(
            target,
            attacks=target.attacks | found,
            groups={"shrunken_t": _figures(area)},
            single=Single(_estimate(0.02, 0.01), _estimate(0.012, 0.005)),
        )
        columns = {"fpr": grid, "tpr": grid**0.9, "band_fpr": grid}
        columns |= {"band_low": grid, "band_high": grid**0.8}
        curves |= {f"shadows.{channel}.{name}": values for name, values in columns.items()}
    kinds = ("mislabelled", "outlier", "near_duplicate")
    canary = CanaryArm(
        {"shrunken_t": _figures(0.7)},
        {kind: _estimate(0.6 + 0.1 * i) for i, kind in enumerate(kinds)},
        OneRun(epsilon=0.37, correct=25, guesses=40, canaries=40, delta=0),
    )
    return ShadowAudit(
        count=16,
        pool=1290,
        patients=77,
        reuse_choices=True,
        primary="shrunken_t",
        powered=shadows == "found",
        control=Control(_estimate(0.6 if shadows == "telling" else 0.5), shadows != "telling"),
        power=Power(tpr=0.031, fpr=0.01, power=0.8, text="With 77 members, made up."),
        copies=Copies(_estimate(0.08), _estimate(0.05), _estimate(0.03)),
        canary_count=60,
        canaries=dict.fromkeys(("teacher", "student", "synthetic", "soft_labels"), canary),
        seconds_per_shadow=(10.0,) * 16,
        threads_per_shadow=1,
    )


@pytest.fixture(scope="session")
def new_run(tmp_path_factory: pytest.TempPathFactory) -> MakeRun:
    """Makes a fabricated run in a fresh folder; takes the options of `make_run`."""

    def make(**options: Any) -> Path:
        return make_run(tmp_path_factory.mktemp("runs") / "run", **options)

    return make
