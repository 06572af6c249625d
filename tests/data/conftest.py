from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

Paint = Callable[..., Path]


def noise(n: int, *shape: int, seed: int = 0) -> np.ndarray:
    """Random uint8 images, all different."""
    return np.random.default_rng(seed).integers(0, 256, (n, *shape), dtype=np.uint8)


@pytest.fixture
def official() -> dict[str, Any]:
    """Arrays of a sound MedMNIST-format file: 20/8/8 grey images of 8 pixels, two classes."""
    arrays: dict[str, Any] = {}
    for seed, (split, n) in enumerate({"train": 20, "val": 8, "test": 8}.items()):
        arrays[f"{split}_images"] = noise(n, 8, 8, seed=seed)
        arrays[f"{split}_labels"] = (np.arange(n, dtype=np.uint8) % 2)[:, np.newaxis]
    return arrays


@pytest.fixture
def save(tmp_path: Path) -> Callable[[dict[str, Any]], str]:
    """Writes arrays to an npz file and returns its path as a source."""

    def write(arrays: dict[str, Any]) -> str:
        np.savez(tmp_path / "set.npz", **arrays)
        return str(tmp_path / "set.npz")

    return write


@pytest.fixture
def paint(tmp_path: Path) -> Paint:
    """Writes random image files under `tmp_path/set` and returns that folder."""

    def write(
        *folders: str, n: int = 6, shape: tuple[int, ...] = (8, 8), suffix: str = "png"
    ) -> Path:
        root = tmp_path / "set"
        for seed, folder in enumerate(folders):
            (root / folder).mkdir(parents=True, exist_ok=True)
            for i, pixels in enumerate(noise(n, *shape, seed=seed)):
                Image.fromarray(pixels).save(root / folder / f"{i}.{suffix}")
        return root

    return write
