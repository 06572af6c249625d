from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from knowledge_recycling.config import Data
from knowledge_recycling.data import open_source
from knowledge_recycling.data.shortcuts import find, majority_accuracy


def test_a_table_equals_a_naive_count() -> None:
    rng = np.random.default_rng(3)
    labels = np.arange(90) % 3
    cells = [int(c) for c in (labels + (rng.random(90) < 0.4)) % 3]
    fold = np.random.default_rng(0).permutation(90) % 5
    right = {0: 0.0, 1: 0.0, 2: 0.0}
    for i in range(90):
        rest = [j for j in range(90) if fold[j] != fold[i]]
        share = [
            sum(cells[j] == cells[i] and labels[j] == c for j in rest)
            / sum(labels[j] == c for j in rest)
            for c in range(3)
        ]
        best = [c for c in range(3) if share[c] == max(share)]
        right[int(labels[i])] += (labels[i] in best) / len(best)
    accuracy, _ = majority_accuracy(cells, labels)
    assert np.isclose(accuracy, sum(right.values()) / 90)


def test_chance_is_seldom_taken_for_a_shortcut() -> None:
    rng = np.random.default_rng(0)
    alarms = 0
    for _ in range(100):
        labels = rng.permutation(np.repeat([0, 1, 2], [20, 60, 120]))
        shapes = [(int(s), int(s)) for s in rng.integers(100, 105, 200)]
        facts = {"format": rng.choice(["PNG", "JPEG"], 200).tolist()}
        alarms += bool(find(shapes, facts, labels))
    assert alarms <= 5


def test_a_rare_class_with_its_own_size_is_found() -> None:
    labels = np.repeat([0, 1], [190, 10])
    shapes = [(64, 64)] * 194 + [(80, 60)] * 6
    found = {s.fact: s for s in find(shapes, {}, labels)}
    assert set(found) == {"size in pixels", "aspect ratio"}
    assert 0.7 < found["aspect ratio"].accuracy < 0.85


def test_the_format_of_files_is_noted(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for label, suffix in (("a", "png"), ("b", "jpg")):
        (tmp_path / label).mkdir()
        for i in range(12):
            pixels = rng.integers(0, 256, (16, 16 + 8 * (i % 2)), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / label / f"{i}.{suffix}")
    source = open_source(Data(source=str(tmp_path), size=16))
    assert source.notes[-1].startswith(
        "the format of the files alone tells the class in 100% of images (averaged over classes; "
        "chance is 50%)"
    )
    assert sum("alone tells the class" in note for note in source.notes) == 1
