"""Stage 4: Generator Tuning: the parameters of synthesis are searched on validation CAS.

Where `distillation.labels` is `auto`, the kind of labels is chosen afterwards: a probe learns by
each, and of those that validation does not tell from the best the one that leaks least is taken.

The un-tuned default is always the first trial, and meets the best trials again in longer probes
with fresh randomness: the best of many noisy trials is otherwise chosen for its luck. It stays
unless it is beaten by more than the noise of validation.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import numpy as np
import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution
from optuna.trial import TrialState

from knowledge_recycling import artefacts, data
from knowledge_recycling.classifiers import metrics
from knowledge_recycling.config import Config
from knowledge_recycling.config import Tuning as Section
from knowledge_recycling.errors import KRError
from knowledge_recycling.results import Finalist, LabelsLook, Look, Trial, TuningResult
from knowledge_recycling.storage.files import read_json, read_table, write_json
from knowledge_recycling.storage.run_dir import RunDir
from knowledge_recycling.synthesis.parameters import BY_LEAK, Labels, Parameters
from knowledge_recycling.synthesis.probes import Bench, least_leaking, rank
from knowledge_recycling.synthesis.source import Source
from knowledge_recycling.training.runtime import Runtime
from knowledge_recycling.training.seeds import derive

DEFAULT = Parameters()
LOOKS = 3
FROZEN = Parameters(prior="balanced")
SKIPPED = (
    "Skipped: validation images are private too, and a private run compares nothing on them. Its "
    "parameters of synthesis are constants of the program."
)


def run(config: Config, run_dir: RunDir) -> TuningResult:
    """Searches the parameters of synthesis for the chosen snapshot."""
    if config.privacy.epsilon is not None:
        return TuningResult(
            parameters=FROZEN, default=FROZEN, table=(), finalists=(), skipped=SKIPPED
        )
    runtime = Runtime.of(config)
    (val,) = data.load(config.data, run_dir.split(), "val")
    spec = artefacts.student_spec(config, run_dir)
    build = partial(artefacts.build, run_dir, spec)
    bench = Bench.of("tuning", config, build, val.images, val.labels, runtime)
    snapshot = run_dir.result("selection").snapshot
    teacher = artefacts.classifier(run_dir, "teacher", runtime)
    plain = artefacts.source(run_dir, snapshot, teacher, DEFAULT, runtime)
    folder = run_dir.stage("tuning")
    search = _Search(config, bench, plain, folder)
    table, finalists, parameters = search.best()
    found = TuningResult(
        parameters=parameters, default=DEFAULT, table=tuple(table), finalists=tuple(finalists)
    )
    if config.distillation.labels != "auto":
        return found
    labels, looks = _race(bench, search.source_with(parameters), config, folder)
    return found.model_copy(update={"labels": labels, "labels_table": looks})


def _race(
    bench: Bench, source: Source, config: Config, folder: Path
) -> tuple[Labels, tuple[LabelsLook, ...]]:
    """The kind of labels, and what the probe of each kind reached."""
    memory = folder / "labels.json"
    answers: dict[str, list[list[float]]] = read_table(memory) if memory.exists() else {}
    for kind in BY_LEAK:
        if kind not in answers:
            steps = config.tuning.label_steps
            probe = bench.probe(source, steps, "race", f"{kind} labels", kind)
            answers[kind] = bench.probabilities(probe).tolist()
            write_json(memory, answers)
    p = {kind: np.array(answers[kind]) for kind in BY_LEAK}
    truth = bench.labels
    chosen, errors = least_leaking({kind: p[kind].argmax(1) == truth for kind in BY_LEAK})
    looks = tuple(
        LabelsLook(labels=kind, error=errors[kind], **metrics.quick_look(p[kind], truth))
        for kind in BY_LEAK
    )
    return chosen, looks


class _Tried(Trial):
    """A row of trials.json."""

    looks: tuple[float, ...]
    """Accuracy at each look of the probe; the last is the trial's."""


