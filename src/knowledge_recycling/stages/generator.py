"""Stage 2: the class-conditional Generator G(z, y), trained on D_train; snapshots are kept.

Where the method asks for several Generators they train side by side on batches of their own. A
private run's is computed in closed form from noisy sums instead, see `generators.moments`.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from knowledge_recycling import artefacts, data, generators
from knowledge_recycling.artefacts import guarantee
from knowledge_recycling.config import Adversarial, Config, Latent
from knowledge_recycling.errors import KRError
from knowledge_recycling.generators import moments, tiny
from knowledge_recycling.generators.adversarial import AdversarialTraining
from knowledge_recycling.generators.biggan import BigGANTraining
from knowledge_recycling.generators.collapse import COLLAPSED, variation
from knowledge_recycling.generators.interface import Training
from knowledge_recycling.generators.latent import LatentTraining
from knowledge_recycling.generators.r3gan import R3GANTraining
from knowledge_recycling.privacy import noise
from knowledge_recycling.privacy.mechanisms import Budget
from knowledge_recycling.results import GeneratorResult
from knowledge_recycling.storage.metrics_log import Metrics
from knowledge_recycling.storage.run_dir import STATE, RunDir
from knowledge_recycling.training.batching import Shuffled
from knowledge_recycling.training.checkpoint import Checkpoint, State
from knowledge_recycling.training.images import Images
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
    section = config.generator
    if not isinstance(section, Latent | Adversarial):
        return _private(config, run_dir)
    runtime = Runtime.of(config)
    record = artefacts.training_record(run_dir)
    (train,) = data.load(config.data, record, "train")
    folder = run_dir.stage("generator")
    images = runtime.images(train.images)
    labels = torch.from_numpy(train.labels).to(runtime.device)
    torch.manual_seed(derive(config.seed, "generator", "weights"))
    trainings = _trainings(config, section, run_dir, runtime)
    orders = [_order(config, section, number, labels) for number in range(len(trainings))]
    learner = _SideBySide(trainings, orders, images, labels, section.steps)
    warning = _train(learner, config, section, folder, runtime)
    kept = sorted(int(path.stem) for path in (folder / "snapshots").glob("*.safetensors"))
    if not kept:
        raise KRError(
            f"the Generator failed before its first snapshot: {warning} Lower "
            "generator.learning_rate, or choose another generator.method."
        )
    network = generators.load(folder / "snapshots" / f"{kept[-1]:06d}")
    return GeneratorResult(
        method=section.method,
        count=len(network.generators),
        parameters=sum(p.numel() for p in network.parameters()),
        steps=section.steps,
        snapshots=tuple(kept),
        warning=warning,
        tiny_classes=_tiny(train, record.class_names),
    )


def _tiny(train: data.Split, names: Sequence[str]) -> tuple[str, ...]:
    return tuple(names[y] for y in tiny.classes(train.labels, train.groups, len(names)))


def _private(config: Config, run_dir: RunDir) -> GeneratorResult:
    """G with a formal guarantee; what was released before a kill is not released again."""
    record = run_dir.split()
    path = run_dir.stage("generator") / "snapshots" / f"{1:06d}"
    spent = guarantee.released(run_dir, "generator")
    if spent is None:
        (train,) = data.load(config.data, record, "train")
        units = guarantee.units(config, train)
        spent = guarantee.spend(config, run_dir, "generator")
        budget = Budget(guarantee.mu(config), guarantee.SHARES["generator"])
        network = moments.fit(
            train.images,
            train.labels,
            np.array(guarantee.counts(run_dir)),
            units=units,
            mu=budget.spend("moments"),
            noise=noise.gaussian,
        )
        generators.save(path, "moments", [network])
        guarantee.keep(run_dir, "generator", spent)
    (made,) = generators.load(path).generators
    return GeneratorResult(
        method="moments",
        count=1,
        parameters=sum(made.get_buffer(name).numel() for name in ("means", "factor")),
        steps=1,
        snapshots=(1,),
        guarantee=spent,
    )


def _train(
    learner: _SideBySide,
    config: Config,
    section: Latent | Adversarial,
    folder: Path,
    runtime: Runtime,
) -> str | None:
    """Trains to the end, or to the first loss that is not finite; returns a warning."""
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


def _order(config: Config, section: Latent | Adversarial, number: int, labels: Tensor) -> Shuffled:
    return Shuffled(
        len(labels),
        section.batch_size,
        lambda epoch: derive(config.seed, "generator", number, "order", epoch),
        labels.device,
    )


def _trainings(
    config: Config, section: Latent | Adversarial, run_dir: RunDir, runtime: Runtime
) -> list[Training]:
    record = run_dir.split()
    shape = {
        "channels": record.channels,
        "classes": len(record.class_names),
        "size": record.size,
    }
    if isinstance(section, Adversarial):
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
    images: Images
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
