"""Device, precision, randomness, and what is said about the machine."""

from __future__ import annotations

import contextlib
import hashlib
import importlib.metadata
import platform
import resource
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from torch import nn

from knowledge_recycling.config import Config
from knowledge_recycling.errors import KRError

Network = TypeVar("Network", bound=nn.Module)


def derive(seed: int, *keys: str | int) -> int:
    """A seed in 0..2^63-1 for one purpose, independent of those for other purposes.

    All randomness of a run comes from (seed, stage, step) through this function: that is why
    a killed and resumed run equals an uninterrupted one.
    """
    text = "/".join(str(key) for key in (seed, *keys))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


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


def to_float(images: torch.Tensor) -> torch.Tensor:
    """Maps uint8 0..255 to float32 -1..1."""
    return images.float() / 127.5 - 1.0


def to_bytes(images: torch.Tensor) -> torch.Tensor:
    """Maps float -1..1 to uint8 0..255, rounding; the inverse of `to_float`."""
    return ((images.float() + 1.0) * 127.5).round().clamp(0, 255).to(torch.uint8)


def _device(name: str) -> torch.device:
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        raise KRError(f"--device {name}: expected auto, cpu, cuda or cuda:N") from None
    if device.type not in ("cpu", "cuda"):
        raise KRError(f"--device {name}: expected auto, cpu, cuda or cuda:N")
    if device.type == "cuda" and not torch.cuda.is_available():
        raise KRError(f"--device {name}: this machine has no usable CUDA device; use --device cpu")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise KRError(f"--device {name}: there are only {torch.cuda.device_count()} CUDA devices")
    return device


def _fast_bf16(device: torch.device) -> bool:
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    with contextlib.suppress(AttributeError, OSError):
        flags = Path("/proc/cpuinfo").read_text(encoding="ascii", errors="ignore")
        return "avx512_bf16" in flags or "amx_bf16" in flags
    return False


def device_name(device: torch.device) -> str:
    """`cpu`, or the name of the GPU."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"


def versions() -> dict[str, str]:
    """Versions of what decides the numbers."""
    names = ("knowledge-recycling", "torch", "numpy", "scikit-learn", "optuna")
    found = {name: importlib.metadata.version(name) for name in names}
    return {"python": platform.python_version(), **found}


def machine() -> str:
    """The processor's architecture and number of threads; never a host name."""
    return f"{platform.system()} {platform.machine()}, {torch.get_num_threads()} threads"


def reset_peak_memory() -> None:
    """Starts the measurement of `peak_memory_bytes` anew, where the system can (Linux)."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")


def peak_memory_bytes() -> int:
    """Largest resident memory of this process since `reset_peak_memory`."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
