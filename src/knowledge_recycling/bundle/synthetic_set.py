"""A synthetic set in the formats that people use; every image says that it is synthetic."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from knowledge_recycling.errors import KRError
from knowledge_recycling.storage.files import atomic, write_bytes, write_npz

MARK = {
    "synthetic": "true",
    "Comment": "Synthetic image made by a generative model; it shows no patient.",
    "DigitalSourceType": "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia",
}
"""Text chunks of every PNG; the last is the term of IPTC for what a trained model made."""


@dataclass(frozen=True)
class Labelled:
    """Images with classes and, unless labels are hard, probabilities."""

    images: np.ndarray
    """(n, h, w, c) uint8, c in {1, 3}."""
    labels: np.ndarray
    """(n,) int64, the class that the Generator was asked for."""
    soft_labels: np.ndarray | None
    """(n, C) float32, the Teacher's; None where labels are hard."""
    class_names: tuple[str, ...]

    def png(self, index: int) -> bytes:
        """One image as PNG, marked as synthetic."""
        info = PngInfo()
        for key, value in MARK.items():
            info.add_text(key, value)
        pixels = self.images[index]
        file = io.BytesIO()
        Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels).save(
            file, format="PNG", pnginfo=info
        )
        return file.getvalue()


def write(folder: Path, made: Labelled) -> None:
    """Writes synthetic.npz, images/ with metadata.csv, and synthetic.parquet."""
    pngs = [made.png(index) for index in range(len(made.images))]
    names = [f"{index:06d}.png" for index in range(len(pngs))]
    _write_npz(folder / "synthetic.npz", made)
    for name, content in zip(names, pngs, strict=True):
        write_bytes(folder / "images" / name, content)
    write_bytes(folder / "images" / "metadata.csv", _table(names, made).encode())
    _write_parquet(folder / "synthetic.parquet", names, pngs, made)


def _write_npz(path: Path, made: Labelled) -> None:
    grey = made.images.shape[-1] == 1
    soft = {} if made.soft_labels is None else {"train_soft_labels": made.soft_labels}
    write_npz(
        path,
        train_images=made.images[..., 0] if grey else made.images,
        train_labels=made.labels[:, None],
        class_names=np.array(made.class_names),
        **soft,
    )


def _table(names: Sequence[str], made: Labelled) -> str:
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    soft = [] if made.soft_labels is None else ["soft_label"]
    writer.writerow(["file_name", "label", "class_name", "synthetic", *soft])
    for index, name in enumerate(names):
        label = int(made.labels[index])
        extra = [] if made.soft_labels is None else [json.dumps(_decimals(made.soft_labels[index]))]
        writer.writerow([name, label, made.class_names[label], "true", *extra])
    return file.getvalue()


def _decimals(row: np.ndarray) -> list[float]:
    return [float(f"{value:.7g}") for value in row]


def _write_parquet(path: Path, names: Sequence[str], pngs: Sequence[bytes], made: Labelled) -> None:
    """With the schema that `datasets` writes, so that images and class names come back as such."""
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError:
        raise KRError(
            "a synthetic set needs pyarrow: pip install 'knowledge-recycling[release]'"
        ) from None
    features: dict[str, object] = {
        "image": {"_type": "Image"},
        "label": {"names": list(made.class_names), "_type": "ClassLabel"},
        "synthetic": {"dtype": "bool", "_type": "Value"},
    }
    columns = {
        "image": pa.array(
            [{"bytes": png, "path": name} for png, name in zip(pngs, names, strict=True)],
            pa.struct([("bytes", pa.binary()), ("path", pa.string())]),
        ),
        "label": pa.array(made.labels, pa.int64()),
        "synthetic": pa.array([True] * len(names)),
    }
    if made.soft_labels is not None:
        value = {"dtype": "float32", "_type": "Value"}
        features["soft_label"] = {"feature": value, "_type": "List"}
        columns["soft_label"] = pa.array(list(made.soft_labels), pa.list_(pa.float32()))
    about = {"huggingface": json.dumps({"info": {"features": features}})}
    with atomic(path) as temporary:
        pq.write_table(pa.table(columns).replace_schema_metadata(about), temporary)
