"""The one training loop: Teacher, Generators, probes and Student go through it.

`train` seeds each step, logs, checks that losses are finite, saves the state and looks at what was
trained; a `Learner` does the update. `fit` is `train` for a classifier.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from knowledge_recycling.errors import KRError
from knowledge_recycling.storage.metrics_log import Metrics
from knowledge_recycling.training.checkpoint import Checkpoint, Saved, State
from knowledge_recycling.training.progress import track
from knowledge_recycling.training.runtime import Runtime
from knowledge_recycling.training.seeds import derive

Batches = Callable[[int], tuple[Tensor, Tensor]]
"""step -> images (n, c, h, w) float in -1..1, targets (n,) classes or (n, C) probabilities."""

Loss = Callable[[nn.Module, Tensor, Tensor], Tensor]
"""network in train mode, images, targets -> scalar; called under autocast."""

Judge = Callable[[nn.Module], dict[str, float]]
"""network -> figures on validation."""


class Learner(Protocol):
    """What the loop trains."""

    def step(self, step: int) -> dict[str, Tensor]:
        """One update; returns what is to be logged, 0-d each, `loss` or several losses."""

    def state_dict(self) -> State:
        """All that an exact resumption needs."""

    def load_state_dict(self, state: State) -> None:
        """Goes on from `state_dict`."""


class NotFinite(KRError):
    """A loss or a weight is NaN or infinite.

    Attributes:
        step: updates done, the last one included.
    """

    def __init__(self, label: str, what: str, step: int) -> None:
        super().__init__(
            f"{label}: {what} at step {step}. Lower the learning rate, or set precision=fp32."
        )
        self.step = step


@dataclass(frozen=True)
class Recipe:
    """How long and how fast to train."""

    steps: int
    learning_rate: float
    weight_decay: float


def cross_entropy(network: nn.Module, images: Tensor, targets: Tensor) -> Tensor:
    """L = -(1/n) sum_i sum_c t_ic log softmax(f(x_i))_c, where t is one-hot or a soft label."""
    return F.cross_entropy(network(images).float(), targets)


def train(
    learner: Learner,
    steps: int,
    *,
    seed: tuple[int, str],
    label: str,
    checkpoint: Checkpoint | None = None,
    metrics: Callable[[int], Metrics] | None = None,
    look: Callable[[int], dict[str, float]] | None = None,
    look_after: Collection[int] = (),
) -> None:
    """Takes the steps that are still to be taken.

    Args:
        learner: what is trained.
        steps: in all.
        seed: (seed, purpose); step t draws all its randomness from (seed, purpose, t).
        label: shown with the progress.
        checkpoint: where to resume from and save to.
        metrics: opens the log of losses and looks, given the step to resume from.
        look: told the number of steps done; returns figures for the log, and changes nothing that
            is trained.
        look_after: numbers of steps, 1 to `steps`, after which to look.

    Raises:
        NotFinite: a loss is; found when it is logged: every 200th of the way, before each look and
            at the end.
    """
    saved = checkpoint.restore() if checkpoint else None
    start = 0 if saved is None else saved["step"]
    if saved is not None:
        learner.load_state_dict(saved["learner"])
    log = metrics(start) if metrics else None
    every = max(1, steps // 200)
    try:
        for step in track(label, start, steps):
            torch.manual_seed(derive(*seed, step))
            losses = learner.step(step)
            done = step + 1
            row: dict[str, float] = {}
            if step % every == 0 or done in look_after or done == steps:
                row = {name: value.item() for name, value in losses.items()}
                _check_finite(row, done, label)
            if look and done in look_after:
                row |= look(done)
            if log and row:
                log.write(step=step, **row)
            if checkpoint:
                checkpoint.offer(partial(_state, done, learner))
    finally:
        if log:
            log.close()


def fit(
    network: nn.Module,
    batches: Batches,
    recipe: Recipe,
    runtime: Runtime,
    *,
    seed: tuple[int, str],
    label: str,
    loss: Loss = cross_entropy,
    checkpoint: Checkpoint | None = None,
    metrics: Callable[[int], Metrics] | None = None,
    judge: Judge | None = None,
    looks: int = 1,
) -> None:
    """Minimises the loss with AdamW under a cosine schedule.

    Args:
        network: trained in place, on `runtime.device`; left in eval mode with the last weights.
        batches: the data.
        recipe: steps, learning rate, weight decay.
        runtime: device and precision.
        seed: (seed, purpose), see `train`.
        label: shown with the progress.
        loss: of a batch.
        checkpoint: where to resume from and save to.
        metrics: opens the log of losses and looks, given the step to resume from.
        judge: looks at the network on validation, for the log; it changes nothing.
        looks: how often the judge looks, evenly spaced; the last look is after the last step.

    Raises:
        NotFinite: a loss is, or the weights are before a look or at the end.
    """

    def look(done: int) -> dict[str, float]:
        _check_weights(network, done, label)
        figures = judge(network.eval()) if judge else {}
        return {f"val_{name}": value for name, value in figures.items()}

    train(
        Classifying(network, batches, recipe, runtime, loss),
        recipe.steps,
        seed=seed,
        label=label,
        checkpoint=checkpoint,
        metrics=metrics,
        look=look,
        look_after={round((i + 1) * recipe.steps / looks) for i in range(looks)},
    )
    network.eval()


class Classifying:
    """A classifier under AdamW and a cosine schedule, as the loop's learner."""

    def __init__(
        self, network: nn.Module, batches: Batches, recipe: Recipe, runtime: Runtime, loss: Loss
    ) -> None:
        self.network, self.batches, self.recipe = network, batches, recipe
        self.runtime, self.loss = runtime, loss
        self.optimiser = torch.optim.AdamW(
            _decayed(network, recipe.weight_decay),
            lr=recipe.learning_rate,
            betas=(0.9, 0.99),
            fused=True,
        )

    def step(self, step: int) -> dict[str, Tensor]:
        """One update; its loss and learning rate."""
        images, targets = self.batches(step)
        images = images.contiguous(memory_format=torch.channels_last)
        with self.runtime.autocast():
            value = self.loss(self.network.train(), images, targets)
        rate = learning_rate(self.recipe, step)
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        self.optimiser.zero_grad(set_to_none=True)
        value.backward()
        self.optimiser.step()
        return {"loss": value.detach(), "learning_rate": torch.tensor(rate, dtype=torch.float64)}

    def state_dict(self) -> State:
        """Weights and the optimiser's moments."""
        return {"network": self.network.state_dict(), "optimiser": self.optimiser.state_dict()}

    def load_state_dict(self, state: State) -> None:
        """Goes on from `state_dict`."""
        self.network.load_state_dict(state["network"])
        self.optimiser.load_state_dict(state["optimiser"])


