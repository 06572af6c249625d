"""Class-conditional Generators G(z, y), one method a file.

Each file has a network and its training, with the same small interface:

- `G(z, labels)`: z (n, `G.latent_dim`) ~ N(0, s^2 I) and labels (n,) to images (n, c, h, w) in
  -1..1 in one forward pass; `G.spec` holds the keyword arguments that rebuild it.
- a training, made from (config, channels=, classes=, size=, device=, autocast=, ...), that offers
  what `interface.Training` says.

What is drawn from is always a `Mixture`, of one Generator or more.

Side lengths are g * 2^k with a base grid g of 4 to 8. `adversarial.py` holds what
the adversarial methods have in common.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from knowledge_recycling.generators.biggan import BigGAN
from knowledge_recycling.generators.interface import Generator
from knowledge_recycling.generators.latent import LatentGenerator
from knowledge_recycling.generators.mixture import Mixture
from knowledge_recycling.generators.moments import MomentsGenerator
from knowledge_recycling.generators.r3gan import R3GAN
from knowledge_recycling.storage.networks import load_network, save_network

NETWORKS: dict[str, type[Generator]] = {
    "latent": LatentGenerator,
    "biggan": BigGAN,
    "r3gan": R3GAN,
    "moments": MomentsGenerator,
}


def save(path: Path, method: str, networks: Sequence[Generator]) -> None:
    """Writes a snapshot: Generators of one method that are to be mixed."""
    specs = [network.spec for network in networks]
    save_network(path, Mixture(networks), {"method": method, "specs": specs})


def load(path: Path) -> Mixture:
    """Reads a snapshot, in eval mode, on the CPU."""

    def build(method: str, specs: list[dict[str, Any]]) -> Mixture:
        return Mixture([NETWORKS[method](**spec) for spec in specs])

    return load_network(path, build)
