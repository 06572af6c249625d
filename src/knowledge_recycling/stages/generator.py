"""Stage 2: the class-conditional Generator G(z, y), trained on D_train; snapshots are kept.

Where the method asks for several Generators they train side by side on batches of their own.
"""

from __future__ import annotations

import math
import shutil
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

from knowledge_recycling import classifiers, data, generators
from knowledge_recycling.config import Config
from knowledge_recycling.errors import KRError
from knowledge_recycling.generators.adversarial import AdversarialTraining
from knowledge_recycling.generators.biggan import BigGANTraining
from knowledge_recycling.generators.interface import Generator
from knowledge_recycling.generators.latent import LatentTraining
from knowledge_recycling.generators.r3gan import R3GANTraining
from knowledge_recycling.results import GeneratorResult, SplitRecord
from knowledge_recycling.storage.metrics_log import Metrics
from knowledge_recycling.storage.run_dir import STATE, RunDir
from knowledge_recycling.training.batching import Shuffled
from knowledge_recycling.training.checkpoint import Checkpoint
from knowledge_recycling.training.pixels import to_float
from knowledge_recycling.training.progress import track
from knowledge_recycling.training.runtime import Runtime
from knowledge_recycling.training.seeds import derive

COLLAPSED = 0.1
"""A snapshot with less than this share of the real images' variation within a class collapsed."""
DIVERSITY_SAMPLES = 64
ADVERSARIAL: dict[str, type[AdversarialTraining]] = {
    "biggan": BigGANTraining,
    "r3gan": R3GANTraining,
}


