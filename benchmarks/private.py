"""What a formal guarantee costs: private Teachers at several epsilon, and their Students.

    python -m benchmarks.private --data DIR --sets breastmnist retinamnist --seeds 5

DIR holds `<set>.npz` files. For each set, epsilon and seed, train and validation are drawn anew
(by patient where patients are known) and noise is drawn anew; test is that of the file and chooses
nothing. Features are computed once per set: they hold no private bit. `none` is the same head
without noise. What is there already is left alone. `--table` writes the table from those files.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks import common, private_resnet, utility
from knowledge_recycling import data
from knowledge_recycling.artefacts import guarantee
from knowledge_recycling.classifiers import linear_head, metrics, private
from knowledge_recycling.config import Config
from knowledge_recycling.features import BLOCKS, LARGEST, Features
from knowledge_recycling.generators import moments
from knowledge_recycling.generators.mixture import Mixture
from knowledge_recycling.privacy import accountant, noise
from knowledge_recycling.privacy.clipping import Units
from knowledge_recycling.privacy.mechanisms import Budget
from knowledge_recycling.statistics.rates import mean_interval
from knowledge_recycling.storage.files import read_json, write_bytes, write_json
from knowledge_recycling.synthesis import linear_student
from knowledge_recycling.synthesis.parameters import Parameters
from knowledge_recycling.synthesis.source import Source
from knowledge_recycling.training.runtime import Runtime

RESULTS = common.RESULTS / "private"
TABLE = common.DOCS / "private.md"
EPSILONS = (0.5, 1.0, 3.0, 8.0, None)
DELTA = 1e-5
NOISELESS_MU = 5.0
"""Stands for the step size of the head without noise."""
FIGURES = ("accuracy", "auc", "balanced_accuracy")


def main() -> None:
    """Parses the command line and runs what is missing."""
    parser = common.parser(__doc__, list(common.SYMMETRY))
    parser.set_defaults(seeds=5)
    arguments = parser.parse_args()
    if not arguments.table:
        code = common.commit()
        for name in arguments.sets:
            one_set(arguments.data, name, arguments.seeds, code)
    write_bytes(TABLE, f"# Private runs\n\n{table()}".encode())
    page = common.README.read_text(encoding="utf-8")
    write_bytes(common.README, common.quoted(page, "private", short_table()).encode())
    sys.stdout.write(table())


def one_set(folder: Path, name: str, seeds: int, code: str) -> None:
    """Runs what is missing of a set."""
    config = Config.resolve(str(folder / f"{name}.npz"))
    record = data.describe(data.open_source(config.data), config.data, config.seed)
    train, val, test = data.load(config.data, record, "train", "val", "test")
    pool = Pool.of(train, val)
    classes = len(record.class_names)
    begin = time.monotonic()
    features = Features.make(channels=record.channels, symmetry=common.SYMMETRY[name])
    z_pool, z_test = features.of_bytes(pool.images), features.of_bytes(test.images)
    about = {
        "dataset": name,
        "delta": DELTA,
        "unit": "image" if pool.groups is None else "patient",
        "symmetry": common.SYMMETRY[name],
        "train_images": len(train),
        "patients": None if train.groups is None else len(np.unique(train.groups)),
        "test_images": len(test),
        "seconds_features": round(time.monotonic() - begin, 1),
        "command": f"python -m benchmarks.private --data DIR --sets {name} --seeds {seeds}",
        "machine": common.processor(),
        "data_sha256": record.data_sha256,
        "commit": code,
    }
    for epsilon in EPSILONS:
        for seed in range(seeds):
            target = RESULTS / f"{name}-{epsilon or 'none'}-s{seed}.json"
            if target.exists():
                continue
            inside = pool.draw(len(train), seed)
            found = _one(pool, z_pool, z_test, test.labels, inside, classes, epsilon, name, seed)
            write_json(target, {**about, "epsilon": epsilon, "seed": seed, **found})


class Pool:
    """Train and validation images together."""

    def __init__(self, images: np.ndarray, labels: np.ndarray, groups: np.ndarray | None) -> None:
        self.images, self.labels, self.groups = images, labels, groups

    @classmethod
    def of(cls, train: data.Split, val: data.Split) -> Pool:
        """Of the two splits."""
        groups = None
        if train.groups is not None and val.groups is not None:
            groups = np.concatenate([train.groups, val.groups])
        return cls(
            np.concatenate([train.images, val.images]),
            np.concatenate([train.labels, val.labels]),
            groups,
        )

    def draw(self, count: int, seed: int) -> np.ndarray:
        """Positions of about `count` images, whole patients where they are known."""
        random = np.random.default_rng(seed)
        if self.groups is None:
            return np.sort(random.permutation(len(self.labels))[:count])
        patients = random.permutation(np.unique(self.groups))
        sizes = np.cumsum([np.count_nonzero(self.groups == who) for who in patients])
        return np.flatnonzero(np.isin(self.groups, patients[: np.searchsorted(sizes, count) + 1]))


def _one(
    pool: Pool,
    z_pool: np.ndarray,
    z_test: np.ndarray,
    truth: np.ndarray,
    inside: np.ndarray,
    classes: int,
    epsilon: float | None,
    name: str,
    seed: int,
) -> dict[str, Any]:
    begin = time.monotonic()
    labels = pool.labels[inside]
    groups = None if pool.groups is None else pool.groups[inside]
    units = Units() if groups is None else Units("patient", groups)
    mu = NOISELESS_MU if epsilon is None else accountant.mu(epsilon, DELTA)
    source = _silent if epsilon is None else noise.gaussian
    release = private.release(
        lambda block: narrowed(z_pool[inside], block),
        labels,
        classes,
        units=units,
        budget=Budget(mu, guarantee.SHARES["teacher"]),
        noise=source,
    )
    logits = linear_head.inputs(narrowed(z_test, release.block), release.centre) @ release.weights
    found: dict[str, Any] = {"teacher": _figures(logits, truth), "block": release.block}
    if seed == 0:
        features = Features.make(
            channels=pool.images.shape[3], symmetry=common.SYMMETRY[name], block=release.block
        )
        generator = moments.fit(
            pool.images[inside],
            labels,
            release.counts,
            units=units,
            mu=Budget(mu, guarantee.SHARES["generator"]).spend("moments"),
            noise=source,
        )
        counts = tuple(max(1, round(c)) for c in release.counts)
        runtime = Runtime(torch.device("cpu"), "fp32")
        made = Source(
            Mixture([generator]).eval(),
            private.network_of(release, features),
            Parameters(prior="balanced"),
            counts,
            runtime,
        )
        student, _ = linear_student.learn(made, seed)
        weights = student.weights.detach().double().numpy()
        x = linear_head.inputs(narrowed(z_test, release.block), release.centre)
        found["student"] = _figures(x @ weights, truth)
    return found | {"seconds": round(time.monotonic() - begin, 1)}


def narrowed(z: np.ndarray, block: int) -> np.ndarray:
    """Features with smaller blocks: the first of each, made unit vectors again."""
    parts = [z[:, i * LARGEST : i * LARGEST + block] for i in range(BLOCKS)]
    units = [p / np.maximum(np.linalg.norm(p, axis=1, keepdims=True), 1e-12) for p in parts]
    return np.concatenate(units, 1) / np.float32(BLOCKS**0.5)


def _silent(shape: tuple[int, ...], scale: float) -> np.ndarray:
    return np.zeros(shape)


def _figures(logits: np.ndarray, truth: np.ndarray) -> dict[str, float]:
    found = metrics.classification(linear_head.softmax(logits), truth)
    return {name: getattr(found, name) for name in FIGURES}


def table() -> str:
    """Accuracy / AUC / balanced accuracy on test by set and epsilon, means over the seeds.

    The last column is of another run, see `private_resnet`.
    """
    found, resnets = results(), private_resnet.accuracies()
    names = sorted({name for name, _ in found})
    head = (
        "| set (train images, unit) | epsilon | seeds | Teacher | diagnostic AUC | balanced "
        "| Student | ResNet Student |"
    )
    lines = [head, "|---" * 8 + "|"]
    for name in names:
        for epsilon in EPSILONS:
            if runs := found.get((name, epsilon)):
                resnet = resnets.get((name, epsilon))
                last = "" if resnet is None else f"{resnet:.1%}"
                lines.append(f"{_row(name, epsilon, runs)} {last} |")
    return "\n".join(lines) + "\n"


def results() -> dict[tuple[str, float | None], list[dict[str, Any]]]:
    """The result files by (dataset, epsilon), seeds in order."""
    found: dict[tuple[str, float | None], list[dict[str, Any]]] = {}
    for path in sorted(RESULTS.glob("*.json")):
        result = read_json(path)
        found.setdefault((result["dataset"], result["epsilon"]), []).append(result)
    return found


def short_table() -> str:
    """README's table: accuracy (balanced accuracy) of the private Teacher, beside the ordinary."""
    found, ordinary = results(), common.by_set(utility.RESULTS)
    lines = ["| set, unit | epsilon 1 | 3 | 8 | `fast`, no guarantee |", "|---|---|---|---|---|"]
    for name in sorted({name for name, _ in found}):
        cells = [_short(found.get((name, epsilon), [])) for epsilon in (1.0, 3.0, 8.0)]
        unit = next(runs[0]["unit"] for (of, _), runs in found.items() if of == name)
        cells.append(_short(ordinary.get((name, "fast"), [])))
        lines.append(f"| {name}, {unit} | {' | '.join(cells)} |")
    return "\n".join([*lines, _mean_loss(found, ordinary)]) + "\n"


