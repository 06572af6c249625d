"""Networks of Teacher and Student, and the one supervised training loop."""

from __future__ import annotations

import importlib
from functools import partial
from pathlib import Path
from typing import NotRequired, TypedDict

from torch import nn

from knowledge_recycling.classifiers.feature_network import FeatureNetwork
from knowledge_recycling.classifiers.resnet import ResNet
from knowledge_recycling.errors import KRError
from knowledge_recycling.storage.networks import load_network, save_network

OWN = ("resnet", "features")
"""Networks of this package, which a file may name."""


class Spec(TypedDict):
    """The keyword arguments of `build` that a file keeps."""

    network: str
    channels: int
    classes: int
    size: int
    width: int
    blocks: tuple[int, ...] | list[int]
    symmetry: NotRequired[str]
    block: NotRequired[int]


def build(
    *,
    network: str,
    channels: int,
    classes: int,
    size: int,
    width: int,
    blocks: tuple[int, ...] | list[int],
    symmetry: str = "none",
    block: int = 0,
    trust_code: bool = False,
) -> nn.Module:
    """Makes an untrained classifier: images (n, channels, size, size) in -1..1 to logits (n, C).

    Args:
        network: `resnet`, `features`, or `package.module:factory`, a function of (channels,
            classes, size).
        channels: 1 grey, 3 colour.
        classes: C.
        size: side of the images in pixels.
        width: ResNet only: channels of the first stage.
        blocks: ResNet only: residual blocks of each stage.
        symmetry: `features` only, see `features.Features`.
        block: `features` only: features of each of the three blocks.
        trust_code: import and call whatever `network` names.

    Raises:
        KRError: the import path is not trusted, leads nowhere, or not to a network.
    """
    if network == "features":
        return FeatureNetwork(channels, classes, symmetry, block)
    if network == "resnet":
        return ResNet(channels, classes, width, tuple(blocks), size)
    if ":" in network and not trust_code:
        raise KRError(
            f"network {network!r} is no part of this package: building it imports and runs that "
            "code. If you trust it, give trust_code=True."
        )
    module, colon, factory = network.partition(":")
    try:
        if not colon:
            raise ImportError("expected `resnet` or package.module:factory")
        made = getattr(importlib.import_module(module), factory)(channels, classes, size)
    except (ImportError, AttributeError, TypeError) as error:
        raise KRError(f"network {network!r} cannot be made: {error}") from None
    if not isinstance(made, nn.Module):
        raise KRError(f"network {network!r} made a {type(made).__name__}, not a torch.nn.Module")
    return made


def save(path: Path, network: nn.Module, spec: Spec) -> None:
    """Writes a classifier and what makes it."""
    save_network(path, network, spec)


def load(path: Path, *, trust_code: bool = False) -> nn.Module:
    """Reads a classifier, in eval mode, on the CPU.

    Args:
        path: as given to `save`.
        trust_code: see `build`; the file may have been made by anybody.
    """
    return load_network(path, partial(build, trust_code=trust_code))
