from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from knowledge_recycling.auditing.score_files import load_scores
from knowledge_recycling.errors import KRError


def test_arrays_come_back(tmp_path: Path) -> None:
    arrays: dict[str, Any] = {
        "signals": np.eye(3),
        "membership": np.eye(3) > 0,
        "groups": np.array(["a", "b", "c"]),
    }
    np.savez(tmp_path / "a.npz", **arrays)
    found = load_scores(tmp_path / "a.npz")
    assert found.keys() == arrays.keys()
    for name, array in arrays.items():
        np.testing.assert_array_equal(found[name], array)


ONE = np.ones(1)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({}, "expected either member_scores and nonmember_scores.*found nothing"),
        ({"member_scores": ONE}, "expected either .* found member_scores"),
        ({"signals": ONE, "nonmember_scores": ONE}, "found nonmember_scores, signals"),
        (
            {"member_scores": ONE, "nonmember_scores": ONE, "signals": ONE, "membership": ONE},
            "expected either",
        ),
        ({"signals": ONE, "membership": ONE, "extra": ONE}, "unknown array extra; also taken: "),
        ({"member_scores": np.array(["x"]), "nonmember_scores": ONE}, "member_scores holds <U1"),
        (
            {"member_scores": np.array([{}], dtype=object), "nonmember_scores": ONE},
            "cannot be read as an npz file of plain arrays",
        ),
    ],
)
def test_wrong_contents_are_explained(tmp_path: Path, arrays: dict[str, Any], message: str) -> None:
    np.savez(tmp_path / "a.npz", **arrays)
    with pytest.raises(KRError, match=message):
        load_scores(tmp_path / "a.npz")


def test_wrong_files_are_explained(tmp_path: Path) -> None:
    with pytest.raises(KRError, match=r"none\.npz: there is no such file"):
        load_scores(tmp_path / "none.npz")
    for content in (b"", b"text", b"PK\x03\x04broken"):
        (tmp_path / "bad.npz").write_bytes(content)
        with pytest.raises(KRError, match="cannot be read as an npz file of plain arrays"):
            load_scores(tmp_path / "bad.npz")
    np.save(tmp_path / "a.npy", np.ones(2))
    with pytest.raises(KRError, match="a single array, not an npz file"):
        load_scores(tmp_path / "a.npy")


def test_a_damaged_file_ends_in_a_sentence_or_in_arrays(tmp_path: Path) -> None:
    np.savez_compressed(tmp_path / "a.npz", member_scores=np.arange(9.0), nonmember_scores=ONE)
    whole = (tmp_path / "a.npz").read_bytes()
    random = np.random.default_rng(0)
    for _ in range(300):
        bad = bytearray(whole)
        for place in random.integers(0, len(bad), 3):
            bad[place] = random.integers(0, 256)
        (tmp_path / "a.npz").write_bytes(bytes(bad[: random.integers(1, len(bad) + 1)]))
        with contextlib.suppress(KRError):
            load_scores(tmp_path / "a.npz")
