"""Stage 3: Checkpoint Optimisation: the snapshot whose synthetic data teach best is chosen.

A short probe screens every snapshot; the best few meet the last snapshot, which is the default, in
longer ones. The measure is CAS on real validation data, not FID.
"""

from __future__ import annotations

from functools import partial

from knowledge_recycling import artefacts, data
from knowledge_recycling.config import Config
from knowledge_recycling.results import Candidate, Look, SelectionResult
from knowledge_recycling.storage.files import read_table, write_json
from knowledge_recycling.storage.run_dir import RunDir
from knowledge_recycling.synthesis.parameters import Parameters
from knowledge_recycling.synthesis.probes import Bench, rank
from knowledge_recycling.training.runtime import Runtime

SKIPPED = (
    "Skipped: validation images are private too, and a private run compares nothing on them. Its "
    "Generator has one snapshot."
)


def run(config: Config, run_dir: RunDir) -> SelectionResult:
    """Chooses the snapshot."""
    if config.privacy.epsilon is not None:
        (only,) = run_dir.result("generator").snapshots
        return SelectionResult(snapshot=only, table=(), skipped=SKIPPED)
    runtime = Runtime.of(config)
    (val,) = data.load(config.data, run_dir.split(), "val")
    teacher = artefacts.classifier(run_dir, "teacher", runtime)
    spec = artefacts.student_spec(config, run_dir)
    build = partial(artefacts.build, run_dir, spec)
    bench = Bench.of("selection", config, build, val.images, val.labels, runtime)
    memory = run_dir.stage("selection") / "probes.json"
    scores: dict[str, dict[str, float]] = read_table(memory) if memory.exists() else {}

    def score(snapshot: int, steps: int, look: str) -> Look:
        purpose = f"{look} of snapshot {snapshot}"
        if purpose not in scores:
            source = artefacts.source(run_dir, snapshot, teacher, Parameters(), runtime)
            scores[purpose] = bench.score(source, steps, look, f"snapshot {snapshot}")
            write_json(memory, scores)
        return Look(**scores[purpose])

    *others, chosen = snapshots = run_dir.result("generator").snapshots
    screens: dict[int, Look] = {}
    finals: dict[int, Look] = {}
    if others:
        screens = {s: score(s, config.selection.screen_steps, "screen") for s in snapshots}
        best = sorted(others, key=lambda s: rank(screens[s]))[-config.selection.finalists :]
        finalists = [chosen, *best]
        finals = {s: score(s, config.selection.final_steps, "final look") for s in finalists}
        chosen = finalists[bench.winner(list(finals.values()))]
    table = tuple(
        Candidate(snapshot=s, screen=screens.get(s), final=finals.get(s)) for s in snapshots
    )
    return SelectionResult(snapshot=chosen, table=table)
