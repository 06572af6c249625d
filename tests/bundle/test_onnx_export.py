"""The exported graph takes any number of images, for every kind of network."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from torch import Tensor, nn

from knowledge_recycling.bundle import onnx_export
from knowledge_recycling.classifiers.feature_network import FeatureNetwork
from knowledge_recycling.errors import KRError


@pytest.mark.usefixtures("small_features")
def test_a_private_runs_student_takes_any_number_of_images(tmp_path: Path) -> None:
    student = FeatureNetwork(1, 2, "none", 30).eval()
    onnx_export.write(tmp_path / "s.onnx", student, ("a", "b"), 1, 28)
    session = onnxruntime.InferenceSession(tmp_path / "s.onnx")
    for n in (1, 2, 57):
        assert session.run(None, {"images": np.zeros((n, 1, 28, 28), np.uint8)})[0].shape == (n, 2)


class FixedNumber(nn.Module):
    def forward(self, images: Tensor) -> Tensor:
        return images.flatten(1)[:, :2] + torch.zeros(len(images), 2)


def test_a_graph_for_one_number_of_images_is_refused(tmp_path: Path) -> None:
    with pytest.raises(KRError, match="does not take any number of images"):
        onnx_export.write(tmp_path / "s.onnx", FixedNumber(), ("a", "b"), 1, 8)
    assert not (tmp_path / "s.onnx").exists()
