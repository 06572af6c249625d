from __future__ import annotations

import numpy as np
import pytest

from knowledge_recycling.generators import tiny


def test_patients_count_and_not_their_images() -> None:
    labels = np.repeat([0, 1, 2], [30, 30, 9])
    patients = np.concatenate([np.arange(30), np.arange(30) % 9, np.arange(9)])
    assert tiny.classes(labels, None, 3) == [2]
    assert tiny.classes(labels, patients, 3) == [1, 2]
    assert tiny.classes(labels, None, 4) == [2, 3], "a class without any image is tiny too"


@pytest.mark.parametrize("n", [4, 10, 100])
def test_a_mean_correlates_with_each_of_its_members_by_one_over_root_n(n: int) -> None:
    latents = np.random.default_rng(0).normal(size=(n, 20_000))
    found = [np.corrcoef(latents.mean(0), latent)[0, 1] for latent in latents]
    assert np.mean(found) == pytest.approx(1 / np.sqrt(n), abs=0.01)


def test_the_note_names_the_classes_and_says_nothing_where_there_are_none() -> None:
    assert tiny.notes([], ["a", "b"]) == []
    (note,) = tiny.notes([1], ["a", "b"])
    assert note.startswith("fewer than 10 patients")
    assert "in train of: b. " in note
    assert "distillation.tiny_classes=keep" in note
