"""What larger images cost: a step of Teacher and Generators, and memory of runs on folders.

    python -m benchmarks.sizes [--steps] [--folders DIR]

--steps: in turns on one thread, on random images of three channels; seconds of the processor,
median of five turns, and the ratio to 28 pixels.

--folders: image folders of 100,000 files at 28 pixels and 20,000 at 128, of noise in two classes,
are written to DIR and removed again. Each is decoded in a process of its own, read again from the
cache in another, and goes through all stages of a run with few steps; the largest resident memory
of each, pages of the mapped cache included, and seconds of the processor.

Writes what was measured into benchmarks/results/sizes.json, the rest of which stays, and
docs/results/sizes.md.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import shutil
import statistics
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
from knowledge_recycling import pipeline
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
FEW = (
    *("teacher.steps=20", "teacher.evaluations=1", "generator.steps=20", "generator.snapshots=1"),
    *("selection.screen_steps=10", "selection.final_steps=10"),
    *("tuning.trials=2", "tuning.steps=10", "tuning.final_steps=10"),
    *("runtime.threads=1", "precision=fp32"),
)
"""Settings of a run that does all that a run does, in few steps."""
BATCH = 128
"""Of the Student, who takes as many steps as make its synthetic set as large as the train split."""
READS = ("decoded", "again")
READ = """
import sys
from pathlib import Path
from knowledge_recycling.config import Data
from knowledge_recycling.data import cached, open_source
with cached(Path(sys.argv[2])):
    assert len(open_source(Data(source=sys.argv[1])))
"""
RUN = "from knowledge_recycling.cli import main; main()"


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
    """Writes a folder of noise in two classes, reads it twice, runs all stages, removes it."""
    random = np.random.default_rng(0)
    for i in range(count):
        path = root / "set" / f"class{i % 2}" / f"{i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = random.integers(0, 256, (size, size, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(path, compress_level=1)
    found = {
        "size": size,
        "images": count,
        "array_bytes": count * size * size * 3,
        "decoded": measured(READ, root / "set", root / "cache"),
        "again": measured(READ, root / "set", root / "cache"),
    }
    shutil.rmtree(root / "cache")
    every = (*FEW, f"distillation.steps={count // BATCH}", f"distillation.batch_size={BATCH}")
    settings = [word for setting in every for word in ("--set", setting)]
    whole = measured(RUN, "run", root / "set", "-o", root / "run", *settings)
    results = [read_json(root / "run" / name / "result.json") for name in pipeline.NAMES]
    stages = {result["stage"]: result["peak_memory_bytes"] for result in results}
    shutil.rmtree(root)
    return found | {"run": whole | {"stages": stages}}


def measured(code: str, *arguments: str | Path) -> dict[str, Any]:
    """Runs Python code in another process; its largest memory, and seconds of the processor.

    Of child processes that it waited for, the largest counts.
    """
    words = [sys.executable, "-c", code, *map(str, arguments)]
    pid = os.posix_spawn(sys.executable, words, os.environ)
    _, status, used = os.wait4(pid, 0)
    assert status == 0, words
    seconds = round(used.ru_utime + used.ru_stime, 1)
    return {"peak_bytes": used.ru_maxrss * 1024, "seconds": seconds}


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
    rows += [
        "",
        "| folder | images alone, GB | decoded: GB, s | from the cache: GB, s | all stages: GB |",
        "|---|---|---|---|---|",
    ]
    for f in found["folders"]:
        reads = [f"{f[k]['peak_bytes'] / 1e9:.2f}, {f[k]['seconds']:.0f}" for k in READS]
        largest = max(f["run"]["stages"], key=f["run"]["stages"].get)
        rows.append(
            f"| {f['images']:,} of {f['size']} x {f['size']} | {f['array_bytes'] / 1e9:.2f} | "
            f"{' | '.join(reads)} | {f['run']['peak_bytes'] / 1e9:.2f} ({largest}) |"
        )
    return "\n".join(rows) + "\n"


def main() -> None:
    """Measures, and writes the result file and the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", action="store_true", help="measure steps")
    parser.add_argument("--folders", type=Path, help="measure folders of images, written here")
    arguments = parser.parse_args()
    result = read_json(RESULT)
    about = {"machine": common.processor(), "commit": common.commit()}
    if arguments.steps:
        torch.set_num_threads(1)
        command = "python -m benchmarks.sizes --steps"
        result |= {"command": command, **about, "seconds": seconds()}
    if arguments.folders:
        found = [
            folder(arguments.folders / f"{count}-of-{size}", size, count)
            for size, count in FOLDERS.items()
        ]
        command = "python -m benchmarks.sizes --folders DIR"
        result |= {"folders": found, "of_folders": {"command": command, **about}}
    write_json(RESULT, result)
    write_bytes(TABLE, f"# What larger images cost\n\n{table(read_json(RESULT))}".encode())
    sys.stdout.write(table(read_json(RESULT)))


if __name__ == "__main__":
    main()
