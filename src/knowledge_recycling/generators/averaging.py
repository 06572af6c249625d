"""Averaged weights of a Generator."""

from __future__ import annotations

from typing import Any

from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn


def averaged(network: nn.Module, decay: float) -> AveragedModel:
    """Exponential average of weights and buffers, after t updates with min(decay, (1+t)/(10+t)).

    The memory grows with its age: at a constant decay the untrained weights, and their batch
    statistics above all, spoil the snapshots of short trainings.

    Args:
        network: what `update_parameters` is given after each step.
        decay: of the average in the long run.
    """

    def average(averages: Any, values: Any, count: Any) -> None:
        t = int(count)  # lives on the CPU: no wait for the device
        get_ema_multi_avg_fn(min(decay, (1 + t) / (10 + t)))(averages, values, count)

    return AveragedModel(network, multi_avg_fn=average, use_buffers=True)
