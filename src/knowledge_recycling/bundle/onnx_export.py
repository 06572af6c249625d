"""The Student as ONNX: bytes in, logits and probabilities out, nothing of the machine in it."""

from __future__ import annotations

import contextlib
import io
import json
import logging
import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from knowledge_recycling.errors import KRError
from knowledge_recycling.storage.files import atomic
from knowledge_recycling.training.pixels import to_float

OPSET = 18
TOLERANCE = 1e-4


class _FromBytes(nn.Module):
    """Scaling inside the graph: images (n, c, s, s) uint8 to logits and probabilities (n, C)."""

    def __init__(self, student: nn.Module) -> None:
        super().__init__()
        self.student = student

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        logits = self.student(to_float(images))
        return logits, logits.softmax(1)


def write(
    path: Path, student: nn.Module, class_names: Sequence[str], channels: int, size: int
) -> None:
    """Writes the Student and compares ONNX Runtime's logits with PyTorch's.

    Args:
        path: of the file.
        student: in eval mode, on the CPU.
        class_names: into the metadata, as JSON.
        channels: of the images.
        size: side of the images in pixels.

    Raises:
        KRError: a package is missing, the network cannot be exported, or the logits differ.
    """
    onnx = _imported("onnx")
    images = torch.randint(0, 256, (3, channels, size, size), dtype=torch.uint8)
    images[0, :, size // 4 :] = 0  # medical images are black in part, which noise never is
    wrapped = _FromBytes(student).eval()
    model = _exported(wrapped, images)
    _strip(model)
    properties = {
        "class_names": json.dumps(list(class_names)),
        "input": f"uint8 (n, {channels}, {size}, {size}), values 0 to 255; scaling is in the graph",
        "output": "logits (n, C); probabilities (n, C): softmax, not calibrated afterwards",
    }
    for key, value in properties.items():
        entry = model.metadata_props.add()
        entry.key, entry.value = key, value
    onnx.checker.check_model(model)
    with atomic(path) as temporary:
        temporary.write_bytes(model.SerializeToString(deterministic=True))
    try:  # with more images than it was made from too: an exporter may fix their number
        difference = max(
            largest_difference(path, wrapped, x) for x in (images, images.repeat(2, 1, 1, 1))
        )
    except Exception:  # ONNX Runtime has an error type for each reason
        path.unlink()
        raise KRError(
            f"{path}: the ONNX file does not take any number of images; none was left"
        ) from None
    if not difference <= TOLERANCE:
        path.unlink()
        raise KRError(f"{path}: ONNX and PyTorch differ by {difference:.2g}; no file was left")


def largest_difference(path: Path, wrapped: nn.Module, images: Tensor) -> float:
    """Largest absolute difference of the logits of ONNX Runtime and of PyTorch."""
    session = _imported("onnxruntime").InferenceSession(path, providers=["CPUExecutionProvider"])
    with torch.no_grad():
        expected = wrapped(images)[0].numpy()
    return float(np.abs(session.run(["logits"], {"images": images.numpy()})[0] - expected).max())


def _exported(network: nn.Module, images: Tensor):  # type: ignore[no-untyped-def]
    _imported("onnxscript")
    quiet = logging.getLogger("torch.onnx")
    before = quiet.level
    quiet.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            program = torch.onnx.export(
                network,
                (images,),
                dynamo=True,
                opset_version=OPSET,
                input_names=["images"],
                output_names=["logits", "probabilities"],
                dynamic_shapes=({0: torch.export.Dim("n")},),
                verbose=False,
            )
    except Exception as error:
        raise KRError(f"this network cannot be written as ONNX: {type(error).__name__}") from None
    finally:
        quiet.setLevel(before)
    assert program is not None
    return program.model_proto


def _strip(model) -> None:  # type: ignore[no-untyped-def]
    """Takes out what the exporter notes of the source code: file names and stack traces."""
    model.doc_string = ""
    del model.metadata_props[:]
    graph = model.graph
    graph.doc_string = ""
    del graph.metadata_props[:]
    parts = [*graph.node, *graph.input, *graph.output, *graph.value_info, *graph.initializer]
    for part in parts:
        part.doc_string = ""
        del part.metadata_props[:]
    for function in model.functions:
        function.doc_string = ""
        del function.metadata_props[:]
        for node in function.node:
            node.doc_string = ""
            del node.metadata_props[:]


def _imported(name: str):  # type: ignore[no-untyped-def]
    import importlib

    try:
        return importlib.import_module(name)
    except ImportError:
        raise KRError(
            f"a release needs the package {name}: pip install 'knowledge-recycling[release]'"
        ) from None
