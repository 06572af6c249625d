"""What a training step does, counted: a step that does more than it did is noticed at any speed.

Times depend on the machine; how many operations are started, how many bytes are taken and how often
a step asks for a number do not. Where a change makes a step do less, lower its bounds.
"""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.optim.optimizer import (
    register_optimizer_step_post_hook,
    register_optimizer_step_pre_hook,
)
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

import knowledge_recycling as kr
from knowledge_recycling.stages import generator
from knowledge_recycling.training import loop
from knowledge_recycling.training.checkpoint import State
from tests.small_runs import TINIEST

FIRST, STEPS = 10, 4
"""Of 20: late enough for the adversary to be heard, which learns at every second one."""
SETTINGS = (
    *TINIEST,
    "precision=fp32",
    "teacher.batch_size=64",
    "teacher.steps=20",
    "generator.batch_size=64",
    "distillation.batch_size=64",
    "distillation.steps=20",
    "distillation.labels=soft",
)


@dataclass(frozen=True)
class Cost:
    """Of one step."""

    numbers: float
    """Asked of a tensor, as by `.item()`, for which a GPU would be waited; not the optimiser's."""
    convolutions: float
    """Forward and backward."""
    operations: float
    """All that is dispatched but for the optimisers."""
    updates: float
    """What the optimisers dispatch."""
    kibibytes: float
    """Of all tensors that are made, but for the optimisers'."""


BOUNDS = {
    "Teacher": Cost(0, 12, 140, 4, 3870),
    # The numbers are of the average's count of steps, which never lies on a GPU.
    "Generator": Cost(4, 47, 820, 30, 17_500),
    "Student": Cost(0, 18, 220, 4, 6070),
}
"""What was counted, and 5% for other versions of torch where that is more than none."""


class Counter(TorchDispatchMode):
    """Counts what is dispatched while it is entered."""

    def __init__(self) -> None:
        super().__init__()
        self.updating = False
        self.numbers = self.convolutions = self.operations = self.updates = self.bytes = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Calls one operation."""
        made = func(*args, **(kwargs or {}))
        if self.updating:
            self.updates += 1
            return made
        name = func.overloadpacket.__name__
        self.operations += 1
        self.numbers += name == "_local_scalar_dense"
        self.convolutions += name in ("convolution", "convolution_backward")
        given = {storage(x) for x in tree_leaves((args, kwargs)) if isinstance(x, Tensor)}
        fresh = {storage(x): x.nbytes for x in tree_leaves(made) if isinstance(x, Tensor)}
        self.bytes += sum(size for where, size in fresh.items() if where not in given)
        return made

    @contextlib.contextmanager
    def optimisers_apart(self) -> Iterator[None]:
        """Knows when an optimiser is at work."""
        hooks = (
            register_optimizer_step_pre_hook(lambda *_: setattr(self, "updating", True)),
            register_optimizer_step_post_hook(lambda *_: setattr(self, "updating", False)),
        )
        try:
            yield
        finally:
            for hook in hooks:
                hook.remove()


def storage(x: Tensor) -> int:
    return x.untyped_storage().data_ptr()


def cost(learner: loop.Learner) -> Cost:
    """Means over some steps."""
    counter = Counter()
    learner.step(FIRST - 1)  # draws the Student's images
    with counter.optimisers_apart(), counter:
        for step in range(FIRST, FIRST + STEPS):
            learner.step(step)
    return Cost(
        counter.numbers / STEPS,
        counter.convolutions / STEPS,
        counter.operations / STEPS,
        counter.updates / STEPS,
        counter.bytes / STEPS / 1024,
    )


def over(found: Cost, bound: Cost) -> set[str]:
    """Names of what a step does more of than it may."""
    return {name for name, value in asdict(found).items() if value > asdict(bound)[name]}


@pytest.fixture(scope="module")
def learners(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Stage -> what the training loop was given in a small run."""
    given: dict[str, Any] = {}
    original = loop.train

    def seen(learner: loop.Learner, *args: Any, label: str, **options: Any) -> None:
        given[label.split(" (")[0]] = learner
        original(learner, *args, label=label, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "train", seen)
        patch.setattr(generator, "train", seen)
        path = tmp_path_factory.mktemp("counts") / "run"
        kr.run("digits", path, settings=SETTINGS, until="distillation")
    return given


@pytest.mark.parametrize("stage", BOUNDS)
def test_a_step_does_no_more_than_it_did(learners: dict[str, Any], stage: str) -> None:
    found = cost(learners[stage])
    assert over(found, BOUNDS[stage]) == set(), found


def asks(learner: Any) -> None:
    """Asks for the loss at each step."""
    of = learner.loss
    learner.loss = lambda *given: with_number(of(*given))


def with_number(loss: Tensor) -> Tensor:
    assert loss.item() >= 0
    return loss


def asks_in_the_generator(learner: Any) -> None:
    """Asks for a loss of the Generator at each step."""
    training = learner.trainings[0]
    of = training.feature_maps
    training.feature_maps = lambda x: [with_number(part.square().sum()) * part for part in of(x)]


def reads_twice(learner: Any) -> None:
    """Passes each batch through the network twice."""
    of = learner.loss
    learner.loss = lambda *given: (of(*given), of(*given))[1]


def answers_twice(learner: Any) -> None:
    """Asks the Teacher for its answer twice."""
    of, teacher = learner.loss, learner.batches.source.teacher

    def loss(student: Any, images: Tensor, classes: Tensor) -> Tensor:
        with torch.no_grad():
            teacher(images)
        return of(student, images, classes)

    learner.loss = loss


def looks_twice(learner: Any) -> None:
    """Computes the Teacher's feature maps twice."""
    training = learner.trainings[0]
    of = training.feature_maps
    training.feature_maps = lambda x: (of(x), of(x))[1]


def updates_one_by_one(learner: Any) -> None:
    """Lets the optimiser go from weight to weight, no longer fused."""
    for group in learner.optimiser.param_groups:
        group |= {"fused": False, "foreach": False}


WORK = {"convolutions", "operations", "kibibytes"}


@pytest.mark.parametrize(
    ("stage", "plant", "noticed"),
    [
        ("Teacher", asks, {"numbers"}),
        ("Teacher", reads_twice, WORK),
        ("Teacher", updates_one_by_one, {"updates"}),
        ("Generator", asks_in_the_generator, {"numbers"}),
        ("Generator", looks_twice, WORK),
        ("Student", asks, {"numbers"}),
        ("Student", answers_twice, WORK),
    ],
)
def test_a_step_that_does_more_is_noticed(
    learners: dict[str, Any], stage: str, plant: Callable[[Any], None], noticed: set[str]
) -> None:
    learner = copy.deepcopy(learners[stage])
    plant(learner)
    assert noticed <= over(cost(learner), BOUNDS[stage])


class Idle:
    """A learner that does nothing."""

    def step(self, step: int) -> State:
        """No update."""
        return {"loss": torch.ones(())}

    def state_dict(self) -> State:
        """Nothing."""
        return {}

    def load_state_dict(self, state: State) -> None:
        """Nothing."""


def test_the_loop_asks_for_the_loss_at_every_200th_of_the_way_alone() -> None:
    counter = Counter()
    with counter:
        loop.train(Idle(), 1000, seed=(0, "idle"), label="idle")
    assert counter.numbers == 201