class Training(Protocol):
    """What every Generator's training offers, see `knowledge_recycling.generators`."""

    def step(self, images: Tensor, labels: Tensor, progress: float) -> dict[str, Tensor]:
        """One update; returns the losses."""

    def snapshot(self, images: Tensor, labels: Tensor) -> Generator:
        """G with averaged weights."""

    def state_dict(self) -> dict[str, Any]:
        """All that an exact resumption needs."""

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Goes on from `state_dict`."""


def run(config: Config, run_dir: RunDir) -> GeneratorResult:
    """Trains G and writes generator/snapshots."""
    runtime = Runtime.start(config)
    record = run_dir.split()
    (train,) = data.load(config.data, record, "train")
    folder = run_dir.stage("generator")
    images = runtime.images(train.images)
    labels = torch.from_numpy(train.labels).to(runtime.device)
    torch.manual_seed(derive(config.seed, "generator", "weights"))
    trainings = _trainings(config, run_dir, runtime, record)
    loop = _Loop(config, trainings, images, labels, folder, runtime)
    warning = loop.run()
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
    )


def _trainings(
    config: Config, run_dir: RunDir, runtime: Runtime, record: SplitRecord
) -> list[Training]:
    shape = {
        "channels": record.channels,
        "classes": len(record.class_names),
        "size": record.size,
    }
    if adversarial := ADVERSARIAL.get(config.generator.method):
        training = adversarial(
            config.generator, **shape, device=runtime.device, autocast=runtime.autocast
        )
        return [training]
    teacher = classifiers.load(run_dir.path / "teacher" / "network").to(runtime.device)
    teacher.requires_grad_(False)
    # A network of the user's own need not show its feature maps: its logits serve instead.
    feature_maps = getattr(teacher, "feature_maps", lambda x: [teacher(x)])
    return [
        LatentTraining(
            config.generator,
            **shape,
            latent_channels=latent_channels,
            device=runtime.device,
            autocast=runtime.autocast,
            feature_maps=feature_maps,
        )
        for latent_channels in config.generator.latent_channels
    ]


@dataclass
class _Loop:
    config: Config
    trainings: list[Training]
    images: Tensor
    labels: Tensor
    folder: Path
    runtime: Runtime

    def run(self) -> str | None:
        """Trains to the end, or to the first loss that is no number; returns a warning."""
        section = self.config.generator
        checkpoint = Checkpoint(self.folder / STATE, self.config.runtime.checkpoint_seconds)
        start, warning = self._restore(checkpoint.restore())
        orders = [self._order(number) for number in range(len(self.trainings))]
        log = Metrics(self.folder / "metrics.jsonl", start)
        at = snapshot_steps(section.steps, section.snapshots)
        every = max(1, section.steps // 200)
        for step in track(f"Generator ({section.method})", start, section.steps):
            torch.manual_seed(derive(self.config.seed, "generator", step))
            losses = self._step(step, orders)
            if step % every == 0 or step + 1 in at:
                row = {name: loss.item() for name, loss in losses.items()}
                if not all(math.isfinite(value) for value in row.values()):
                    warning = f"A loss was no longer a number at step {step + 1}."
                    break
                log.write(step=step, **row)
            if step + 1 in at:
                warning = self._snapshot(step + 1) or warning
            checkpoint.offer(partial(self._state, step + 1, warning))
        log.close()
        return warning

    def _step(self, step: int, orders: list[Shuffled]) -> dict[str, Tensor]:
        """One update of each Generator; returns their mean losses."""
        losses = []
        for training, order in zip(self.trainings, orders, strict=True):
            index = order(step)
            progress = step / self.config.generator.steps
            losses.append(training.step(to_float(self.images[index]), self.labels[index], progress))
        return {name: torch.stack([loss[name] for loss in losses]).mean() for name in losses[0]}

    def _order(self, number: int) -> Shuffled:
        return Shuffled(
            len(self.labels),
            self.config.generator.batch_size,
            lambda epoch: derive(self.config.seed, "generator", number, "order", epoch),
            self.runtime.device,
        )

    def _state(self, step: int, warning: str | None) -> dict[str, Any]:
        states = [training.state_dict() for training in self.trainings]
        return {"step": step, "warning": warning, "trainings": states}

    def _restore(self, saved: dict[str, Any] | None) -> tuple[int, str | None]:
        if saved is None:
            shutil.rmtree(self.folder / "snapshots", ignore_errors=True)
            return 0, None
        for training, state in zip(self.trainings, saved["trainings"], strict=True):
            training.load_state_dict(state)
        return saved["step"], saved["warning"]

    def _snapshot(self, step: int) -> str | None:
        """Writes a snapshot, unless a Generator has collapsed; returns what is wrong with it."""
        networks = [
            training.snapshot(self.images, self.labels).to(self.runtime.device)
            for training in self.trainings
        ]
        diversity = self._diversity(networks)
        if not math.isfinite(diversity) or diversity < COLLAPSED:
            return (
                f"The snapshot at step {step} had collapsed (variation within a class "
                f"{diversity:.2f} times that of the real images) and was left out."
            )
        path = self.folder / "snapshots" / f"{step:06d}"
        generators.save(path, self.config.generator.method, networks)
        return None

    @torch.no_grad()
    def _diversity(self, networks: list[Generator]) -> float:
        """Least ratio of synthetic to real standard deviation of the pixels.

        The least over Generators and classes; NaN where one is no number.
        """
        ratios = []
        for y in self.labels.unique():
            real = to_float(self.images[self.labels == y])
            if len(real) < 2:
                continue
            spread = max(real.std(0).mean().item(), 1e-6)
            for network in networks:
                z = torch.randn(DIVERSITY_SAMPLES, network.latent_dim, device=self.runtime.device)
                with self.runtime.autocast():
                    made = network(z, y.expand(len(z))).float()
                ratios.append(made.std(0).mean().item() / spread)
        return min(ratios, default=1.0) if all(map(math.isfinite, ratios)) else math.nan


def snapshot_steps(steps: int, count: int) -> list[int]:
    """Steps after which a snapshot is taken: evenly over the second half, the last at the end.

    Example:
        >>> snapshot_steps(1000, 4)
        [625, 750, 875, 1000]
    """
    return sorted({max(1, round(steps * (0.5 + 0.5 * (i + 1) / count))) for i in range(count)})
