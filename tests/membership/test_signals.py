from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from knowledge_recycling.config import Config
from knowledge_recycling.membership import signals
from knowledge_recycling.synthesis.source import SyntheticSet
from knowledge_recycling.training.runtime import Runtime

RUNTIME = Runtime.start(Config(precision="fp32"))


def images(n: int, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (n, 1, 8, 8), dtype=torch.uint8, generator=generator)


def test_one_slice_an_augmentation() -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Flatten(), nn.Dropout(0.5), nn.Linear(64, 3))
    pool = images(6, 0)
    found = signals.of_classifier(network, pool, RUNTIME)
    assert found.shape == (5, 6, 3)
    assert found.dtype == np.float32
    right = pool.clone()
    right[..., 1:] = pool[..., :-1]
    network.eval()
    for at, moved in ((0, pool), (1, right)):
        expected = network(moved.float() / 127.5 - 1).detach().numpy()
        np.testing.assert_allclose(found[at], expected, rtol=1e-5)


def synthetic_set(made: Tensor, targets: Tensor) -> SyntheticSet:
    return SyntheticSet(made, torch.zeros(len(made), dtype=torch.int64), targets, 1.0)


def halves(n: int) -> Tensor:
    return torch.arange(n) % 2 == 0


def test_copies_and_their_labels_stand_out() -> None:
    pool, labels = images(40, 0), torch.arange(40) % 2
    copied = torch.cat([pool[:10], images(100, 1)])
    targets = torch.full((110, 2), 0.5)
    targets[:10] = torch.eye(2)[labels[:10]]
    found = signals.of_synthetic(pool, labels, halves(40), synthetic_set(copied, targets))
    assert found["synthetic"][:10].min() > found["synthetic"][10:].max()
    assert (found["synthetic"] > found["held_out"])[:10].all()
    assert found["soft_labels"][:10].mean() > found["soft_labels"][10:].mean()


def test_distances_equal_a_naive_loop() -> None:
    pool, others = images(6, 2), images(9, 3)
    made = synthetic_set(others, torch.full((9, 2), 0.5))
    member = torch.tensor([True, True, False, False, True, False])
    found = signals.of_synthetic(pool, torch.zeros(6, dtype=torch.int64), member, made)
    flat = [x.float().flatten() / 127.5 - 1 for x in (*pool, *others)]
    for i in range(6):
        apart = [(flat[i] - other).norm().item() for other in flat]
        held_out = min(apart[j] for j in range(6) if member[j] != member[i])
        for name, least in (("synthetic", min(apart[6:])), ("held_out", held_out)):
            np.testing.assert_allclose(found[name][i], -np.log(least + 1e-6), rtol=1e-4)


def test_the_same_images_under_four_kinds_of_labels() -> None:
    soft = torch.tensor([[0.64, 0.36], [0.16, 0.84]])
    made = SyntheticSet(images(2, 0), torch.tensor([1, 0]), soft, 1.0)
    found = {name: values.numpy() for name, values in signals.release_labels(made).items()}
    np.testing.assert_allclose(found["soft_labels"], soft)
    np.testing.assert_array_equal(found["hard_labels"], [[0, 1], [1, 0]])
    np.testing.assert_allclose(found["rounded_labels"], [[0.6, 0.4], [0.2, 0.8]])
    roots = np.sqrt([[0.64, 0.36], [0.16, 0.84]])
    expected = roots / roots.sum(1, keepdims=True)
    np.testing.assert_allclose(found["tempered_labels"], expected, rtol=1e-6)
