"""The Python blocks of docs/release.md, run on a real bundle."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from tests.bundle.conftest import Released
from tests.test_site import ROOT, blocks


def test_every_python_block_of_the_release_page_runs(
    released: Released, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "BUNDLE").symlink_to(released.bundle)
    monkeypatch.chdir(tmp_path)
    asked: list[Any] = []

    def interface(function: Any, *_: object) -> SimpleNamespace:
        asked.append(function)
        return SimpleNamespace(launch=lambda: None)

    # Gradio itself is a web server of 200 MB; what is ours is the function it is given.
    fake = SimpleNamespace(Interface=interface, Image=lambda: None, Label=lambda: None)
    monkeypatch.setitem(sys.modules, "gradio", fake)
    found: list[dict[str, Any]] = []
    for code in blocks(ROOT / "docs" / "release.md", "python"):
        images = released.private[:5]
        names = {"images": images[:, None] if "onnxruntime" in code else images}
        exec(compile(code, "docs/release.md", "exec"), names)
        found.append(names)
    by_onnx, by_kr, _ = found
    assert np.allclose(by_onnx["probabilities"], by_kr["found"].probabilities)
    shown = asked[0](released.private[0][..., None].repeat(3, -1))
    assert shown == pytest.approx(
        dict(zip(["benign", "malignant"], by_kr["found"].probabilities[0], strict=True))
    )
