"""Stage 2: the class-conditional Generator G(z, y), trained on D_train; snapshots are kept.

Where the method asks for several Generators they train side by side on batches of their own.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from knowledge_recycling import artefacts, data, generators
from knowledge_recycling.config import Config, Latent
from knowledge_recycling.errors import KRError
from knowledge_recycling.generators import tiny
from knowledge_recycling.generators.adversarial import AdversarialTraining
from knowledge_recycling.generators.biggan import BigGANTraining
from knowledge_recycling.generators.collapse import COLLAPSED, variation
from knowledge_recycling.generators.interface import Training
from knowledge_recycling.generators.latent import LatentTraining
from knowledge_recycling.generators.r3gan import R3GANTraining
from knowledge_recycling.results import GeneratorResult, SplitRecord
from knowledge_recycling.storage.metrics_log import Metrics
from knowledge_recycling.storage.run_dir import STATE, RunDir
from knowledge_recycling.training.batching import Shuffled
from knowledge_recycling.training.checkpoint import Checkpoint, State
from knowledge_recycling.training.loop import NotFinite, train
from knowledge_recycling.training.pixels import to_float
from knowledge_recycling.training.runtime import Runtime
from knowledge_recycling.training.seeds import derive

ADVERSARIAL: dict[str, type[AdversarialTraining]] = {
    "biggan": BigGANTraining,
    "r3gan": R3GANTraining,
}


def run(config: Config, run_dir: RunDir) -> GeneratorResult:
    """Trains G and writes generator/snapshots."""
    runtime = Runtime.of(config)
    record = run_dir.split()
    (train,) = data.load(config.data, record, "train")
    folder = run_dir.stage("generator")
    images = runtime.images(train.images)
    labels = torch.from_numpy(train.labels).to(runtime.device)
    torch.manual_seed(derive(config.seed, "generator", "weights"))
    trainings = _trainings(config, run_dir, runtime, record)
    orders = [_order(config, number, labels) for number in range(len(trainings))]
    learner = _SideBySide(trainings, orders, images, labels, config.generator.steps)
    warning = _train(learner, config, folder, runtime)
    kept = sorted(int(path.stem) for path in (folder / "snapshots").glob("*.safetensors"))
    if not kept:
        raise KRError(
            f"the Generator failed before its first snapshot: {warning} Lower "
            "generator.learning_rate, or choose another generator.method."
        )
    network = generators.load(folder / "snapshots" / f"{kept[-1]:06d}")
    return GeneratorResult(
        method=config.generator.method,
        count=len(network.generators),
        parameters=sum(p.numel() for p in network.parameters()),
        steps=config.generator.steps,
        snapshots=tuple(kept),
        warning=warning,
        tiny_classes=_tiny(train, record.class_names),
    )


def _tiny(train: data.Split, names: Sequence[str]) -> tuple[str, ...]:
    return tuple(names[y] for y in tiny.classes(train.labels, train.groups, len(names)))


def _train(learner: _SideBySide, config: Config, folder: Path, runtime: Runtime) -> str | None:
    """Trains to the end, or to the first loss that is not finite; returns a warning."""
    section = config.generator
    if not (folder / STATE).exists():
        shutil.rmtree(folder / "snapshots", ignore_errors=True)
    try:
        train(
            learner,
            section.steps,
            seed=(config.seed, "generator"),
            label=f"Generator ({section.method})",
            checkpoint=Checkpoint(folder / STATE, config.runtime.checkpoint_seconds),
            metrics=lambda step: Metrics(folder / "metrics.jsonl", step),
            look=lambda step: learner.snapshot(step, section.method, folder / "snapshots", runtime),
            look_after=snapshot_steps(section.steps, section.snapshots),
        )
    except NotFinite as error:
        # The snapshots before it are good.
        return f"A loss was no longer a number at step {error.step}."
    return learner.warning


def _order(config: Config, number: int, labels: Tensor) -> Shuffled:
    return Shuffled(
        len(labels),
        config.generator.batch_size,
        lambda epoch: derive(config.seed, "generator", number, "order", epoch),
        labels.device,
    )


def _trainings(
    config: Config, run_dir: RunDir, runtime: Runtime, record: SplitRecord
) -> list[Training]:
    shape = {
        "channels": record.channels,
        "classes": len(record.class_names),
        "size": record.size,
    }
    section = config.generator
    if not isinstance(section, Latent):
        adversarial = ADVERSARIAL[section.method]
        return [adversarial(section, **shape, device=runtime.device, autocast=runtime.autocast)]
    teacher = artefacts.classifier(run_dir, "teacher", runtime)
    # A network of the user's own need not show its feature maps: its logits serve instead.
    feature_maps = getattr(teacher, "feature_maps", lambda x: [teacher(x)])
    return [
        LatentTraining(
            section,
            **shape,
            latent_channels=latent_channels,
            device=runtime.device,
            autocast=runtime.autocast,
            feature_maps=feature_maps,
        )
        for latent_channels in section.latent_channels
    ]


@dataclass
class _SideBySide:
    """The Generators of a mixture as the loop's learner, and what is wrong with them so far."""

    trainings: list[Training]
    orders: list[Shuffled]
    images: Tensor
    labels: Tensor
    steps: int
    warning: str | None = None

    def step(self, step: int) -> dict[str, Tensor]:
        """One update of each Generator; returns their mean losses."""
        losses = []
        for training, order in zip(self.trainings, self.orders, strict=True):
            index = order(step)
            images, labels = to_float(self.images[index]), self.labels[index]
            losses.append(training.step(images, labels, step / self.steps))
        return {name: torch.stack([loss[name] for loss in losses]).mean() for name in losses[0]}

    def state_dict(self) -> State:
        """Of all Generators."""
        states = [training.state_dict() for training in self.trainings]
        return {"warning": self.warning, "trainings": states}

    def load_state_dict(self, state: State) -> None:
        """Goes on from `state_dict`."""
        self.warning = state["warning"]
        for training, saved in zip(self.trainings, state["trainings"], strict=True):
            training.load_state_dict(saved)

    def snapshot(self, step: int, method: str, folder: Path, runtime: Runtime) -> dict[str, float]:
        """Writes a snapshot, unless a Generator has collapsed; returns how varied it is."""
        networks = [t.snapshot(self.images, self.labels).to(runtime.device) for t in self.trainings]
        found = variation(networks, self.images, self.labels, runtime)
        if not found >= COLLAPSED:
            self.warning = (
                f"The snapshot at step {step} had collapsed (variation within a class "
                f"{found:.2f} times that of the real images) and was left out."
            )
        else:
            generators.save(folder / f"{step:06d}", method, networks)
        return {"variation": found}


def snapshot_steps(steps: int, count: int) -> list[int]:
    """Steps after which a snapshot is taken: evenly over the second half, the last at the end.

    Example:
        >>> snapshot_steps(1000, 4)
        [625, 750, 875, 1000]
    """
    return sorted({max(1, round(steps * (0.5 + 0.5 * (i + 1) / count))) for i in range(count)})