def _mean_loss(found: Mapping[Any, Any], ordinary: Mapping[Any, Any]) -> str:
    """The last row: what the guarantee costs against `fast`, mean over the sets that have both."""
    names = sorted({name for name, _ in found if (name, "fast") in ordinary})
    cells = []
    for epsilon in (1.0, 3.0, 8.0):
        losses = [
            [
                _mean(ordinary[name, "fast"], key) - _mean(found[name, epsilon], key)
                for name in names
            ]
            for key in ("accuracy", "balanced_accuracy")
        ]
        accuracy, balanced = np.mean(losses, axis=1)
        cells.append(f"{accuracy:.1f} points ({balanced:.1f})")
    return f"| mean loss, {len(names)} sets | {' | '.join(cells)} | |"


def _mean(runs: list[dict[str, Any]], key: str) -> float:
    return 100 * float(np.mean([run["teacher"][key] for run in runs]))


def _short(runs: list[dict[str, Any]]) -> str:
    if not runs:
        return "not measured"
    return f"{_mean(runs, 'accuracy'):.1f}% ({_mean(runs, 'balanced_accuracy'):.1f})"


def _row(name: str, epsilon: float | None, results: list[dict[str, Any]]) -> str:
    first = results[0]
    values = {key: [r["teacher"][key] for r in results] for key in FIGURES}
    accuracy = mean_interval([100 * value for value in values["accuracy"]])
    ends = f" ({accuracy.low:.1f} to {accuracy.high:.1f})" if len(results) > 1 else ""
    student = next((r["student"]["accuracy"] for r in results if "student" in r), None)
    return (
        f"| {name} ({first['train_images']:,}, {first['unit']}) "
        f"| {epsilon or 'no noise'} | {len(results)} | {accuracy.value:.1f}%{ends} "
        f"| {np.mean(values['auc']):.3f} | {100 * np.mean(values['balanced_accuracy']):.1f}% "
        f"| {'' if student is None else f'{100 * student:.1f}%'} |"
    )


if __name__ == "__main__":
    main()
