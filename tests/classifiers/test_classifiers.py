from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from knowledge_recycling import classifiers
from knowledge_recycling.classifiers.augmentation import augment
from knowledge_recycling.classifiers.inference import features_of, logits_of
from knowledge_recycling.classifiers.resnet import Pointwise, ResNet
from knowledge_recycling.config import Classifier, Config
from knowledge_recycling.errors import KRError
from knowledge_recycling.training.images import CHUNK
from knowledge_recycling.training.runtime import Runtime

SPEC: classifiers.Spec = {
    "network": "resnet",
    "channels": 3,
    "classes": 4,
    "size": 28,
    "width": 4,
    "blocks": (1, 1),
}


def tiny_linear(channels: int, classes: int, size: int) -> nn.Module:
    """A user's own network."""
    return nn.Sequential(nn.Flatten(), nn.Linear(channels * size * size, classes))


def not_a_network(channels: int, classes: int, size: int) -> int:
    return classes


def test_resnet18_has_the_known_number_of_parameters() -> None:
    # The CIFAR form of ResNet-18 (3x3 stem, width 64) has 11,173,962 parameters for 10 classes.
    network = ResNet(3, 10, 64, (2, 2, 2, 2))
    assert sum(p.numel() for p in network.parameters()) == 11_173_962


def test_feature_maps_halve_the_grid() -> None:
    maps = ResNet(1, 2, 4, (1, 1, 1)).feature_maps(torch.zeros(2, 1, 28, 28))
    assert [tuple(m.shape[1:]) for m in maps] == [(4, 28, 28), (4, 28, 28), (8, 14, 14), (16, 7, 7)]


@pytest.mark.parametrize("step", [1, 2])
def test_a_step_is_a_stride(step: int) -> None:
    torch.manual_seed(0)
    x = torch.randn(3, 9, 7, 7, requires_grad=True)
    ours = Pointwise(9, 5, step)
    ours(x).square().sum().backward()
    found, x.grad = x.grad, None
    y = nn.functional.conv2d(x, ours.weight, stride=step)
    torch.testing.assert_close(ours(x), y)
    y.square().sum().backward()
    torch.testing.assert_close(found, x.grad)


NARROW = """
import torch
from knowledge_recycling.classifiers.resnet import Block
torch.set_num_threads(1)
block = Block(4, 8, 2).to(memory_format=torch.channels_last)
x = torch.randn(64, 4, 28, 28).to(memory_format=torch.channels_last).requires_grad_()
for step in range(60):
    block(x).square().mean().backward()
    kept = [torch.randn(16 * (step % 50)) for _ in range(5)]
"""


def test_a_narrow_network_writes_within_its_memory() -> None:
    """In a process of its own, for it would be killed where the heap is damaged."""
    done = subprocess.run([sys.executable, "-c", NARROW], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_penultimate_features_are_what_the_head_sees() -> None:
    network = ResNet(1, 3, 4, (1, 1))
    runtime = Runtime.start(Config(precision="fp32"))
    images = torch.randint(0, 256, (CHUNK + 3, 1, 8, 8), dtype=torch.uint8)
    features, space = features_of(network, images, runtime)
    assert space == "penultimate features"
    assert features.shape == (CHUNK + 3, 8)
    assert not network.training
    with torch.no_grad():
        torch.testing.assert_close(network.head(features), logits_of(network, images, runtime))


def test_features_of_a_network_of_the_users_own() -> None:
    class Own(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.flatten(1)[:, :2]

    class Showing(Own):
        def feature_maps(self, x: Tensor) -> list[Tensor]:
            return [x, x.flatten(1)[:, :5]]

    runtime = Runtime.start(Config(precision="fp32"))
    images = torch.randint(0, 256, (3, 1, 8, 8), dtype=torch.uint8)
    logits, space = features_of(Own(), images, runtime)
    assert space == "logits"
    assert torch.equal(logits, logits_of(Own(), images, runtime))
    flat, space = features_of(Showing(), images, runtime)
    assert (space, flat.shape) == ("penultimate features", (3, 5))


def test_a_network_comes_back_from_disk(tmp_path: Path) -> None:
    network = classifiers.build(**SPEC).eval()
    classifiers.save(tmp_path / "network", network, SPEC)
    images = torch.randn(2, 3, 28, 28)
    assert torch.equal(classifiers.load(tmp_path / "network")(images), network(images))


def test_a_damaged_network_is_said(tmp_path: Path) -> None:
    classifiers.save(tmp_path / "network", classifiers.build(**SPEC), SPEC)
    (tmp_path / "network.safetensors").write_bytes(b"nonsense")
    with pytest.raises(KRError, match="not a network that this run wrote"):
        classifiers.load(tmp_path / "network")


def test_own_network_by_import_path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(Path(__file__).parent)
    made = classifiers.build(
        **(SPEC | {"network": f"{Path(__file__).stem}:tiny_linear"}), trust_code=True
    )
    assert made(torch.zeros(2, 3, 28, 28)).shape == (2, 4)


@pytest.mark.parametrize(
    ("network", "message"),
    [
        ("vgg", "expected `resnet` or package.module:factory"),
        ("no_such_package:make", "cannot be made: No module named"),
        ("math:no_such_function", "cannot be made: module 'math' has no attribute"),
        ("math:gcd", "made a int, not a torch.nn.Module"),
    ],
)
def test_a_wrong_import_path_is_said(network: str, message: str) -> None:
    with pytest.raises(KRError, match=message):
        classifiers.build(**(SPEC | {"network": network}), trust_code=True)


def test_code_from_elsewhere_runs_only_where_trusted(tmp_path: Path) -> None:
    mark = tmp_path / "ran"
    hostile: Any = {"network": "builtins:exec", "channels": f"open({str(mark)!r}, 'w')"}
    spec: Any = SPEC | hostile
    classifiers.save(tmp_path / "network", classifiers.build(**SPEC), spec)
    with pytest.raises(
        KRError, match="'builtins:exec' is no part of this package.*trust_code=True"
    ):
        classifiers.load(tmp_path / "network")
    assert not mark.exists()


def test_shifts_equal_a_naive_loop() -> None:
    images = torch.randint(0, 256, (6, 3, 9, 9), dtype=torch.uint8)
    torch.manual_seed(1)
    moved = augment(images, Classifier(shift=2))
    torch.manual_seed(1)
    offset = torch.randint(0, 5, (2, 6, 1)) - 2
    for i, (image, got) in enumerate(zip(images, moved, strict=True)):
        for r in range(9):
            for c in range(9):
                row = min(max(r + int(offset[0, i, 0]), 0), 8)
                column = min(max(c + int(offset[1, i, 0]), 0), 8)
                assert torch.equal(got[:, r, c], image[:, row, column])


def test_flips_only_where_asked() -> None:
    images = torch.arange(64, dtype=torch.uint8).reshape(1, 1, 8, 8).repeat(40, 1, 1, 1)
    assert torch.equal(augment(images, Classifier(shift=0)), images)
    flipped = augment(images, Classifier(shift=0, horizontal_flip=True))
    count = sum(torch.equal(image, images[0].flip(2)) for image in flipped)
    assert 5 < count < 35
    assert all(
        torch.equal(image, images[0]) or torch.equal(image, images[0].flip(2)) for image in flipped
    )
