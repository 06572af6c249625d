"""A small adversarial training."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import pytest
import torch

from knowledge_recycling import config
from knowledge_recycling.stages.generator import ADVERSARIAL

SECTIONS: dict[str, type[config.Adversarial]] = {"biggan": config.BigGAN, "r3gan": config.R3GAN}
MakeTraining = Callable[..., Any]


@pytest.fixture
def training() -> MakeTraining:
    def make(
        method: str,
        *,
        channels: int = 1,
        classes: int = 3,
        size: int = 8,
        autocast: Any = nullcontext,
        **fields: Any,
    ) -> Any:
        settings = {"width": 4, "latent_dim": 6, "learning_rate": 1e-3, **fields}
        return ADVERSARIAL[method](
            SECTIONS[method].model_validate({"method": method, **settings}),
            channels=channels,
            classes=classes,
            size=size,
            device=torch.device("cpu"),
            autocast=autocast,
        )

    return make
