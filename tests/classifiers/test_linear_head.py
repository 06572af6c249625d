from __future__ import annotations

import numpy as np
import pytest

from knowledge_recycling.classifiers import linear_head
from knowledge_recycling.classifiers.linear_head import Descent, fit, inputs, learn_answers, softmax
from knowledge_recycling.classifiers.private import block_size
from knowledge_recycling.errors import KRError
from knowledge_recycling.privacy.clipping import Units


def silent(shape: tuple[int, ...], scale: float) -> np.ndarray:
    return np.zeros(shape)


@pytest.fixture
def task() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, 120)
    return inputs(rng.normal(size=(120, 5)) + 3 * np.eye(5)[labels], np.zeros(5)), labels


def test_without_noise_it_is_clipped_gradient_descent(task: tuple[np.ndarray, np.ndarray]) -> None:
    x, labels = task
    descent = Descent(steps=6, rate=0.01, momentum=0.5, clip=0.4, averaged=0.5)
    found = fit(x, labels, 3, count=120, units=Units(), mu=2.0, noise=silent, descent=descent)
    weights, velocity, tail = np.zeros((6, 3)), np.zeros((6, 3)), []
    for step in range(6):
        total = np.zeros((6, 3))
        for row, y in zip(x, labels, strict=True):
            p = np.exp(row @ weights) / np.exp(row @ weights).sum()
            gradient = np.outer(row, p - np.eye(3)[y])
            total += gradient * min(1, 0.4 / np.linalg.norm(gradient))
        velocity = 0.5 * velocity + total
        weights = weights - 0.01 * 2.0 * velocity
        if step >= 3:
            tail.append(weights)
    assert np.allclose(found, np.mean(tail, 0), atol=1e-6)


def test_every_step_is_a_release_of_its_share(
    task: tuple[np.ndarray, np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    scales = []

    def noise(shape: tuple[int, ...], scale: float) -> np.ndarray:
        scales.append(scale)
        return np.zeros(shape)

    x, labels = task
    fit(x, labels, 3, count=120, units=Units(), mu=0.7, noise=noise, descent=Descent(steps=9))
    spent = sum((0.5 / scale) ** 2 for scale in scales)
    assert len(scales) == 9
    assert spent <= 0.7**2
    assert np.isclose(spent, 0.7**2, rtol=1e-4)


def test_one_image_moves_a_step_by_at_most_the_clip(task: tuple[np.ndarray, np.ndarray]) -> None:
    x, labels = task
    one = Descent(steps=1, rate=1.0, most=1e9, momentum=0.0, averaged=1.0)
    for unit in (Units(), Units("patient", np.arange(120) // 30)):
        rest = Units() if unit.codes is None else Units("patient", unit.codes[30:])
        gone = slice(1 if unit.codes is None else 30, None)
        with_it, without = (
            fit(a, y, 3, count=1, units=u, mu=1.0, noise=silent, descent=one)
            for a, y, u in ((x, labels, unit), (x[gone], labels[gone], rest))
        )
        assert np.linalg.norm(with_it - without) <= one.clip * (1 + 1e-6)


def test_labels_out_of_range_are_refused(task: tuple[np.ndarray, np.ndarray]) -> None:
    x, labels = task
    with pytest.raises(KRError, match=r"labels: expected 0\.\.1"):
        fit(x, labels, 2, count=1, units=Units(), mu=1.0, noise=silent)


def test_answers_are_learnt_exactly_where_there_are_enough_images() -> None:
    rng = np.random.default_rng(1)
    x, weights = rng.normal(size=(200, 7)), rng.normal(size=(7, 4))
    found = learn_answers(x, softmax(x @ weights), ridge=0.0)
    assert np.allclose(softmax(x @ found), softmax(x @ weights), atol=1e-9)


def test_inputs_are_centred_unit_vectors_and_a_constant() -> None:
    x = inputs([[3.0, 4.0], [1.0, 1.0]], [1.0, 1.0])
    assert np.allclose(x[0, :2], np.array([2, 3]) / 13**0.5)
    assert np.allclose(x[1, :2], 0)
    assert (x[:, 2] == linear_head.BIAS).all()


def test_blocks_grow_with_what_the_noise_allows() -> None:
    sizes = [block_size(n, 0.7) for n in (1, 1000, 3000, 10**6)]
    assert sizes == sorted(sizes)
    assert (sizes[0], sizes[-1]) == (100, 600)
