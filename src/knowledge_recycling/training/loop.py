"""The one supervised training loop: Teacher, probes and Student go through it."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from knowledge_recycling.errors import KRError
from knowledge_recycling.storage.metrics_log import Metrics
from knowledge_recycling.training.checkpoint import Checkpoint
from knowledge_recycling.training.progress import track
from knowledge_recycling.training.runtime import Runtime
from knowledge_recycling.training.seeds import derive

Batches = Callable[[int], tuple[Tensor, Tensor]]
"""step -> images (n, c, h, w) float in -1..1, targets (n,) classes or (n, C) probabilities."""

Loss = Callable[[nn.Module, Tensor, Tensor], Tensor]
"""network in train mode, images, targets -> scalar; called under autocast."""

Judge = Callable[[nn.Module], dict[str, float]]
"""network -> figures on validation."""


@dataclass(frozen=True)
class Recipe:
    """How long and how fast to train."""

    steps: int
    learning_rate: float
    weight_decay: float


def cross_entropy(network: nn.Module, images: Tensor, targets: Tensor) -> Tensor:
    """L = -(1/n) sum_i sum_c t_ic log softmax(f(x_i))_c, where t is one-hot or a soft label."""
    return F.cross_entropy(network(images).float(), targets)


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
        seed: (seed, purpose); step t draws all its randomness from (seed, purpose, t).
        label: shown with the progress.
        loss: of a batch.
        checkpoint: where to resume from and save to.
        metrics: opens the log of losses and looks, given the step to resume from.
        judge: looks at the network on validation, for the log; it changes nothing.
        looks: how often the judge looks, evenly spaced; the last look is after the last step.

    Raises:
        KRError: the loss is no longer a number.
    """
    optimiser = torch.optim.AdamW(
        _decayed(network, recipe.weight_decay), lr=recipe.learning_rate, betas=(0.9, 0.99)
    )
    saved = checkpoint.restore() if checkpoint else None
    start = _restore(saved, network, optimiser)
    log = metrics(start) if metrics else None
    look_at = {round((i + 1) * recipe.steps / looks) - 1 for i in range(looks)}
    every = max(1, recipe.steps // 200)
    for step in track(label, start, recipe.steps):
        torch.manual_seed(derive(*seed, step))
        images, targets = batches(step)
        images = images.contiguous(memory_format=torch.channels_last)
        with runtime.autocast():
            value = loss(network.train(), images, targets)
        _update(optimiser, value, learning_rate(recipe, step))
        row: dict[str, float] = {}
        if step % every == 0:
            row = {"loss": value.item(), "learning_rate": learning_rate(recipe, step)}
            _check_finite(row["loss"], step, label)
        if judge and step in look_at:
            row |= {f"val_{name}": value for name, value in judge(network.eval()).items()}
        if log and row:
            log.write(step=step, **row)
        if checkpoint:
            checkpoint.offer(partial(_state, step + 1, network, optimiser))
    if log:
        log.close()
    network.eval()


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


def _update(optimiser: torch.optim.Optimizer, loss: Tensor, rate: float) -> None:
    for group in optimiser.param_groups:
        group["lr"] = rate
    optimiser.zero_grad(set_to_none=True)
    loss.backward()
    optimiser.step()


def _decayed(network: nn.Module, decay: float) -> list[dict[str, Any]]:
    """Weight decay for matrices and kernels only: biases and normalisations are left alone."""
    parameters = [p for p in network.parameters() if p.requires_grad]
    return [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": decay},
        {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
    ]


def _check_finite(loss: float, step: int, label: str) -> None:
    if not math.isfinite(loss):
        raise KRError(
            f"{label}: the loss is {loss} at step {step + 1}. Lower the learning rate, or set "
            "precision=fp32."
        )


def _state(step: int, network: nn.Module, optimiser: torch.optim.Optimizer) -> dict[str, Any]:
    return {"step": step, "network": network.state_dict(), "optimiser": optimiser.state_dict()}


def _restore(
    saved: dict[str, Any] | None, network: nn.Module, optimiser: torch.optim.Optimizer
) -> int:
    if saved is None:
        return 0
    network.load_state_dict(saved["network"])
    optimiser.load_state_dict(saved["optimiser"])
    step: int = saved["step"]
    return step
