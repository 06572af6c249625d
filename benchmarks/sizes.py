"""What larger images cost: a step of Teacher and Generators, and memory to read a folder.

    python -m benchmarks.sizes [--folders DIR]

Steps run in turns on one thread, on random images of three channels; seconds of the processor,
median of five turns, and the ratio to 28 pixels. With --folders, image folders of 100,000 files at
28 pixels and 20,000 at 128 are written there, and each is read in a process of its own, whose
largest memory is told. Writes benchmarks/results/sizes.json and docs/results/sizes.md.
"""

from __future__ import annotations

import argparse
import contextlib
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch.nn.functional import cross_entropy

from benchmarks import common
from knowledge_recycling.classifiers.resnet import ResNet
from knowledge_recycling.config import R3GAN, Config, Latent
from knowledge_recycling.generators.latent import LatentTraining
from knowledge_recycling.generators.r3gan import R3GANTraining
from knowledge_recycling.storage.files import read_json, write_bytes, write_json
from knowledge_recycling.training.pixels import to_float

RESULT = common.RESULTS / "sizes.json"
TABLE = common.DOCS / "sizes.md"
SIZES = (28, 64, 96, 128, 160, 192, 224)
TURNS = 5
CLASSES = 4
FOLDERS = {28: 100_000, 128: 20_000}
READ = """
import resource, sys, time
from knowledge_recycling.config import Data
from knowledge_recycling.data import open_source
begin = time.monotonic()
images = open_source(Data(source=sys.argv[1])).images
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
print(len(images), peak, time.monotonic() - begin)
"""


def steps(size: int) -> dict[str, Callable[[], object]]:
    """One step of each network at the defaults' width and batch."""
    config = Config.resolve("digits")
    random = torch.Generator().manual_seed(0)
    drawn = torch.randint(0, 256, (config.teacher.batch_size, 3, size, size), generator=random)
    images = to_float(drawn.to(torch.uint8)).contiguous(memory_format=torch.channels_last)
    labels = torch.arange(len(images)) % CLASSES
    teacher = ResNet(3, CLASSES, config.teacher.width, config.teacher.blocks, size)
    teacher.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimiser = torch.optim.AdamW(teacher.parameters())
    shape: dict[str, Any] = {"channels": 3, "classes": CLASSES, "size": size}
    shape |= {"device": torch.device("cpu"), "autocast": contextlib.nullcontext}
    latent = LatentTraining(
        Latent(method="latent"), latent_channels=4, feature_maps=teacher.feature_maps, **shape
    )
    adversarial = R3GANTraining(R3GAN(method="r3gan"), **shape)
    few = Latent(method="latent").batch_size

    def teach() -> None:
        loss = cross_entropy(teacher(images), labels)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()

    return {
        "Teacher": teach,
        "latent": lambda: latent.step(images[:few], labels[:few], 0.5),
        "r3gan": lambda: adversarial.step(images[:few], labels[:few], 0.5),
    }


def seconds() -> dict[str, dict[str, float]]:
    """Medians by size and network."""
    every = {size: steps(size) for size in SIZES}
    taken: dict[tuple[int, str], list[float]] = {}
    for turn in range(TURNS + 1):
        for size, of in every.items():
            for name, step in of.items():
                begin = time.process_time()
                step()
                if turn:  # the first makes kernels
                    taken.setdefault((size, name), []).append(time.process_time() - begin)
    return {
        str(size): {name: round(statistics.median(taken[size, name]), 4) for name in every[size]}
        for size in SIZES
    }


def folder(root: Path, size: int, count: int) -> dict[str, Any]:
    """Writes a folder of noise in two classes, and reads it in another process."""
    if not root.exists():
        random = np.random.default_rng(0)
        for i in range(count):
            path = root / f"class{i % 2}" / f"{i}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            pixels = random.integers(0, 256, (size, size, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(path, compress_level=1)
    told = subprocess.run(
        [sys.executable, "-c", READ, str(root)], capture_output=True, text=True, check=True
    )
    images, peak, taken = told.stdout.split()
    return {
        "size": size,
        "images": int(images),
        "array_bytes": count * size * size * 3,
        "peak_bytes": int(float(peak)),
        "seconds": round(float(taken), 1),
    }


def table(found: dict[str, Any]) -> str:
    """Markdown of the result file."""
    names = list(found["seconds"]["28"])
    heads = " | ".join(f"{name}, s (ratio)" for name in names)
    rows = [f"| pixels | {heads} |", "|---" * (len(names) + 1) + "|"]
    for size, of in found["seconds"].items():
        cells = [
            f"{of[name]:.2f} ({of[name] / found['seconds']['28'][name]:.1f})" for name in names
        ]
        rows.append(f"| {size} | {' | '.join(cells)} |")
    if found["folders"]:
        rows += [
            "",
            "| folder | images alone, GB | most memory, GB | seconds |",
            "|---|---|---|---|",
        ]
        rows += [
            f"| {f['images']:,} of {f['size']} x {f['size']} | {f['array_bytes'] / 1e9:.2f} | "
            f"{f['peak_bytes'] / 1e9:.2f} | {f['seconds']:.0f} |"
            for f in found["folders"]
        ]
    return "\n".join(rows) + "\n"


def main() -> None:
    """Measures, and writes the result file and the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folders", type=Path, help="where to write folders of images")
    parser.add_argument("--table", action="store_true", help="only write the page")
    arguments = parser.parse_args()
    if not arguments.table:
        torch.set_num_threads(1)
        about = {"machine": common.processor(), "commit": common.commit()}
        folders = [
            folder(arguments.folders / f"{count}-of-{size}", size, count)
            for size, count in (FOLDERS.items() if arguments.folders else ())
        ]
        command = "python -m benchmarks.sizes" + " --folders DIR" * bool(folders)
        measured = {"seconds": seconds(), "folders": folders}
        write_json(RESULT, {"command": command, **about, **measured})
    write_bytes(TABLE, f"# What larger images cost\n\n{table(read_json(RESULT))}".encode())
    sys.stdout.write(table(read_json(RESULT)))


if __name__ == "__main__":
    main()
