"""Class-conditional Generators G(z, y), one method a file.

Each file has a network and its training, with the same small interface:

- `G(z, labels)`: z (n, `G.latent_dim`) ~ N(0, s^2 I) and labels (n,) to images (n, c, h, w) in
  -1..1 in one forward pass; `G.spec` holds the keyword arguments that rebuild it.
- `Training(config, channels=, classes=, size=, device=, autocast=, ...)` with
  `step(images, labels, progress)` -> losses, `snapshot(images, labels)` -> G with averaged
  weights, `state_dict()` and `load_state_dict()` for an exact resumption.

Side lengths are g * 2^k with a base grid g of 4 to 8. `adversarial.py` holds what
the adversarial methods have in common.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from knowledge_recycling.generators.biggan import BigGAN
from knowledge_recycling.generators.interface import Generator
from knowledge_recycling.generators.latent import LatentGenerator
from knowledge_recycling.generators.r3gan import R3GAN
from knowledge_recycling.storage import load_network, save_network

NETWORKS: dict[str, type[Generator]] = {
    "latent": LatentGenerator,
    "biggan": BigGAN,
    "r3gan": R3GAN,
}


def save(path: Path, method: str, network: Generator) -> None:
    """Writes a snapshot."""
    save_network(path, network, {"method": method, "spec": network.spec})


def load(path: Path) -> Generator:
    """Reads a snapshot, in eval mode, on the CPU."""

    def build(method: str, spec: dict[str, Any]) -> Generator:
        return NETWORKS[method](**spec)

    return load_network(path, build)
