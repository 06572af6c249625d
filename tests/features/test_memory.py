"""What was computed is given again, as long as it fits."""

import torch

from knowledge_recycling.features import Features
from knowledge_recycling.features.memory import MEMORY, Memory, digest


def test_keeps_the_last_ones_within_its_limit() -> None:
    memory, made = Memory(limit=100), list[int]()

    def compute(size: int) -> torch.Tensor:
        made.append(size)
        return torch.zeros(size)

    for key in (b"a", b"b", b"a", b"c", b"a", b"b"):
        memory.get(key, lambda: compute(10))  # 40 bytes each, two fit
    assert len(made) == 4  # a, b, c, and b again, which c had pushed out
    assert memory.size == 80
    memory.get(b"large", lambda: compute(100))
    assert (memory.size, len(memory.kept)) == (0, 0)


def test_digest_tells_values_shapes_and_types_apart() -> None:
    x = torch.arange(6.0)
    alike = [x, x.reshape(2, 3), x.reshape(3, 2), x.double(), x + 1]
    assert len({digest(each) for each in alike}) == 5
    assert digest(x.reshape(2, 3).T.contiguous().T) == digest(x.reshape(2, 3))


def test_two_networks_of_the_same_features_compute_them_once() -> None:
    images = torch.rand(3, 1, 28, 28)
    one, two = Features(1, "flip", 4), Features(1, "flip", 4)
    state = {name: torch.randn_like(value) for name, value in one.state_dict().items()}
    one.load_state_dict(state)
    two.load_state_dict(state)
    before = len(MEMORY.kept)
    assert torch.equal(one(images), two(images))
    assert len(MEMORY.kept) == before + 1
    other = one(images)
    two.load_state_dict({name: -value for name, value in state.items()})
    assert not torch.equal(two(images), other)
