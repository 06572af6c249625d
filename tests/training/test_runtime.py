from __future__ import annotations

import numpy as np
import pytest
import torch

from knowledge_recycling.config import Config
from knowledge_recycling.errors import KRError
from knowledge_recycling.training.pixels import to_bytes, to_float
from knowledge_recycling.training.provenance import peak_memory_bytes
from knowledge_recycling.training.runtime import Runtime
from knowledge_recycling.training.seeds import derive


def with_device(name: str) -> Config:
    return Config.resolve("digits", settings=[f"runtime.device={name}"])


def test_derived_seeds_differ_by_every_key() -> None:
    seeds = {derive(s, k, n) for s in range(3) for k in ("a", "b") for n in range(50)}
    assert len(seeds) == 300
    assert derive(1, "a", 2) == derive(1, "a", 2)
    assert all(0 <= seed < 2**63 for seed in seeds)


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a CUDA device")
def test_missing_cuda_is_said() -> None:
    with pytest.raises(KRError, match="no usable CUDA device; use cpu"):
        Runtime.of(with_device("cuda:1"))


@pytest.mark.parametrize("name", ["gpu", "meta", "tpu:0"])
def test_unknown_device_is_said(name: str) -> None:
    with pytest.raises(KRError, match="expected auto, cpu, cuda or cuda:N"):
        Runtime.of(with_device(name))


def test_bytes_and_floats_are_inverse() -> None:
    every = torch.arange(256, dtype=torch.uint8)
    assert torch.equal(to_bytes(to_float(every)), every)
    assert to_float(every).min() == -1
    assert to_float(every).max() == 1


def test_images_are_channels_first_on_the_device() -> None:
    runtime = Runtime.of(with_device("cpu"))
    images = np.arange(2 * 8 * 8 * 3, dtype=np.uint8).reshape(2, 8, 8, 3)
    placed = runtime.images(images)
    assert placed.shape == (2, 3, 8, 8)
    assert placed[1, 2, 3, 4] == images[1, 3, 4, 2]


def test_peak_memory_is_measured() -> None:
    assert 10**7 < peak_memory_bytes() < 10**11
