"""Features that this process made share what they computed, whatever their block."""

import numpy as np
import pytest
import torch

from knowledge_recycling.features import Features
from knowledge_recycling.features.memory import MEMORY


def test_blocks_of_any_size_come_from_one_computation(monkeypatch: pytest.MonkeyPatch) -> None:
    large = Features.make(channels=1, symmetry="flip", block=24)
    small = Features.make(channels=1, symmetry="flip", block=10)
    images = np.random.default_rng(0).integers(0, 256, (5, 28, 28, 1), np.uint8)
    monkeypatch.setattr(MEMORY, "kept", type(MEMORY.kept)())
    z_large, z_small = large.of_bytes(images), small.of_bytes(images)
    assert len(MEMORY.kept) == 1
    parts = z_large.reshape(5, 3, 24)[:, :, :10]
    norms = np.linalg.norm(parts, axis=2, keepdims=True)
    np.testing.assert_allclose(z_small, (parts / norms).reshape(5, 30) / 3**0.5, atol=1e-6)


def test_stored_features_say_what_made_ones_do() -> None:
    made = Features.make(channels=1, symmetry="flip", block=10)
    stored = Features(1, "flip", 10)
    stored.load_state_dict(made.state_dict())
    images = torch.rand(4, 1, 28, 28)
    torch.testing.assert_close(stored(images), made(images), atol=1e-5, rtol=1e-4)
