from __future__ import annotations

import torch

from knowledge_recycling.training.batching import Shuffled

CPU = torch.device("cpu")


def test_an_epoch_is_a_pass_without_replacement() -> None:
    batch = Shuffled(10, 3, lambda epoch: epoch, CPU)
    first = torch.cat([batch(step) for step in range(3)])
    second = torch.cat([batch(step) for step in range(3, 6)])
    assert first.unique().numel() == second.unique().numel() == 9
    assert not torch.equal(first, second)


def test_a_step_is_a_function_of_its_number_alone() -> None:
    forward = [Shuffled(10, 3, lambda epoch: epoch, CPU)(step) for step in range(9)]
    batch = Shuffled(10, 3, lambda epoch: epoch, CPU)
    assert all(torch.equal(batch(step), forward[step]) for step in reversed(range(9)))


def test_a_small_set_is_one_batch() -> None:
    batch = Shuffled(4, 8, lambda epoch: epoch, CPU)
    assert sorted(batch(5).tolist()) == [0, 1, 2, 3]
    assert batch.epoch(5) == 5
