"""Pretrains the network on procedural scenes: `python -m knowledge_recycling.features.pretraining`.

SimCLR's loss (Chen et al. 2020, arXiv:2002.05709) on pairs of renderings of a scene, every scene
drawn once: as DP-RandP (arXiv:2306.06076), a prior that holds no private bit.
"""

from __future__ import annotations

import math
import sys

import torch
from safetensors.torch import save_file
from torch import Tensor
from torch.nn.functional import cross_entropy

from knowledge_recycling.features.network import FILE, Network
from knowledge_recycling.features.scenes import Dice, draw_scenes, render

SEED = 20260101
STEPS = 2400
PAIRS = 128
RATE = 2e-3
TEMPERATURE = 0.15


def contrastive_loss(z: Tensor, temperature: float = TEMPERATURE) -> Tensor:
    """Mean over 2n unit vectors of -log softmax(z z' / temperature) at the other of the pair.

    Args:
        z: (2n, d); rows i and i + n are a pair.
        temperature: divides the similarities.
    """
    n = len(z) // 2
    similarity = (z @ z.T / temperature).fill_diagonal_(-1e9)
    return cross_entropy(similarity, torch.arange(2 * n).roll(n))


def pretrain(steps: int, report: int = 100) -> Network:
    """Trains a network for `steps` batches of pairs, from a constant seed."""
    torch.manual_seed(SEED)
    network = Network().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimiser = torch.optim.AdamW(network.parameters(), RATE, weight_decay=1e-3)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimiser, lambda t: min(1, (t + 1) / 50) * (1 + math.cos(math.pi * t / steps)) / 2
    )
    dice = Dice(SEED)
    for step in range(steps):
        scenes = draw_scenes(PAIRS, dice)
        loss = contrastive_loss(network(torch.cat([render(scenes, dice), render(scenes, dice)])))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
        if step % report == 0:
            print(f"step {step} of {steps}: loss {loss.item():.3f}", flush=True)
    return network.eval()


def main() -> None:
    """Writes the weights of all but the projection, as float16."""
    torch.set_num_threads(1)
    network = pretrain(int(sys.argv[1]) if len(sys.argv) > 1 else STEPS)
    weights = {
        name: value.half().contiguous()
        for name, value in network.state_dict().items()
        if not name.startswith("projection") and not name.endswith("num_batches_tracked")
    }
    save_file(weights, FILE)


if __name__ == "__main__":
    main()
