"""Device, precision, randomness, and what is said about the machine."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import Any, TypedDict, TypeVar, overload

import numpy as np
import torch
from torch import nn

from knowledge_recycling.arrays import Stored
from knowledge_recycling.config import Config
from knowledge_recycling.errors import KRError
from knowledge_recycling.training.images import Images, Lookup
from knowledge_recycling.training.provenance import device_name, machine, versions

Network = TypeVar("Network", bound=nn.Module)


class Circumstances(TypedDict):
    """What every result file says of where it was made."""

    versions: dict[str, str]
    machine: str
    device: str
    precision: str


@dataclass(frozen=True)
class Runtime:
    """Where and how precisely to compute."""

    device: torch.device
    precision: str
    """`fp32` or `bf16`."""

    @classmethod
    def of(cls, config: Config) -> Runtime:
        """Resolves device and precision; changes nothing.

        `precision: auto` is decided by `precision.decide` when a run begins; undecided it is fp32.

        Raises:
            KRError: a device was asked for that is not there.
        """
        precision = "fp32" if config.precision == "auto" else config.precision
        return cls(_device(config.runtime.device), precision)

    @classmethod
    def start(cls, config: Config) -> Runtime:
        """Sets the number of threads, once per process, and resolves device and precision.

        Raises:
            KRError: a device was asked for that is not there.
        """
        if config.runtime.threads:
            torch.set_num_threads(config.runtime.threads)
        return cls.of(config)

    def autocast(self) -> contextlib.AbstractContextManager[Any]:
        """Context in which a forward pass runs at the chosen precision."""
        enabled = self.precision == "bf16"
        return torch.autocast(self.device.type, torch.bfloat16, enabled=enabled)

    @overload
    def images(self, images: np.ndarray | torch.Tensor) -> torch.Tensor: ...
    @overload
    def images(self, images: Stored) -> Images: ...
    def images(self, images: torch.Tensor | Stored) -> Images:
        """Images (n, h, w, c) uint8 as (n, c, h, w) uint8, channels last, on the device.

        What is stored elsewhere stays there for a CPU; on a GPU all of it is put.
        """
        if isinstance(images, np.ndarray | torch.Tensor):
            return torch.as_tensor(images).to(self.device).permute(0, 3, 1, 2)
        found = Lookup(images)
        return found if self.device.type == "cpu" else found.to(self.device)

    def place(self, network: Network) -> Network:
        """Moves a network to the device, its kernels laid out channels last."""
        network.to(self.device)
        return network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def exact(self) -> Runtime:
        """The same device at full precision, for measurements."""
        return Runtime(self.device, "fp32")

    def describe(self) -> Circumstances:
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
