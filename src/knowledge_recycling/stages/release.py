"""After all stages, on request: the bundle that is given away.

It holds the Student, the cards, the report and, where asked for, a synthetic set; neither Teacher
nor Generator, and nothing about a single record.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy as np

from knowledge_recycling import artefacts, classifiers, reporting
from knowledge_recycling.bundle import cards, contents, croissant, onnx_export, synthetic_set
from knowledge_recycling.bundle.facts import Facts, SyntheticFacts
from knowledge_recycling.bundle.form import NOT_STATED
from knowledge_recycling.bundle.synthetic_set import Labelled
from knowledge_recycling.config import Config
from knowledge_recycling.errors import KRError
from knowledge_recycling.storage.files import (
    file_digest,
    json_bytes,
    read_table,
    write_bytes,
    write_json,
)
from knowledge_recycling.storage.run_dir import RunDir
from knowledge_recycling.training.runtime import Runtime
from knowledge_recycling.training.seeds import derive

ROUNDS = 10
"""Copies are drawn again this often; a Generator that makes more of them is not for release."""
NO_LICENCE = "No licence is stated. Ask the owner before you use, change or pass on these files.\n"


@dataclass(frozen=True)
class Wanted:
    """A synthetic set to be drawn."""

    count: int
    labels: str
    """`soft`, `hard` or `rounded:DECIMALS`."""
    is_copy: Callable[[np.ndarray], np.ndarray] | None
    """Images (k, h, w, c) uint8 to (k,) bool: which are copies of private images. None in a run
    with a formal guarantee: to choose by private images would end it."""


def run(config: Config, run_dir: RunDir, out: Path, facts: Facts, wanted: Wanted | None) -> None:
    """Writes a bundle into the empty folder `out`, SHA256SUMS last.

    Raises:
        KRError: a stage has not run, or the Generator makes copies only.
    """
    student = artefacts.saved_classifier(run_dir, "distillation")
    spec = cast("classifiers.Spec", read_table(run_dir.artefact("distillation", "network.json")))
    classifiers.save(out / "student", student, spec)
    onnx_export.write(out / "student.onnx", student, facts.class_names, facts.channels, facts.size)
    if wanted:
        made, about = _draw(config, run_dir, wanted)
        facts = facts.model_copy(update={"synthetic": about})
        folder = out / "synthetic"
        folder.mkdir()
        synthetic_set.write(folder, made)
        write_bytes(folder / "README.md", cards.data_card(facts).encode())
        parquet = file_digest(folder / "synthetic.parquet")
        write_json(folder / "croissant.json", croissant.metadata(facts, parquet))
    write_bytes(out / "README.md", cards.model_card(facts, onnx_export.OPSET).encode())
    licence = facts.form.licence_text
    write_bytes(out / "LICENSE", (NO_LICENCE if licence == NOT_STATED else f"{licence}\n").encode())
    judged = reporting.Judgement(facts.gate, facts.form, facts.override)
    page = reporting.build(run_dir.path, show_synthetic=wanted is not None, judgement=judged)
    write_bytes(out / "report.html", page["report.html"])
    write_bytes(out / contents.REPORT, json_bytes(facts.tree()))
    write_json(out / contents.SCHEMA, Facts.model_json_schema())
    # safetensors makes files for their user alone; a bundle is for others.
    (out / "student.safetensors").chmod(0o644)
    contents.seal(out)


def _draw(config: Config, run_dir: RunDir, wanted: Wanted) -> tuple[Labelled, SyntheticFacts]:
    """Draws until there are enough images that are no copies."""
    runtime = Runtime.of(config)
    teacher = artefacts.classifier(run_dir, "teacher", runtime)
    source = artefacts.chosen_source(run_dir, teacher, runtime)
    names = run_dir.split().class_names
    hidden = artefacts.hidden_classes(config, run_dir)
    if len(hidden) == len(names):
        raise KRError(
            "every class has too few images to be synthesised without copying them; "
            "distillation.tiny_classes=keep shows and releases them all the same"
        )
    images, labels, soft = [], [], []
    kept = drawn = copies = 0
    for turn in range(ROUNDS):
        seed = derive(config.seed, "release", str(turn))
        made = source.draw(wanted.count - kept, seed)
        classes = made.classes.cpu().numpy()
        pixels = made.images.permute(0, 2, 3, 1).cpu().numpy()
        may = ~np.isin(classes, hidden)
        copied = may & (wanted.is_copy(pixels) if wanted.is_copy else False)
        keep = may & ~copied
        images.append(pixels[keep])
        labels.append(classes[keep])
        soft.append(made.targets.float().cpu().numpy()[keep])
        kept, drawn, copies = kept + int(keep.sum()), drawn + len(keep), copies + int(copied.sum())
        if kept == wanted.count:
            break
    else:
        raise KRError(
            f"only {kept} of {drawn} synthetic images are no copies of private images: this "
            "Generator copies, and no set was written. Ask for fewer images, or train it on more."
        )
    y = np.concatenate(labels).astype(np.int64)
    of_labels = _labels(np.concatenate(soft), wanted.labels)
    about = SyntheticFacts(
        images=kept,
        labels=wanted.labels,
        per_class=tuple(np.bincount(y, minlength=len(names)).tolist()),
        drawn=drawn,
        copies_removed=copies if wanted.is_copy else None,
        left_out=tuple(names[y] for y in hidden),
    )
    return Labelled(np.concatenate(images), y, of_labels, names), about


def _labels(soft: np.ndarray, labels: str) -> np.ndarray | None:
    kind, _, decimals = labels.partition(":")
    if kind == "hard":
        return None
    return soft.round(int(decimals)) if kind == "rounded" else soft
