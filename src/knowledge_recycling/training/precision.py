"""Which precision trains faster here: measured, because processor flags do not tell.

One processor with bfloat16 instructions multiplied matrices at half its float32 speed, another at
2.5 times that speed.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import NotRequired, TypedDict

import torch
from torch.nn import functional as F

from knowledge_recycling.training.provenance import device_name

SECONDS = 0.5
"""What the probe may take, about."""
LEAST_GAIN = 1.1
"""bfloat16 must be faster by this factor to be worth its rounding."""
PRECISIONS = ("fp32", "bf16")


class Decision(TypedDict):
    """What precision.json says."""

    precision: str
    """`fp32` or `bf16`."""
    device: str
    gain: NotRequired[float]
    """How many times faster bf16 was; on a CPU."""
    seconds: NotRequired[dict[str, dict[str, float]]]
    """What `measure` found; on a CPU."""


def decide(device: torch.device) -> Decision:
    """Chooses `fp32` or `bf16` for a device.

    On CUDA bfloat16 is taken where the hardware has it. On a CPU a matrix product and a small
    convolution, forward and backward, are timed in turn; the least time of each counts, and the
    gain is the geometric mean of the two ratios.
    """
    name = device_name(device)
    if device.type == "cuda":
        has = torch.cuda.is_bf16_supported(including_emulation=False)
        return {"precision": "bf16" if has else "fp32", "device": name}
    seconds = measure(device)
    gain = gain_of(seconds)
    precision = "bf16" if gain >= LEAST_GAIN else "fp32"
    return {"precision": precision, "device": name, "gain": gain, "seconds": seconds}


def gain_of(seconds: dict[str, dict[str, float]]) -> float:
    """How many times faster bf16 is: the geometric mean over the kinds of work.

    Example:
        >>> gain_of({"product": {"fp32": 2.0, "bf16": 1.0}, "convolution": {"fp32": 2, "bf16": 4}})
        1.0
    """
    ratios = [of["fp32"] / of["bf16"] for of in seconds.values()]
    return math.prod(ratios) ** (1 / len(ratios))


def measure(device: torch.device, seconds: float = SECONDS) -> dict[str, dict[str, float]]:
    """Least seconds of one pass by kind of work and precision, e.g. `["product"]["bf16"]`."""
    work = {"product": _product(device), "convolution": _convolution(device)}
    found = {kind: dict.fromkeys(PRECISIONS, math.inf) for kind in work}
    for kind, once in work.items():
        for precision in PRECISIONS:
            _timed(once, device, precision)  # kernels are made at the first call
        begin = time.perf_counter()
        while True:
            for precision, best in found[kind].items():
                found[kind][precision] = min(best, _timed(once, device, precision))
            if time.perf_counter() - begin > seconds / len(work):
                break
    return found


def _timed(once: Callable[[], None], device: torch.device, precision: str) -> float:
    begin = time.perf_counter()
    with torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16"):
        once()
    return time.perf_counter() - begin


def _product(device: torch.device) -> Callable[[], None]:
    a, b = (torch.full((512, 512), 0.5, device=device).requires_grad_() for _ in range(2))

    def once() -> None:
        torch.autograd.grad((a @ b).float().sum(), (a, b))

    return once


def _convolution(device: torch.device) -> Callable[[], None]:
    x = torch.full((32, 32, 14, 14), 0.5, device=device)
    x = x.contiguous(memory_format=torch.channels_last).requires_grad_()
    kernels = torch.full((32, 32, 3, 3), 0.01, device=device).requires_grad_()

    def once() -> None:
        made = F.conv2d(F.conv2d(x, kernels, padding=1).relu(), kernels, padding=1)
        torch.autograd.grad(made.float().sum(), (x, kernels))

    return once
