from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from knowledge_recycling import generators
from knowledge_recycling.generators import moments
from knowledge_recycling.privacy.clipping import Units


def silent(shape: tuple[int, ...], scale: float) -> np.ndarray:
    return np.zeros(shape)


@pytest.fixture
def blobs() -> tuple[np.ndarray, np.ndarray]:
    """A bright square on the left (class 0) or right (1), more or less bright."""
    rng = np.random.default_rng(0)
    labels = np.arange(400) % 2
    images = np.full((400, 8, 8, 1), 60.0)
    for image, y in zip(images, labels, strict=True):
        image[2:6, 4 * y : 4 * y + 4] += 80 + 30 * rng.normal()
    return images.clip(0, 255).astype(np.uint8), labels


def test_classes_are_told_apart_by_their_noisy_means(blobs: tuple[np.ndarray, np.ndarray]) -> None:
    images, labels = blobs
    network = moments.fit(
        images, labels, np.array([200.0, 200.0]), units=Units(), mu=100.0, noise=silent
    )
    z = torch.zeros(2, network.latent_dim)
    made = network(z, torch.tensor([0, 1])).detach().numpy()[:, 0]
    mean = np.stack([images[labels == y, :, :, 0].mean(0) for y in (0, 1)]) / 127.5 - 1
    assert np.abs(made - mean).max() < 0.25
    drawn = network(torch.randn(500, network.latent_dim), torch.zeros(500, dtype=torch.long))
    spread, real = drawn.std(0)[0, 4, 1], (images[labels == 0] / 127.5).std(0)[4, 1, 0]
    assert 0.6 * real < spread < 1.6 * real


def test_coefficients_stay_within_a_unit(blobs: tuple[np.ndarray, np.ndarray]) -> None:
    extreme = np.zeros((3, 8, 8, 3), np.uint8)
    extreme[1] = 255
    extreme[2, ::2] = 255
    assert (np.linalg.norm(moments.coefficients(extreme, 8), axis=1) < 1).all()


def test_of_noise_alone_no_direction_is_kept() -> None:
    rng = np.random.default_rng(0)
    noise = rng.normal(size=(64, 64))
    noise = (noise + noise.T) / 2
    edge = 2 * np.sqrt(64 / 2)
    found = moments.factor(noise - np.trace(noise) / 64 * np.eye(64), edge, 8)
    assert np.abs(found).max() < 1e-3
    signal = np.zeros(64)
    signal[5] = 1
    found = moments.factor(noise + 60 * np.outer(signal, signal), edge, 8)
    values, axes = np.linalg.eigh(found @ found.T)
    assert abs(axes[:, -1] @ signal) > 0.9
    assert abs(values[-1] - 60) < 15


def test_patients_of_many_images_weigh_as_one(blobs: tuple[np.ndarray, np.ndarray]) -> None:
    images, labels = blobs
    many = np.concatenate([images, np.repeat(images[:1], 5000, 0)])
    y = np.concatenate([labels, np.zeros(5000, int)])
    codes = np.concatenate([np.arange(400), np.full(5000, 400)])
    options: dict[str, Any] = {"mu": 100.0, "noise": silent}
    counts = np.array([200.0, 200.0])
    with_it = moments.fit(many, y, counts, units=Units("patient", codes), **options)
    without = moments.fit(images, labels, counts, units=Units(), **options)
    assert (with_it.means - without.means).abs().max() < 0.02


def test_it_is_stored_and_read(blobs: tuple[np.ndarray, np.ndarray], tmp_path: Path) -> None:
    images, labels = blobs
    network = moments.fit(
        images, labels, np.array([200.0, 200.0]), units=Units(), mu=1.0, noise=silent
    )
    generators.save(tmp_path / "g", "moments", [network])
    (read,) = generators.load(tmp_path / "g").generators
    z, y = torch.randn(3, network.latent_dim), torch.tensor([0, 1, 1])
    assert torch.equal(read(z, y), network(z, y))
