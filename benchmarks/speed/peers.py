"""Which other tools are measured: they live in an environment of their own.

python3.11 -m venv PEERS
PEERS/bin/pip install torch==2.13.0
PEERS/bin/pip install adversarial-robustness-toolbox sacroml jax-privacy
python -m benchmarks.speed --peers PEERS/bin/python
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping
from functools import cache

from benchmarks.speed.turns import Program

NEEDS = {
    "art": "adversarial-robustness-toolbox",
    "sacroml": "sacroml",
    "sacroml_scores": "sacroml",
    "jax_privacy": "jax-privacy",
}
"""Program of `peer_work` -> distribution that it needs."""
INSTALLED = """
import importlib.metadata, json
found = importlib.metadata.distributions()
names = [(each.metadata["Name"].lower().replace("_", "-"), each.version) for each in found]
print(json.dumps(dict(names)))
"""


@cache
def installed(python: str | None) -> dict[str, str]:
    """Distribution -> version, of those that are measured, in an interpreter's environment."""
    if python is None:
        return {}
    done = subprocess.run([python, "-c", INSTALLED], capture_output=True, text=True, check=True)
    found: dict[str, str] = json.loads(done.stdout)
    return {name: found[name] for name in ("torch", *NEEDS.values()) if name in found}


def programs(
    versions: Mapping[str, tuple[str, int | None]], count: int, python: str | None
) -> dict[str, Program]:
    """Version -> program, of the peers that are installed.

    Args:
        versions: version -> name of a program of `peer_work`, and its threads (see `Program`).
        count: the programs' size.
        python: the peers' interpreter; None: there is none.
    """
    there = installed(python)
    return {
        version: Program(
            ("-m", "benchmarks.speed.peer_work", name, str(count)), python or "", threads=threads
        )
        for version, (name, threads) in versions.items()
        if NEEDS[name] in there
    }
