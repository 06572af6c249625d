"""A run decodes the files of its images once, and keeps them to itself."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import knowledge_recycling as kr
from knowledge_recycling import data
from knowledge_recycling.data import assemble, source
from tests.faults.test_faults import SETTINGS, contents


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """96 grey images of 8 pixels in two classes, the second brighter."""
    random = np.random.default_rng(0)
    for i in range(96):
        path = tmp_path / "set" / "ab"[i % 2] / f"{i:02}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = random.integers(0, 120, (8, 8)) + 100 * (i % 2)
        Image.fromarray(pixels.astype(np.uint8)).save(path)
    return tmp_path / "set"


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """One for each time that the images are decoded."""
    seen: list[int] = []
    every = assemble._decode_all

    def counted(listed: assemble.Listed, *rest: Any) -> Any:
        seen.append(listed.total)
        return every(listed, *rest)

    monkeypatch.setattr(assemble, "_decode_all", counted)
    return seen


def forget() -> None:
    """As in a new process."""
    source._read.cache_clear()
    source._with_canaries.cache_clear()


def test_stages_resumptions_shadows_and_forks_share_what_was_decoded_once(
    folder: Path, tmp_path: Path, decoded: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: dict[str, Any] = {"shadows": 8, "canaries": 6, "reuse_choices": True}
    asked |= {"settings": SETTINGS}
    kr.run(folder, tmp_path / "a" / "run", settings=SETTINGS)
    forget()
    run = kr.run(folder, tmp_path / "a" / "run", **asked)
    forget()
    kr.audit(run)
    forget()
    kr.run(folder, run, fork=tmp_path / "a" / "fork", settings=SETTINGS, seed=0)
    assert decoded == [96]
    found = sorted(p.relative_to(tmp_path / "a").as_posix() for p in tmp_path.rglob("images.npy"))
    assert found == ["fork/cache/images.npy", "run/cache/images.npy"]
    decoded.clear()
    forget()
    monkeypatch.setattr(data, "cached", lambda *_, **__: nullcontext())
    plain = kr.run(folder, tmp_path / "b" / "run", **asked)
    assert decoded
    assert not (plain.path / "cache").exists()
    for name in ("about.json", "images.npy"):
        (run.path / "cache" / name).unlink()
    first, second = (contents(r.path) for r in (run, plain))
    for tree in (first, second):
        tree["audit/result.json"]["shadows"].pop("seconds_per_shadow")
    assert {n for n in first | second if first.get(n) != second.get(n)} <= {
        n for n in first if n.startswith("report/")
    }


def test_a_cache_may_be_deleted_and_is_no_part_of_what_is_verified(
    folder: Path, tmp_path: Path, decoded: list[int]
) -> None:
    run = kr.run(folder, tmp_path / "run", settings=SETTINGS, until="teacher")
    before = kr.verify(run)
    for path in (run.path / "cache").iterdir():
        path.unlink()
    assert kr.verify(run) == before
    forget()
    kr.stage(run, "generator")
    assert decoded == [96, 96]
    assert {p.name for p in (run.path / "cache").iterdir()} == {"about.json", "images.npy"}


@pytest.mark.parametrize("there", [False, True])
def test_what_is_refused_after_decoding_leaves_nothing(
    folder: Path, tmp_path: Path, there: bool
) -> None:
    out = tmp_path / "run"
    if there:
        out.mkdir()
    for path in (folder / "b").iterdir():
        Image.fromarray(np.zeros((8, 8), np.uint8)).save(path)
    for path in (folder / "a").iterdir():
        Image.fromarray(np.zeros((8, 8), np.uint8)).save(path)
    with pytest.raises(kr.KRError, match="each image is of one value throughout"):
        kr.run(folder, out, settings=SETTINGS)
    assert out.exists() == there
    assert not there or not list(out.iterdir())


def test_other_images_are_refused_and_the_run_goes_on_with_the_old(
    folder: Path, tmp_path: Path
) -> None:
    run = kr.run(folder, tmp_path / "run", settings=SETTINGS, until="teacher")
    old = (folder / "a" / "00.png").read_bytes()
    (folder / "a" / "00.png").write_bytes((folder / "b" / "01.png").read_bytes())
    with pytest.raises(kr.KRError, match="made from data with the hash"):
        kr.run(folder, run, settings=SETTINGS, until="teacher")
    (folder / "a" / "00.png").write_bytes(old)
    kr.run(folder, run, settings=SETTINGS, until="teacher")


def test_a_run_of_arrays_has_no_cache(tmp_path: Path) -> None:
    run = kr.run("digits", tmp_path / "run", settings=SETTINGS, until="teacher")
    assert not (run.path / "cache").exists()
