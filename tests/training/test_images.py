"""What is looked up is what a tensor in memory gives, and is never asked for all at once."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
import torch

from knowledge_recycling.classifiers.inference import logits_of
from knowledge_recycling.classifiers.resnet import ResNet
from knowledge_recycling.config import Config, Latent
from knowledge_recycling.data.rows import Rows
from knowledge_recycling.generators import collapse, moments
from knowledge_recycling.generators.latent import LatentTraining
from knowledge_recycling.membership import signals
from knowledge_recycling.synthesis.copies import CopyFinder
from knowledge_recycling.synthesis.source import SyntheticSet
from knowledge_recycling.training.images import CHUNK, Lookup
from knowledge_recycling.training.runtime import Runtime

COUNT = 3 * CHUNK + 5
MOST = 2 * CHUNK
"""Images that anything may ask for at once."""


class Watched(Rows):
    """Rows that know how many were asked for at once, at most."""

    most = 0

    def __getitem__(self, which: Any) -> np.ndarray:
        found = super().__getitem__(which)
        self.most = max(self.most, len(found))
        return found


@pytest.fixture
def pixels() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (COUNT, 16, 16, 3), dtype=np.uint8)


@pytest.fixture
def rows(pixels: np.ndarray) -> Watched:
    """The images of the fixture `pixels`, in two parts and as the rows of more."""
    parts = [np.concatenate([pixels[:1], pixels[:700]]), pixels[700:]]
    return Watched(parts, np.arange(1, COUNT + 1))


@pytest.fixture
def runtime() -> Runtime:
    return Runtime.of(Config.parse({"precision": "fp32", "runtime": {"device": "cpu"}}))


@pytest.fixture
def network() -> ResNet:
    torch.manual_seed(0)
    return ResNet(3, 2, 4, (1, 1), 16).eval()


INDICES: dict[str, Any] = {
    "numbers": torch.tensor([5, 1200, 0, 5]),
    "a mask": torch.arange(COUNT) % 3 == 1,
    "a slice": slice(690, 710),
    "nothing": torch.zeros(0, dtype=torch.int64),
}


@pytest.mark.parametrize("index", INDICES)
def test_indexed_as_a_tensor(
    pixels: np.ndarray, rows: Watched, runtime: Runtime, index: str
) -> None:
    tensor, found = runtime.images(pixels), runtime.images(rows)
    assert isinstance(found, Lookup)
    assert found.shape == tuple(tensor.shape)
    assert len(found) == len(tensor)
    expected, got = tensor[INDICES[index]], found[INDICES[index]]
    assert torch.equal(got, expected)
    assert got.stride() == expected.stride() or not len(got)


def test_split_as_a_tensor(pixels: np.ndarray, rows: Watched, runtime: Runtime) -> None:
    tensor, found = runtime.images(pixels), runtime.images(rows)
    for got, expected in zip(found.split(100), tensor.split(100), strict=True):
        assert torch.equal(got, expected)
        assert got.stride() == expected.stride()
    assert rows.most == 100
    (empty,) = Lookup(Rows([pixels[:0]])).split(100)
    assert empty.shape == (0, 3, 16, 16)


def test_all_of_them_on_a_device(pixels: np.ndarray, rows: Watched, runtime: Runtime) -> None:
    """What a GPU gets, here on the CPU."""
    whole, tensor = Lookup(rows).to(torch.device("cpu")), runtime.images(pixels)
    assert torch.equal(whole, tensor)
    assert whole.stride() == tensor.stride()
    assert rows.most == CHUNK


def test_what_is_handed_out_is_copied(pixels: np.ndarray) -> None:
    rows = Rows.of(pixels, np.arange(3, 9))
    for which in (0, slice(0, 2), slice(None), np.array([1])):
        assert not np.shares_memory(rows[which], pixels)
    again = Rows.of(rows, np.array([5, 0]))
    np.testing.assert_array_equal(again[:], pixels[[8, 3]])
    np.testing.assert_array_equal(np.asarray(again), pixels[[8, 3]])
    np.testing.assert_array_equal(again[-1], pixels[3])
    with pytest.raises(IndexError):
        again[2]


def test_signals_of_a_classifier(
    pixels: np.ndarray, rows: Watched, runtime: Runtime, network: ResNet
) -> None:
    found = signals.of_classifier(network, runtime.images(rows), runtime)
    assert rows.most <= MOST
    for slice_, (down, right) in zip(found, signals.SHIFTS, strict=True):
        moved = np.pad(pixels, ((0, 0), (1, 1), (1, 1), (0, 0)), mode="edge")
        moved = moved[:, 1 - down : 17 - down, 1 - right : 17 - right]
        naive = logits_of(network, runtime.images(moved), runtime).numpy()
        np.testing.assert_array_equal(slice_, naive)


def test_signals_of_synthetic_images(pixels: np.ndarray, rows: Watched, runtime: Runtime) -> None:
    labels, member = torch.arange(COUNT) % 2, torch.arange(COUNT) % 4 < 2
    made = SyntheticSet(
        torch.from_numpy(pixels[:50]).permute(0, 3, 1, 2), labels[:50], torch.rand(50, 2), 1.0
    )
    images = runtime.images(pixels)
    expected = signals.of_synthetic(images, labels, member, made)
    found = signals.of_synthetic(runtime.images(rows), labels, member, made)
    for name, values in expected.items():
        np.testing.assert_array_equal(found[name], values)
    blind = signals.blind_features(runtime.images(rows))
    np.testing.assert_array_equal(blind, signals.blind_features(images))
    assert rows.most <= MOST


def test_copies(pixels: np.ndarray, rows: Watched) -> None:
    few = np.concatenate([pixels[:3], pixels[-5:] // 2])
    expected = CopyFinder(pixels, pixels[:100] // 3)(few)
    np.testing.assert_array_equal(CopyFinder(rows, pixels[:100] // 3)(few), expected)
    assert rows.most <= MOST


def test_moments(pixels: np.ndarray, rows: Watched) -> None:
    found = moments.coefficients(rows, 4)
    np.testing.assert_array_equal(found, moments.coefficients(pixels, 4))
    assert rows.most <= MOST


def test_a_snapshot_and_how_varied_it_is(
    pixels: np.ndarray,
    rows: Watched,
    runtime: Runtime,
    network: ResNet,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    training = LatentTraining(
        Latent(method="latent", width=4),
        channels=3,
        classes=2,
        size=16,
        latent_channels=2,
        device=runtime.device,
        autocast=runtime.autocast,
        feature_maps=network.feature_maps,
    )
    labels = torch.arange(COUNT) % 2
    tensor = runtime.images(pixels)
    made, found = (
        copy.deepcopy(training).snapshot(images, labels) for images in (tensor, Lookup(rows))
    )
    for name, values in made.state_dict().items():
        assert torch.equal(found.state_dict()[name], values), name
    assert rows.most <= MOST

    def varied(images: Any) -> float:
        torch.manual_seed(1)
        return collapse.variation([made], images, labels, runtime)

    whole = varied(tensor)
    assert varied(Lookup(rows)) == whole
    rows.most = 0
    monkeypatch.setattr(collapse, "MOST_BYTES", 4 * 16 * 16 * 3 * 100)
    assert varied(Lookup(rows)) == pytest.approx(whole, rel=0.05)
    assert 50 < rows.most <= 100
