"""What several folders of tests share."""

from __future__ import annotations

import pytest

import knowledge_recycling as kr
from tests.small_runs import CANARIES, COUNT, TINY


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