@dataclass(frozen=True)
class _Search:
    config: Config
    bench: Bench
    plain: Source
    folder: Path

    def best(self) -> tuple[list[Trial], list[Finalist], Parameters]:
        """The trials, the finalists and the parameters chosen; a single trial needs no probe."""
        if self.config.tuning.trials == 1:
            return [], [], DEFAULT
        table = self.trials()
        finalists = self.finals(table)
        chosen = next(row for row in finalists if row.chosen)
        return table, finalists, table[chosen.trial].parameters

    def trials(self) -> list[Trial]:
        """Runs the trials that are missing; the table of all of them, the default first.

        The table is written after each trial. A trial that a kill cut short is not in it, and the
        sampler is made anew for each trial from (seed, number of finished trials): so the search
        goes on as if never stopped.
        """
        memory = self.folder / "trials.json"
        try:
            table = [_Tried(**row) for row in read_json(memory)] if memory.exists() else []
        except (TypeError, ValueError):
            raise KRError(f"{memory}: is damaged; delete it and run the same again") from None
        study = _study(table, self.config.tuning)
        while len(table) < self.config.tuning.trials:
            study.sampler = optuna.samplers.TPESampler(
                seed=derive(self.config.seed, "tuning", len(table)) % 2**32, n_startup_trials=5
            )
            if not table:
                study.enqueue_trial(asdict(DEFAULT))
            table.append(self._try(study, len(table)))
            write_json(memory, [row.tree() for row in table])
        return [Trial(**row.model_dump(exclude={"looks"})) for row in table]

    def _try(self, study: optuna.Study, number: int) -> _Tried:
        trial = study.ask(_space(self.config.tuning))
        seen: list[dict[str, float]] = []

        def watch(look: int, figures: dict[str, float]) -> None:
            seen.append(figures)
            trial.report(figures["accuracy"], look)
            if look < LOOKS and trial.should_prune():
                raise optuna.TrialPruned

        state = TrialState.COMPLETE
        try:
            source, steps = self.source_with(Parameters(**trial.params)), self.config.tuning.steps
            self.bench.score(source, steps, "first look", f"trial {number}", watch, LOOKS)
        except optuna.TrialPruned:
            state = TrialState.PRUNED
        looks = [figures["accuracy"] for figures in seen]
        _tell(study, trial, looks, state)
        row = {"trial": number, "state": state.name.lower(), **trial.params, **seen[-1]}
        return _Tried.model_validate({**row, "looks": looks})

    def finals(self, table: Sequence[Trial]) -> list[Finalist]:
        """Longer probes of the default and the best trials; marks the one that is chosen."""
        complete = [row for row in table[1:] if row.state == "complete"]
        best = sorted(complete, key=rank)[-self.config.tuning.finalists :]
        memory = self.folder / "finals.json"
        scores: dict[str, dict[str, float]] = read_table(memory) if memory.exists() else {}
        finalists = [table[0], *reversed(best)]
        for row in finalists:
            number = str(row.trial)
            if number not in scores:
                source, steps = self.source_with(row.parameters), self.config.tuning.final_steps
                scores[number] = self.bench.score(source, steps, "final look", f"trial {number}")
                write_json(memory, scores)
        looks = [Look(**scores[str(row.trial)]) for row in finalists]
        winner = finalists[self.bench.winner(looks)]
        return [
            Finalist(trial=row.trial, chosen=row is winner, **dict(look))
            for row, look in zip(finalists, looks, strict=True)
        ]

    def source_with(self, parameters: Parameters) -> Source:
        """The source of the chosen snapshot with other parameters."""
        plain = self.plain
        return Source(plain.generator, plain.teacher, parameters, plain.class_counts, plain.runtime)


def _space(section: Section) -> dict[str, BaseDistribution]:
    """What is searched, in the order in which the sampler draws."""
    return {
        "prior": CategoricalDistribution(("real", "balanced")),
        "latent_std": FloatDistribution(*section.latent_std),
        "temperature": FloatDistribution(*section.temperature, log=True),
        "filter_threshold": FloatDistribution(*section.filter_threshold),
    }


def _study(table: Sequence[_Tried], section: Section) -> optuna.Study:
    """A study in memory that was told the trials of a table, in the way of `_Search._try`.

    Not by `Study.add_trial`: it refuses the default where that lies outside the searched range.
    """
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(
        direction="maximize", pruner=optuna.pruners.MedianPruner(n_startup_trials=4)
    )
    for row in table:
        study.enqueue_trial(asdict(row.parameters))
        trial = study.ask(_space(section))
        for look, accuracy in enumerate(row.looks, start=1):
            trial.report(accuracy, look)
        _tell(study, trial, row.looks, TrialState[row.state.upper()])
    return study


def _tell(
    study: optuna.Study, trial: optuna.Trial, looks: Sequence[float], state: TrialState
) -> None:
    study.tell(trial, looks[-1] if state == TrialState.COMPLETE else None, state=state)
