"""A release of private noise from a private place: whatever of it comes out is a leak."""

from __future__ import annotations

import getpass
import platform
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

import knowledge_recycling as kr
from tests.small_runs import TINIEST

HOST, USER, PLACE = "plantedhost77", "planteduser77", "plantedclinic77"


@dataclass(frozen=True)
class Released:
    run: Path
    bundle: Path
    private: np.ndarray
    """(n, 8, 8) uint8 noise."""


@pytest.fixture(scope="session")
def released(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Released]:
    folder = tmp_path_factory.mktemp("release") / PLACE
    folder.mkdir()
    rng = np.random.default_rng(0)
    private = rng.integers(0, 256, (400, 8, 8), dtype=np.uint8)
    classes = np.array(["benign", "malignant"])
    np.savez(folder / "images.npz", images=private, labels=np.arange(400) % 2, class_names=classes)
    with pytest.MonkeyPatch.context() as patch:
        for name in ("USER", "LOGNAME", "USERNAME"):
            patch.setenv(name, USER)
        patch.setenv("HOSTNAME", HOST)
        patch.setattr(socket, "gethostname", lambda: HOST)
        patch.setattr(platform, "node", lambda: HOST)
        patch.setattr(getpass, "getuser", lambda: USER)
        run = kr.run(folder / "images.npz", folder / "run", settings=TINIEST)
        bundle = folder / "bundle"
        kr.release(run, bundle, synthetic=30, override="only a test")
        yield Released(run.path, bundle, private)
