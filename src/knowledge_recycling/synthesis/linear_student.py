"""A Student on the Teacher's fixed features, from synthetic images and soft labels alone.

Half of the images are the Generator's, half procedural ones that hold no private bit: the Generator
alone leaves directions of the features without an image, in which the Student would know nothing.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import interpolate

from knowledge_recycling.classifiers.feature_network import FeatureNetwork
from knowledge_recycling.classifiers.linear_head import learn_answers
from knowledge_recycling.features.procedural import draw
from knowledge_recycling.synthesis.source import Source
from knowledge_recycling.training.pixels import to_bytes, to_float

LEAST = 1000
"""Fewest images; of each kind at least as many as there are features."""
CHUNK = 512


def learn(source: Source, seed: int) -> tuple[FeatureNetwork, int]:
    """The Student, in eval mode, and how many images it learnt from.

    Args:
        source: Generator, and a Teacher that is a `FeatureNetwork`.
        seed: of the synthetic images.

    Returns:
        A network of the Teacher's features and centre with weights of its own.
    """
    teacher = source.teacher
    assert isinstance(teacher, FeatureNetwork)
    half = max(LEAST // 2, teacher.features.dim)
    made = source.draw(half, seed).images
    images = torch.cat([made, _procedural(half, seed, made.shape[1], made.shape[2])])
    x = torch.cat([teacher.inputs(to_float(chunk)) for chunk in images.split(CHUNK)])
    soft = (x @ teacher.weights).double().softmax(1)
    weights = learn_answers(x.double().cpu().numpy(), soft.detach().cpu().numpy())
    features = teacher.features
    student = FeatureNetwork(features.channels, weights.shape[1], features.symmetry, features.block)
    student.load_state_dict(
        teacher.state_dict() | {"weights": torch.from_numpy(weights.astype(np.float32))}
    )
    return student.to(source.runtime.device).eval(), 2 * half


def _procedural(count: int, seed: int, channels: int, size: int) -> Tensor:
    images = draw(count, channels, seed % 2**31)
    if images.shape[2] != size:
        images = interpolate(images, (size, size), mode="bilinear", antialias=True)
    return to_bytes(2 * images - 1)
