from __future__ import annotations

from typing import Any

import pytest
import torch

from knowledge_recycling.generators.adversarial import hinge_discriminator, hinge_generator
from knowledge_recycling.generators.biggan import ClassConditionalNorm, Discriminator


def test_class_conditional_norm_equals_naive_affine() -> None:
    torch.manual_seed(0)
    layer = ClassConditionalNorm(3, 4).double()
    h, condition = torch.randn(5, 3, 2, 2, dtype=torch.float64), torch.randn(5, 4).double()
    result = layer(h, condition)
    for i in range(5):
        for c in range(3):
            values = h[:, c]
            normal = (h[i, c] - values.mean()) / (values.var(correction=0) + 1e-5).sqrt()
            gain, bias = layer.gain.weight[c] @ condition[i], layer.bias.weight[c] @ condition[i]
            torch.testing.assert_close(result[i, c], (1 + gain) * normal + bias)


def test_projection_is_psi_plus_inner_product_with_the_class() -> None:
    torch.manual_seed(0)
    d = Discriminator(channels=1, classes=3, size=8, width=4).eval()
    image = torch.randn(1, 1, 8, 8).expand(3, 1, 8, 8)
    scores = d(image, torch.arange(3)).detach()
    assert len(set(scores.tolist())) == 3
    phi = d.phi(image[:1]).relu().sum((0, 2, 3))
    expected = [
        float((d.embed.weight[y] @ phi + d.psi.weight[0] @ phi + d.psi.bias).detach())
        for y in range(3)
    ]
    torch.testing.assert_close(scores, torch.tensor(expected))


def test_discriminator_weights_have_spectral_norm_one(training: Any) -> None:
    torch.manual_seed(0)
    trained = training("biggan")
    for _ in range(20):  # the power iteration follows the weights
        trained.step(torch.rand(8, 1, 8, 8) * 2 - 1, torch.arange(8) % 3, 0.0)
    weights = [
        layer.weight.detach().flatten(1) for layer in trained.discriminator.eval().normalised
    ]
    assert len(weights) == 2 * 3 + 2
    for weight in weights:
        assert float(torch.linalg.matrix_norm(weight, 2)) == pytest.approx(1, abs=0.05)


def test_hinge_losses_equal_naive_formulas() -> None:
    real, fake = torch.tensor([-2.0, 0.5, 3.0]), torch.tensor([-3.0, -0.5, 0.0, 2.0])
    naive = sum(max(0.0, 1 - r) for r in real.tolist()) / 3
    naive += sum(max(0.0, 1 + f) for f in fake.tolist()) / 4
    assert float(hinge_discriminator(real, fake)) == pytest.approx(naive)
    assert float(hinge_generator(fake)) == pytest.approx(-sum(fake.tolist()) / 4)


def test_discriminator_alone_learns_to_tell_real_from_synthetic(training: Any) -> None:
    """Without the Generator's step the loss falls from 2 towards 0: gradients reach D rightly."""
    torch.manual_seed(0)
    trained = training("biggan", augmentation=False, discriminator_steps=60, learning_rate=2e-3)
    images = torch.linspace(-1, 1, 8).expand(16, 1, 8, 8)
    assert float(trained.step(images, torch.arange(16) % 3, 0.0)["discriminator"]) < 0.5
