"""Device, precision, randomness, and what is said about the machine."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from torch import nn

from knowledge_recycling.config import Config
from knowledge_recycling.errors import KRError
from knowledge_recycling.training.provenance import device_name, machine, versions

Network = TypeVar("Network", bound=nn.Module)


@dataclass(frozen=True)
class Runtime:
    """Where and how precisely to compute."""

    device: torch.device
    precision: str
    """`fp32` or `bf16`."""

    @classmethod
    def start(cls, config: Config) -> Runtime:
        """Resolves device and precision, and sets the number of threads.

        Raises:
            KRError: a device was asked for that is not there.
        """
        if config.runtime.threads:
            torch.set_num_threads(config.runtime.threads)
        device = _device(config.runtime.device)
        precision = config.precision
        if precision == "auto":
            precision = "bf16" if _fast_bf16(device) else "fp32"
        return cls(device, precision)

    def autocast(self) -> contextlib.AbstractContextManager[Any]:
        """Context in which a forward pass runs at the chosen precision."""
        enabled = self.precision == "bf16"
        return torch.autocast(self.device.type, torch.bfloat16, enabled=enabled)

    def images(self, images: np.ndarray | torch.Tensor) -> torch.Tensor:
        """Puts images (n, h, w, c) uint8 on the device as (n, c, h, w) uint8, channels last."""
        return torch.as_tensor(images).to(self.device).permute(0, 3, 1, 2)

    def place(self, network: Network) -> Network:
        """Moves a network to the device, its kernels laid out channels last."""
        network.to(self.device)
        return network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def exact(self) -> Runtime:
        """The same device at full precision, for measurements."""
        return Runtime(self.device, "fp32")

    def describe(self) -> dict[str, Any]:
        """Versions, machine, device and precision, for result files."""
        return {
            "versions": versions(),
            "machine": machine(),
            "device": device_name(self.device),
            "precision": self.precision,
        }


def _device(name: str) -> torch.device:
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        raise KRError(f"runtime.device={name}: expected auto, cpu, cuda or cuda:N") from None
    if device.type not in ("cpu", "cuda"):
        raise KRError(f"runtime.device={name}: expected auto, cpu, cuda or cuda:N")
    if device.type == "cuda" and not torch.cuda.is_available():
        raise KRError(f"runtime.device={name}: this machine has no usable CUDA device; use cpu")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise KRError(
            f"runtime.device={name}: there are only {torch.cuda.device_count()} CUDA devices"
        )
    return device


def _fast_bf16(device: torch.device) -> bool:
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    with contextlib.suppress(AttributeError, OSError):
        flags = Path("/proc/cpuinfo").read_text(encoding="ascii", errors="ignore")
        return "avx512_bf16" in flags or "amx_bf16" in flags
    return False
