from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from knowledge_recycling.classifiers.inference import logits_of, probabilities_of
from knowledge_recycling.config import Config
from knowledge_recycling.errors import KRError
from knowledge_recycling.training.checkpoint import Checkpoint
from knowledge_recycling.training.loop import NotFinite, Recipe, fit, learning_rate, train
from knowledge_recycling.training.runtime import Runtime

RUNTIME = Runtime.of(Config(precision="fp32"))
RECIPE = Recipe(steps=20, learning_rate=0.05, weight_decay=0.01)


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Dropout(0.2), nn.Linear(64, 3))


def batches(step: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(step)
    labels = torch.randint(0, 3, (16,), generator=generator)
    images = torch.randn(16, 1, 8, 8, generator=generator)
    images[torch.arange(16), 0, labels] += 2  # each class has a bright row of its own
    return images, labels


def test_training_learns() -> None:
    trained = network()
    fit(trained, batches, RECIPE, RUNTIME, seed=(0, "t"), label="t")
    images, labels = batches(999)
    assert (trained(images).argmax(1) == labels).float().mean() > 0.8
    assert not trained.training


def test_soft_targets_of_one_hot_rows_equal_classes() -> None:
    hard, soft = network(), network()

    def one_hot(step: int) -> tuple[Tensor, Tensor]:
        images, labels = batches(step)
        return images, torch.eye(3)[labels]

    fit(hard, batches, RECIPE, RUNTIME, seed=(0, "t"), label="t")
    fit(soft, one_hot, RECIPE, RUNTIME, seed=(0, "t"), label="t")
    for a, b in zip(hard.parameters(), soft.parameters(), strict=True):
        torch.testing.assert_close(a, b)


def test_stopped_and_resumed_equals_uninterrupted(tmp_path: Path) -> None:
    whole, first, second = network(), network(), network()
    fit(whole, batches, RECIPE, RUNTIME, seed=(0, "t"), label="t")

    def killed(step: int) -> tuple[Tensor, Tensor]:
        if step == 11:
            raise KeyboardInterrupt
        return batches(step)

    def saving() -> Checkpoint:
        return Checkpoint(tmp_path / "state.pt", 0)

    with pytest.raises(KeyboardInterrupt):
        fit(first, killed, RECIPE, RUNTIME, seed=(0, "t"), label="t", checkpoint=saving())
    fit(second, batches, RECIPE, RUNTIME, seed=(0, "t"), label="t", checkpoint=saving())
    for a, b in zip(whole.parameters(), second.parameters(), strict=True):
        assert torch.equal(a, b)


def test_a_judge_changes_nothing_and_sees_the_last_weights_last() -> None:
    seen: list[Tensor] = []

    def judge(trained: nn.Module) -> dict[str, float]:
        assert not trained.training
        seen.append(next(trained.parameters()).detach().clone())
        return {"accuracy": 1.0 / len(seen)}

    judged, unjudged = network(), network()
    fit(judged, batches, RECIPE, RUNTIME, seed=(0, "t"), label="t", judge=judge, looks=4)
    fit(unjudged, batches, RECIPE, RUNTIME, seed=(0, "t"), label="t")
    assert len(seen) == 4
    assert not torch.equal(seen[0], seen[1])
    assert torch.equal(seen[-1], next(judged.parameters()))
    assert torch.equal(seen[-1], next(unjudged.parameters()))


def test_a_loss_that_is_no_number_is_said() -> None:
    def broken(step: int) -> tuple[Tensor, Tensor]:
        return torch.full((4, 1, 8, 8), torch.nan), torch.zeros(4, dtype=torch.int64)

    with pytest.raises(KRError, match="the loss is nan at step 1. Lower the learning rate"):
        fit(network(), broken, RECIPE, RUNTIME, seed=(0, "t"), label="Teacher")


def test_weights_that_are_not_finite_are_said_before_the_judge_looks() -> None:
    """The loss of the last step is finite; the update after it is not."""

    def last_update_breaks(network: nn.Module, images: Tensor, targets: Tensor) -> Tensor:
        loss = network(images).square().mean()
        if (seen := len(calls)) == RECIPE.steps - 1:
            loss = loss * 0 + (loss * 0).sqrt()  # 0, with a gradient that is NaN
        calls.append(seen)
        return loss

    def judge(network: nn.Module) -> dict[str, float]:
        raise AssertionError("the judge would end in a traceback")

    calls: list[int] = []
    with pytest.raises(KRError, match="the weights are no longer finite at step 20. Lower the"):
        fit(
            network(),
            batches,
            RECIPE,
            RUNTIME,
            seed=(0, "t"),
            label="Teacher",
            loss=last_update_breaks,
            judge=judge,
        )


def test_the_last_loss_is_looked_at_even_where_it_would_not_be_logged() -> None:
    recipe = Recipe(steps=403, learning_rate=0.01, weight_decay=0.0)  # every second step is logged

    def broken(step: int) -> tuple[Tensor, Tensor]:
        images, labels = batches(step)
        return images * (torch.nan if step == 401 else 1.0), labels

    with pytest.raises(NotFinite) as error:
        fit(network(), broken, recipe, RUNTIME, seed=(0, "t"), label="Teacher")
    assert error.value.step == 403


class Counter:
    """The least that the loop can train."""

    def __init__(self, bad: int = -1) -> None:
        self.seen: list[int] = []
        self.bad = bad

    def step(self, step: int) -> dict[str, Tensor]:
        self.seen.append(step)
        return {"a": torch.tensor(1.0), "b": torch.tensor(torch.nan if step == self.bad else 2.0)}

    def state_dict(self) -> dict[str, list[int]]:
        return {"seen": list(self.seen)}

    def load_state_dict(self, state: dict[str, list[int]]) -> None:
        self.seen = list(state["seen"])


def test_any_learner_is_looked_at_where_asked_and_resumed(tmp_path: Path) -> None:
    looks: list[int] = []

    def look(done: int) -> dict[str, float]:
        looks.append(done)
        if done == 6 and len(looks) == 2:
            raise KeyboardInterrupt
        return {}

    def go(learner: Counter) -> None:
        checkpoint = Checkpoint(tmp_path / "state.pt", 0)
        train(
            learner,
            8,
            seed=(0, "t"),
            label="t",
            checkpoint=checkpoint,
            look=look,
            look_after=[3, 6, 8],
        )

    with pytest.raises(KeyboardInterrupt):
        go(Counter())
    second = Counter()
    go(second)
    assert second.seen == list(range(8))
    assert looks == [3, 6, 6, 8]


def test_the_loss_that_is_not_finite_is_named() -> None:
    with pytest.raises(NotFinite, match="t: the loss `b` is nan at step 5"):
        train(Counter(bad=4), 8, seed=(0, "t"), label="t")


def test_a_state_of_another_version_and_a_damaged_one_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "state.pt"
    torch.save({"step": 3, "network": {}, "optimiser": {}}, path)
    with pytest.raises(
        KRError, match=r"state\.pt: was saved by another version of kr. Remove this"
    ):
        Checkpoint(path, 0).restore()
    for content in (b"", b"PK\x03\x04 cut short", b"text"):
        path.write_bytes(content)
        with pytest.raises(KRError, match=r"state\.pt: is damaged. Remove this file"):
            Checkpoint(path, 0).restore()


def test_the_learning_rate_ends_at_zero_and_never_rises_after_the_warm_up() -> None:
    recipe = Recipe(200, 0.3, 0.0)
    rates = [learning_rate(recipe, step) for step in range(200)]
    assert max(rates) == pytest.approx(0.3)
    assert rates[-1] == pytest.approx(0.0)
    assert all(a >= b for a, b in pairwise(rates[10:]))


def test_inference_in_chunks_equals_all_at_once() -> None:
    trained = network().eval()
    images = torch.randint(0, 256, (1100, 1, 8, 8), dtype=torch.uint8)
    expected = trained(images.float() / 127.5 - 1)
    torch.testing.assert_close(logits_of(trained, images, RUNTIME), expected)
    p = probabilities_of(trained.train(), images, RUNTIME)
    assert not trained.training, "inference switches dropout and batch statistics off"
    assert p.sum(1) == pytest.approx(1.0)
