from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from knowledge_recycling.config import Data
from knowledge_recycling.data import describe, example_grid, load, open_source
from knowledge_recycling.errors import KRError
from knowledge_recycling.results import SplitRecord
from tests.data.conftest import noise

Arrays = dict[str, Any]
Save = Callable[[Arrays], str]


def test_record_of_digits() -> None:
    config = Data(source="digits")
    record = describe(open_source(config), config, seed=0)
    assert SplitRecord(**json.loads(json.dumps(record.tree()))) == record
    assert (record.name, record.size, record.channels) == ("digits", 8, 1)
    assert record.class_names == tuple("0123456789")
    assert record.has_groups is False
    assert record.notes == ("values 0..16 scaled to 0..255",)
    assert record.drawn == ("train", "val", "test")
    together = sorted(place for places in record.indices.values() for place in places)
    assert together == list(range(1797))
    labels = open_source(config).labels
    for name, places in record.indices.items():
        assert record.counts[name] == tuple(np.bincount(labels[list(places)]))


def test_load_hands_out_only_what_was_asked_for() -> None:
    config = Data(source="digits")
    source = open_source(config)
    record = describe(source, config, seed=0)
    (train,) = load(config, record, "train")
    assert not np.shares_memory(train.images[:], source.images[:])  # a view could be written to
    test, val = load(config, record, "test", "val")
    for split, name in ((train, "train"), (val, "val"), (test, "test")):
        assert tuple(split.indices) == record.indices[name]
        np.testing.assert_array_equal(split.images, source.images[split.indices])
        np.testing.assert_array_equal(split.labels, source.labels[split.indices])
        assert split.groups is None
        assert len(split) == len(split.indices)


def test_changed_data_are_noticed(save: Save, official: Arrays) -> None:
    config = Data(source=save(official))
    record = describe(open_source(config), config, seed=0)
    assert len(load(config, record, "val")[0]) == 8
    official["train_images"][0, 0, 0] ^= 1
    save(official)
    with pytest.raises(KRError, match=r"set.npz has changed since this run began \(hash"):
        load(config, record, "val")


def test_hash_covers_every_array(save: Save, official: Arrays) -> None:
    hashes = set()
    for key in ("none", "val_labels", "test_images"):
        arrays = dict(official)
        if key != "none":
            arrays[key] = arrays[key][::-1]
        hashes.add(open_source(Data(source=save(arrays))).sha256)
    groups = {
        f"{s}_groups": np.arange(len(official[f"{s}_images"])) for s in ("train", "val", "test")
    }
    hashes.add(open_source(Data(source=save(official | groups))).sha256)
    assert len(hashes) == 4
    again = open_source(Data(source=save(official))).sha256
    assert again in hashes


def test_notes_on_given_splits(save: Save, official: Arrays) -> None:
    official["val_images"][:3] = official["train_images"][0]
    official["test_images"][0] = official["train_images"][1]
    official["test_images"][1] = official["val_images"][7]
    official["test_labels"][:] = 1
    groups = {
        f"{s}_groups": np.arange(len(official[f"{s}_images"])) for s in ("train", "val", "test")
    }
    groups["test_groups"] = groups["test_groups"] + 6
    config = Data(source=save(official | groups))
    record = describe(open_source(config), config, seed=0)
    assert list(record.notes) == [
        "test has no image of: 0",
        "1 image occurs under more than one label (4 copies)",
        "3 val images are exact duplicates of train images",
        "8 groups (patients) are in both train and val",
        "1 test image is an exact duplicate of train images",
        "8 groups (patients) are in both train and test",
        "1 test image is an exact duplicate of val images",
        "2 groups (patients) are in both val and test",
    ]
    assert record.drawn == ()


def test_copies_and_labels_that_differ_are_noted(save: Save) -> None:
    images = noise(40, 8, 8)
    images[2] = images[4] = images[0]
    images[7] = images[6]
    config = Data(source=save({"images": images, "labels": np.arange(40) % 2}))
    record = describe(open_source(config), config, seed=0)
    assert "1 image occurs under more than one label (2 copies)" in record.notes
    places = {name: set(found) for name, found in record.indices.items()}
    assert any({0, 2, 4} <= found for found in places.values())
    assert any({6, 7} <= found for found in places.values())
    inside = sum(2 for found in places.values() if 0 in found and found is places["train"])
    inside += sum(1 for found in places.values() if 6 in found and found is places["train"])
    told = [note for note in record.notes if "other train images" in note]
    assert len(told) == (inside > 0)
    assert not inside or told[0].startswith(f"{inside} train image")


def test_no_path_reaches_the_record(save: Save, official: Arrays, tmp_path: Path) -> None:
    config = Data(source=save(official), size=16)
    record = describe(open_source(config), config, seed=0)
    assert str(tmp_path) not in json.dumps(record.tree())
    assert record.notes == ("resized from 8x8 (height x width) to 16x16, Lanczos",)


def test_example_grid_shows_train_images_by_class(save: Save, official: Arrays) -> None:
    config = Data(source=save(official))
    record = describe(open_source(config), config, seed=0)
    grid = example_grid(config, record, per_class=12, seed=0)
    assert grid.shape == (2, 12, 8, 8, 1)
    (train,) = load(config, record, "train")
    for label in range(2):
        known = {image.tobytes() for image in train.images[train.labels == label]}
        assert {image.tobytes() for image in grid[label, :10]} == known
    assert not grid[:, 10:].any()
    np.testing.assert_array_equal(grid[:, :5], example_grid(config, record, per_class=5, seed=0))
