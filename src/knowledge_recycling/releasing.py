"""A release from end to end: the gate decides, the stage writes; the only part that reads images.

The copy finder is made here, because the stage may not touch real images.
"""

from __future__ import annotations

import re
import shutil
import tempfile
from datetime import date
from importlib.metadata import version
from pathlib import Path

from knowledge_recycling import artefacts, data
from knowledge_recycling.auditing.gate import Gate
from knowledge_recycling.bundle.facts import Facts
from knowledge_recycling.bundle.form import Form
from knowledge_recycling.config import Config
from knowledge_recycling.errors import KRError
from knowledge_recycling.reporting.reader import RunResults
from knowledge_recycling.stages import release as stage
from knowledge_recycling.storage import verification
from knowledge_recycling.storage.run_dir import CACHE, RunDir
from knowledge_recycling.synthesis.copies import CopyFinder
from knowledge_recycling.training.runtime import Runtime

LABELS = re.compile(r"soft|hard|rounded:[1-4]")


class GateShutError(KRError):
    """A release that the gate refused.

    Args:
        exit_code: 3 outside the limits, 4 not audited or too weak.
        message: one sentence or more.
    """

    def __init__(self, exit_code: int, message: str) -> None:
        super().__init__(message)
        self.exit_code = exit_code


def channels(synthetic: int, labels: str) -> tuple[str, ...]:
    """The audit's channels of what a bundle holds.

    The audit measures labels rounded to one decimal; finer ones are judged as soft labels.
    """
    if labels and not LABELS.fullmatch(labels):
        raise KRError("labels: expected soft, hard or rounded:DECIMALS with 1 to 4 decimals")
    if not synthetic:
        return ("student",)
    of_labels = {"hard": "hard_labels", "rounded:1": "rounded_labels"}.get(labels, "soft_labels")
    return ("student", "synthetic", of_labels)


def release(
    run_dir: RunDir,
    out: Path,
    gate: Gate,
    *,
    synthetic: int,
    labels: str,
    override: str | None,
    form: Form,
) -> None:
    """Writes a bundle.

    Args:
        run_dir: a run with all its stages.
        out: a folder that is not there yet.
        gate: the decision on all `channels`.
        synthetic: images of the synthetic set; 0: none.
        labels: of the synthetic set.
        override: why a bundle is written although the gate is shut.
        form: what only people know.

    Raises:
        GateShutError: the gate is shut.
        KRError: the run has changed, or `out` is there already.
    """
    if gate.exit_code and not override:
        raise GateShutError(
            gate.exit_code,
            f"the gate is shut. {gate.sentence} Nothing was written. Whoever answers for the data "
            "can override it with a reason, which the cards then show.",
        )
    if out.exists():
        raise KRError(f"{out}: is there already; give a new folder for the bundle")
    if run_dir.path.resolve() in out.resolve().parents:
        raise KRError(f"{out}: lies in the run directory, which is private; give another folder")
    verification.verify(run_dir, shadows=False)
    config = Config.load(run_dir.path / "config.yaml")
    Runtime.start(config)
    record = run_dir.split()
    wanted = None
    if synthetic:
        finder = None
        if config.privacy.epsilon is None:
            with data.cached(run_dir.path / CACHE, build=False):
                train, validation = data.load(config.data, record, "train", "val")
            finder = CopyFinder(train.images, validation.images, validation.groups)
        wanted = stage.Wanted(synthetic, labels, finder)
    reason = override if gate.exit_code else None
    out.parent.mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(prefix=f".{out.name}.", suffix=".partial", dir=out.parent))
    partial.chmod(0o755)  # a bundle is for others
    try:
        stage.run(config, run_dir, partial, _facts(run_dir, gate, reason, form), wanted)
        partial.rename(out)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _facts(run_dir: RunDir, gate: Gate, override: str | None, form: Form) -> Facts:
    # As the report reads them: without indices, and without what may be a private path.
    found = RunResults.load(run_dir.path)
    if not (found.evaluation and found.split and found.distillation and found.audit):
        raise KRError(f"{run_dir.path}: is not finished; run the same `kr run` command again")
    split, shadows = found.split, found.audit.shadows
    images = split.counts | {"train": artefacts.training_counts(run_dir)}
    return Facts(
        name=split.name,
        date=date.today().isoformat(),
        version=version("knowledge-recycling"),
        class_names=split.class_names,
        size=split.size,
        channels=split.channels,
        input_range=found.config.data.range if found.config else None,
        private_images={name: sum(counts) for name, counts in images.items()},
        patients_known=split.has_groups,
        patients=shadows.patients if shadows else None,
        parameters=found.distillation.parameters,
        seconds=sum(result.seconds for result in found.done.values()),
        test_images=found.evaluation.images,
        teacher=found.evaluation.teacher,
        student=found.evaluation.student,
        accuracy_gap=found.evaluation.cas_gap,
        gate=gate,
        override=override,
        targets=found.audit.targets,
        shadows=shadows,
        synthetic=None,
        form=form,
    )
