"""Predictions of a released Student on new images; on a bundle ONNX Runtime is enough."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike

from knowledge_recycling.bundle.contents import REPORT, verify
from knowledge_recycling.bundle.facts import Facts
from knowledge_recycling.data.checks import as_images
from knowledge_recycling.data.decode import SUFFIXES, Rule
from knowledge_recycling.data.images import read_alone
from knowledge_recycling.data.kinds import kind_of_name
from knowledge_recycling.data.resize import color_stack, resize_stack
from knowledge_recycling.errors import KRError
from knowledge_recycling.results import read
from knowledge_recycling.storage.files import read_npz

CHUNK = 512
Engine = Literal["onnx", "torch"]
Forward = Callable[[np.ndarray], np.ndarray]
"""Images (n, c, s, s) uint8 to probabilities (n, C)."""
NOT_READ = {
    ".nii": "NIfTI volumes are not read; give single slices as PNG",
    ".gz": "compressed files are not read",
}


@dataclass(frozen=True)
class Predictions:
    """What the Student says of n images."""

    probabilities: np.ndarray
    """(n, C) float32, softmax as the network gives it: no temperature, see docs/release.md."""
    class_names: tuple[str, ...]

    @property
    def classes(self) -> list[str]:
        """Name of the most probable class of each image."""
        return [self.class_names[y] for y in self.probabilities.argmax(1)]

    def rows(self, names: Sequence[str]) -> list[dict[str, Any]]:
        """A row per image: its name, the class, and a probability per class."""
        return [
            {"image": name, "class": predicted}
            | {f"p_{c}": round(float(v), 6) for c, v in zip(self.class_names, p, strict=True)}
            for name, predicted, p in zip(names, self.classes, self.probabilities, strict=True)
        ]


@dataclass(frozen=True)
class Predictor:
    """A Student with all that its input needs.

    Attributes:
        forward: the network.
        class_names: C.
        size: side in pixels that images are resized to, with Pillow's Lanczos filter.
        channels: 1 grey, 3 colour.
        limits: values that became 0 and 255 in training; None: 8-bit images.
    """

    forward: Forward
    class_names: tuple[str, ...]
    size: int
    channels: int
    limits: tuple[float, float] | None = None

    def predict(self, images: ArrayLike) -> Predictions:
        """Predicts.

        Args:
            images: (n, h, w), (n, h, w, 1) or (n, h, w, 3); uint8, or float in 0..1, or within
                the range that was stated in training.

        Raises:
            KRError: another shape, values out of range, or colour for a grey network.
        """
        found, _ = as_images(np.asarray(images), "images", self.limits)
        if found.shape[-1] == 3 and self.channels == 1:
            raise KRError("images: this network takes grey images, and these have colour")
        found = color_stack(resize_stack(found, self.size), "rgb" if self.channels == 3 else None)
        x = np.ascontiguousarray(found.transpose(0, 3, 1, 2))
        parts = [self.forward(x[i : i + CHUNK]) for i in range(0, len(x), CHUNK)]
        return Predictions(np.concatenate(parts), self.class_names)

    def read(self, paths: Sequence[str | os.PathLike[str]]) -> tuple[list[str], np.ndarray]:
        """Names and pixels (n, s, s, c) uint8 of files, folders and npz files.

        Raises:
            KRError: names the file that cannot be read.
        """
        names, stacks = [], []
        for path in _files(paths):
            packed = path.suffix.lower() == ".npz"
            if packed:
                stack = self._of_npz(path)
            else:
                stack = self._coloured(read_alone(path, Rule(self.size, self.limits)), str(path))
            several = packed or len(stack) > 1
            names += [f"{path}#{i}" if several else str(path) for i in range(len(stack))]
            stacks.append(stack)
        if not names:
            raise KRError("images: no image was found there")
        return names, np.concatenate(stacks)

    def _of_npz(self, path: Path) -> np.ndarray:
        arrays = read_npz(path)
        keys = [key for key in ("images", "test_images", "train_images") if key in arrays]
        if not keys:
            raise KRError(f"{path}: holds none of `images`, `test_images`, `train_images`")
        images, _ = as_images(arrays[keys[0]], f"{path}: {keys[0]}", self.limits)
        return self._coloured(resize_stack(images, self.size), str(path))

    def _coloured(self, images: np.ndarray, where: str) -> np.ndarray:
        if images.shape[-1] == 3 and self.channels == 1:
            raise KRError(f"{where}: this network takes grey images, and this has colour")
        return color_stack(images, "rgb" if self.channels == 3 else None)


def load(bundle: Path, engine: Engine = "onnx") -> Predictor:
    """The Student of a bundle, whose sums are checked first.

    Raises:
        KRError: the bundle has changed, or onnxruntime is missing.
    """
    verify(bundle)
    facts = read(bundle / REPORT, Facts)
    forward = _onnx(bundle) if engine == "onnx" else _torch(bundle)
    return Predictor(forward, facts.class_names, facts.size, facts.channels, facts.input_range)


def of_network(network: Any) -> Forward:
    """Probabilities of a torch network."""
    import torch

    from knowledge_recycling.training.pixels import to_float

    def forward(images: np.ndarray) -> np.ndarray:
        with torch.no_grad():
            found: np.ndarray = network(to_float(torch.from_numpy(images))).softmax(1).numpy()
        return found

    return forward


def _torch(bundle: Path) -> Forward:
    from knowledge_recycling import classifiers

    return of_network(classifiers.load(bundle / "student"))


def _onnx(bundle: Path) -> Forward:
    try:
        import onnxruntime
    except ImportError:
        raise KRError(
            "predicting needs onnxruntime: pip install 'knowledge-recycling[onnx]', or choose the "
            "engine torch"
        ) from None
    session = onnxruntime.InferenceSession(
        bundle / "student.onnx", providers=["CPUExecutionProvider"]
    )

    def forward(images: np.ndarray) -> np.ndarray:
        found: np.ndarray = session.run(["probabilities"], {"images": images})[0]
        return found

    return forward


def _files(paths: Sequence[str | os.PathLike[str]]) -> Iterator[Path]:
    known = {*SUFFIXES, ".npz"}
    for path in map(Path, paths):
        if path.is_dir():
            for p in sorted(path.rglob("*")):
                named = p.suffix.lower() in known or kind_of_name(p.name) == "DICOM"
                if named and p.is_file():
                    yield p
        elif reason := NOT_READ.get(path.suffix.lower()):
            raise KRError(f"{path}: {reason}")
        else:
            yield path
