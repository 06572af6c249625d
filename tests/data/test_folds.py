from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from knowledge_recycling.config import Data
from knowledge_recycling.data import describe, draw_folds, file_names, load, open_source
from knowledge_recycling.data.folds import draw
from knowledge_recycling.errors import KRError


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(4, 30), min_size=2, max_size=5), st.integers(0, 1000))
def test_single_images_are_spread_evenly(sizes: list[int], seed: int) -> None:
    labels = np.repeat(np.arange(len(sizes)), sizes)
    fold = draw(labels, np.arange(len(labels)), [str(y) for y in range(len(sizes))], 4, seed)
    for y in range(len(sizes)):
        counts = np.bincount(fold[labels == y], minlength=4)
        assert counts.min() >= 1
        assert counts.max() - counts.min() <= 1


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 1000))
def test_what_belongs_together_is_in_one_fold_and_each_class_in_each(seed: int) -> None:
    rng = np.random.default_rng(seed)
    together = np.repeat(np.arange(40), rng.integers(1, 9, 40))
    labels = (together + (rng.random(len(together)) < 0.2)) % 3  # some have several classes
    fold = draw(labels, together, ["a", "b", "c"], 4, seed)
    assert all(len(set(fold[together == code])) == 1 for code in range(40))
    assert all(set(labels[fold == k]) == {0, 1, 2} for k in range(4))
    shares = np.bincount(fold) / len(fold)
    assert np.abs(shares - 0.25).max() < 0.1


def test_another_seed_draws_other_folds() -> None:
    labels, names = np.arange(200) % 2, ["a", "b"]
    first, again, other = (draw(labels, np.arange(200), names, 4, seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert (first != other).mean() > 0.3


def test_a_class_of_too_few_patients_is_refused_by_name() -> None:
    labels = np.repeat([0, 1], [40, 9])
    together = np.concatenate([np.arange(40), np.repeat([50, 51, 52], 3)])
    with pytest.raises(
        KRError, match="the class rare cannot .* 4 folds: it has 9 images in 3 sets"
    ):
        draw(labels, together, ["common", "rare"], 4, 0)


def test_patients_of_several_classes_that_are_too_few_are_refused() -> None:
    """Each of three classes has four patients, but a fold needs two of the six."""
    together = np.repeat(np.arange(6), 2)
    labels = np.array([0, 1, 0, 1, 1, 2, 1, 2, 2, 0, 2, 0])
    fold = draw(labels, together, ["a", "b", "c"], 3, 0)
    assert all(set(labels[fold == k]) == {0, 1, 2} for k in range(3))
    with pytest.raises(KRError, match="cannot be brought into each of 4 folds"):
        draw(labels, together, ["a", "b", "c"], 4, 0)


def folder(root: Path, count: int = 12) -> Path:
    rng = np.random.default_rng(0)
    for label in ("ill", "well"):
        (root / label).mkdir(parents=True)
        for i in range(count):
            pixels = rng.integers(0, 256, (8, 8), dtype=np.uint8)
            Image.fromarray(pixels).save(root / label / f"{i:02d}.png")
    (root / "ill" / "03.png").write_bytes(b"broken")
    (root / "groups.csv").write_text(
        "file,group\n"
        + "".join(
            f"{label}/{i:02d}.png,{label}{i // 2}\n"
            for label in ("ill", "well")
            for i in range(count)
        )
    )
    return root


def test_folds_and_names_of_files_are_those_of_the_split(tmp_path: Path) -> None:
    root = folder(tmp_path / "set", 24)
    # A copy in another patient ties the two together.
    (root / "ill" / "23.png").write_bytes((root / "ill" / "00.png").read_bytes())
    config = Data(source=str(root), groups="groups.csv", skip_broken=True)
    record = describe(open_source(config), config, seed=0)
    (train,) = load(config, record, "train")
    names = file_names(config, record, "train")
    assert names is not None
    for name, image, label in zip(names, train.images[:], train.labels, strict=True):
        with Image.open(root / name) as picture:
            np.testing.assert_array_equal(np.asarray(picture), image[..., 0])
        assert name.startswith(record.class_names[label])
    fold = draw_folds(config, record, "train", 4, seed=0)
    assert fold.shape == train.labels.shape
    assert train.groups is not None
    assert all(len(set(fold[train.groups == g])) == 1 for g in np.unique(train.groups))
    copies = [i for i, name in enumerate(names) if name in ("ill/00.png", "ill/23.png")]
    assert len(set(fold[copies])) <= 1


def test_arrays_have_no_names_of_files() -> None:
    config = Data(source="digits")
    assert file_names(config, describe(open_source(config), config, seed=0), "train") is None