def learning_rate(recipe: Recipe, step: int) -> float:
    """Linear warm-up over a twentieth of the steps, then half a cosine down to zero.

    Example:
        >>> [round(learning_rate(Recipe(100, 1.0, 0.0), step), 2) for step in (0, 4, 52, 99)]
        [0.2, 1.0, 0.49, 0.0]
    """
    warm_up = max(1, recipe.steps // 20)
    if step < warm_up:
        return recipe.learning_rate * (step + 1) / warm_up
    passed = (step - warm_up + 1) / max(1, recipe.steps - warm_up)
    return recipe.learning_rate * 0.5 * (1 + math.cos(math.pi * passed))


def _decayed(network: nn.Module, decay: float) -> list[dict[str, Any]]:
    """Weight decay for matrices and kernels only: biases and normalisations are left alone."""
    parameters = [p for p in network.parameters() if p.requires_grad]
    return [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": decay},
        {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
    ]


def _state(done: int, learner: Learner) -> Saved:
    return {"step": done, "learner": learner.state_dict()}


def _check_finite(losses: dict[str, float], done: int, label: str) -> None:
    for name, value in losses.items():
        if not math.isfinite(value):
            what = "the loss" if name == "loss" else f"the loss `{name}`"
            raise NotFinite(label, f"{what} is {value}", done)


def _check_weights(network: nn.Module, done: int, label: str) -> None:
    """The loss of a step says nothing of the update after it."""
    values = [v for v in network.state_dict().values() if v.is_floating_point()]
    if not torch.stack([v.isfinite().all() for v in values]).all():
        raise NotFinite(label, "the weights are no longer finite", done)
