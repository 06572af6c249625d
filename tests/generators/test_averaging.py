from __future__ import annotations

import torch
from torch import nn

from knowledge_recycling.generators.averaging import averaged


def test_the_average_equals_a_naive_loop_with_growing_memory() -> None:
    network = nn.Linear(2, 1, bias=False)
    average = averaged(network, 0.5)
    expected = 1.0
    for t in range(6):
        with torch.no_grad():
            network.weight.fill_(float(t + 1))
        average.update_parameters(network)
        decay = min(0.5, (1 + t) / (10 + t))
        expected = decay * expected + (1 - decay) * (t + 1) if t else 1.0
    torch.testing.assert_close(average.module.weight, torch.full((1, 2), expected))
