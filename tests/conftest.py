"""What several folders of tests share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

import knowledge_recycling as kr
from knowledge_recycling import features
from tests.small_runs import CANARIES, COUNT, TINY


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Keeps what shares a fixture in one process of `pytest -n`, so that it is made once."""
    for item in items:
        shared = {"audited", "released"} & set(getattr(item, "fixturenames", ()))
        group = min(shared) if shared else item.nodeid.partition("::")[0]
        item.add_marker(pytest.mark.xdist_group(group))


@pytest.fixture(autouse=True)
def own_ledger(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test writes into the ledger of whoever runs it."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


@pytest.fixture
def small_features(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Features scaled by few procedural images, in a second instead of twenty."""
    monkeypatch.setattr(features, "PROCEDURAL", 150)
    monkeypatch.setattr(features, "LARGEST", 120)
    features._largest.cache_clear()
    yield
    features._largest.cache_clear()


@pytest.fixture(scope="session")
def audited(tmp_path_factory: pytest.TempPathFactory) -> kr.Run:
    """A small real run on digits with shadows and canaries; leave it as it is found."""
    return kr.run(
        "digits",
        tmp_path_factory.mktemp("runs") / "digits",
        settings=TINY,
        shadows=COUNT,
        workers=2,
        reuse_choices=True,
        canaries=CANARIES,
    )
