"""The whole job from Python."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from knowledge_recycling import classifiers, pipeline
from knowledge_recycling import data as images_door
from knowledge_recycling.config import Config
from knowledge_recycling.storage.run_dir import RunDir


def run(
    data: str | Path | tuple[np.ndarray, ...],
    out: str | Path,
    *,
    preset: str = "fast",
    seed: int = 0,
    until: str = pipeline.NAMES[-1],
    settings: tuple[str, ...] = (),
) -> RunDir:
    """Runs all stages, or goes on with a run that was stopped.

    Args:
        data: `digits`, a path, a MedMNIST name, or arrays (images, labels) or (images, labels,
            groups): images (n, h, w) or (n, h, w, c), uint8 or float in 0..1. Arrays are kept in
            `out`/source.npz, so that the run can be resumed from the command line.
        out: run directory.
        preset: `demo`, `fast` or `paper`.
        seed: all randomness comes from it.
        until: last stage to run.
        settings: `stage.field=value` strings.

    Returns:
        The run directory; `.result("evaluation").cas_gap` is what the Student costs.

    Raises:
        KRError: bad input, found before any training.

    Example:
        >>> import knowledge_recycling as kr
        >>> student = kr.run("digits", "runs/digits", preset="demo")  # doctest: +SKIP
        >>> student.result("evaluation").cas_gap                   # doctest: +SKIP
    """
    run_dir = RunDir(out)
    source = data
    if isinstance(data, tuple):
        source = images_door.save_arrays(run_dir.path / "source.npz", *data)
    config = Config.resolve(str(source), preset=preset, settings=settings, seed=seed)
    pipeline.run(config, run_dir, until)
    return run_dir


def student(run: RunDir) -> nn.Module:
    """The Student, in eval mode on the CPU: images (n, c, h, w) in -1..1 to logits (n, C).

    Class names are in `run.split().class_names`.
    """
    run.result("distillation")
    return classifiers.load(run.path / "distillation" / "network")


def predictions(run: RunDir) -> dict[str, Any]:
    """Labels (n,) and logits (n, C) of `teacher` and `student` on test. They are private."""
    with np.load(run.path / "evaluation" / "predictions.npz", allow_pickle=False) as arrays:
        return dict(arrays)
