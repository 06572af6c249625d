"""Stage 3: Checkpoint Optimisation: the snapshot whose synthetic data teach best is chosen.

A short probe screens every snapshot; the best few meet the last snapshot, which is the default, in
longer ones. The measure is CAS on real validation data, not FID.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

from knowledge_recycling import artefacts, data
from knowledge_recycling.config import Config
from knowledge_recycling.storage.files import read_json, write_json
from knowledge_recycling.storage.run_dir import RunDir
from knowledge_recycling.synthesis.probes import Bench, rank
from knowledge_recycling.synthesis.source import Parameters
from knowledge_recycling.training.runtime import Runtime


@dataclass(frozen=True)
class Result:
    """What selection/result.json says."""

    snapshot: int
    table: list[dict[str, Any]]


def run(config: Config, run_dir: RunDir) -> Result:
    """Chooses the snapshot."""
    runtime = Runtime.of(config)
    (val,) = data.load(config.data, run_dir.split(), "val")
    teacher = artefacts.classifier(run_dir, "teacher", runtime)
    spec = artefacts.student_spec(config, run_dir)
    build = partial(artefacts.build, run_dir, spec)
    bench = Bench.of("selection", config, build, val.images, val.labels, runtime)
    memory = run_dir.stage("selection") / "probes.json"
    scores: dict[str, dict[str, float]] = read_json(memory) if memory.exists() else {}

    def score(snapshot: int, steps: int, look: str) -> dict[str, float]:
        purpose = f"{look} of snapshot {snapshot}"
        if purpose not in scores:
            source = artefacts.source(run_dir, snapshot, teacher, Parameters(), runtime)
            scores[purpose] = bench.score(source, steps, look, f"snapshot {snapshot}")
            write_json(memory, scores)
        return scores[purpose]

    snapshots = run_dir.result("generator")["snapshots"]
    table: list[dict[str, Any]] = [
        {"snapshot": s, "screen": None, "final": None} for s in snapshots
    ]
    *others, chosen = table
    if others:
        for row in table:
            row["screen"] = score(row["snapshot"], config.selection.screen_steps, "screen")
        best = sorted(others, key=lambda row: rank(row["screen"]))[-config.selection.finalists :]
        finalists = [chosen, *best]
        for row in finalists:
            row["final"] = score(row["snapshot"], config.selection.final_steps, "final look")
        chosen = finalists[bench.winner([row["final"] for row in finalists])]
    return Result(snapshot=chosen["snapshot"], table=table)
