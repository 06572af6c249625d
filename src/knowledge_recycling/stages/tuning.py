"""Stage 4: Generator Tuning: the parameters of synthesis are searched on validation CAS.

The un-tuned default is always the first trial, and meets the best trials again in longer probes
with fresh randomness: the best of many noisy trials is otherwise chosen for its luck. It stays
unless it is beaten by more than the noise of validation.
"""

from __future__ import annotations

import warnings
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import optuna
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial, TrialState

from knowledge_recycling import artefacts, data
from knowledge_recycling.config import Config
from knowledge_recycling.config import Tuning as Section
from knowledge_recycling.results import Finalist, Trial, TuningResult
from knowledge_recycling.storage.files import read_json, write_bytes, write_json
from knowledge_recycling.storage.run_dir import RunDir
from knowledge_recycling.synthesis.parameters import Parameters
from knowledge_recycling.synthesis.probes import Bench, rank
from knowledge_recycling.synthesis.source import Source
from knowledge_recycling.training.runtime import Runtime
from knowledge_recycling.training.seeds import derive

DEFAULT = Parameters()
LOOKS = 3
NAMES = tuple(asdict(DEFAULT))


def run(config: Config, run_dir: RunDir) -> TuningResult:
    """Searches the parameters of synthesis for the chosen snapshot."""
    runtime = Runtime.start(config)
    (val,) = data.load(config.data, run_dir.split(), "val")
    spec = artefacts.student_spec(config, run_dir)
    bench = Bench.of("tuning", config, spec, val.images, val.labels, runtime)
    snapshot = run_dir.result("selection").snapshot
    teacher = artefacts.classifier(run_dir, "teacher", runtime)
    plain = artefacts.source(run_dir, snapshot, teacher, DEFAULT, runtime)
    folder = run_dir.stage("tuning")
    search = _Search(config, bench, plain, folder)
    table = search.trials()
    finalists = search.finals(table)
    chosen = next(row for row in finalists if row["chosen"])
    return TuningResult(
        parameters=Parameters(**{name: table[chosen["trial"]][name] for name in NAMES}),
        default=DEFAULT,
        table=tuple(Trial(**row) for row in table),
        finalists=tuple(Finalist(**row) for row in finalists),
    )


@dataclass(frozen=True)
class _Search:
    config: Config
    bench: Bench
    plain: Source
    folder: Path

    def trials(self) -> list[dict[str, Any]]:
        """Runs the trials that are missing; the table of all of them, the default first.

        The sampler is made anew for each trial from (seed, number of finished trials), and a
        trial that a kill cut short is left out: so the search goes on as if never stopped.
        """
        study = self._study()
        while (done := len(_finished(study))) < self.config.tuning.trials:
            study.sampler = optuna.samplers.TPESampler(
                seed=derive(self.config.seed, "tuning", done) % 2**32, n_startup_trials=5
            )
            if done == 0:
                study.enqueue_trial(asdict(DEFAULT))
            self._try(study, done)
        return [_row(number, trial) for number, trial in enumerate(_finished(study))]

    def _study(self) -> optuna.Study:
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        self._mend_journal()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            storage = JournalStorage(JournalFileBackend(str(self.folder / "study.log")))
        study = optuna.create_study(
            storage=storage,
            study_name="tuning",
            direction="maximize",
            pruner=optuna.pruners.MedianPruner(n_startup_trials=4),
            load_if_exists=True,
        )
        for trial in study.get_trials(states=(TrialState.RUNNING, TrialState.WAITING)):
            if trial.state == TrialState.WAITING:
                study.ask()
            study.tell(trial.number, state=TrialState.FAIL)
        return study

    def _mend_journal(self) -> None:
        """Removes what a kill or a full disk can leave: a lock without owner, a line cut short."""
        for lock in self.folder.glob("study.log.*"):
            lock.unlink()
        journal = self.folder / "study.log"
        if journal.exists():
            whole, _, cut = journal.read_bytes().rpartition(b"\n")
            if cut:
                write_bytes(journal, whole + b"\n" if whole else b"")

    def _try(self, study: optuna.Study, number: int) -> None:
        trial = study.ask()
        source = self._with(_suggest(trial, self.config.tuning))

        def watch(look: int, figures: dict[str, float]) -> None:
            trial.report(figures["accuracy"], look)
            for name, value in figures.items():
                trial.set_user_attr(name, value)
            if look < LOOKS and trial.should_prune():
                raise optuna.TrialPruned

        try:
            steps = self.config.tuning.steps
            figures = self.bench.score(source, steps, "first look", f"trial {number}", watch, LOOKS)
        except optuna.TrialPruned:
            study.tell(trial, state=TrialState.PRUNED)
        else:
            study.tell(trial, figures["accuracy"])

    def finals(self, table: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Longer probes of the default and the best trials; marks the one that is chosen."""
        complete = [row for row in table[1:] if row["state"] == "complete"]
        best = sorted(complete, key=rank)[-self.config.tuning.finalists :]
        memory = self.folder / "finals.json"
        scores = read_json(memory) if memory.exists() else {}
        rows = []
        for row in [table[0], *reversed(best)]:
            number = str(row["trial"])
            if number not in scores:
                source = self._with(Parameters(**{name: row[name] for name in NAMES}))
                steps = self.config.tuning.final_steps
                scores[number] = self.bench.score(source, steps, "final look", f"trial {number}")
                write_json(memory, scores)
            rows.append({"trial": row["trial"], **scores[number], "chosen": False})
        rows[self.bench.winner(rows)]["chosen"] = True
        return rows

    def _with(self, parameters: Parameters) -> Source:
        plain = self.plain
        return Source(plain.generator, plain.teacher, parameters, plain.class_counts, plain.runtime)


def _suggest(trial: optuna.Trial, section: Section) -> Parameters:
    prior = trial.suggest_categorical("prior", ("real", "balanced"))
    return Parameters(
        latent_std=trial.suggest_float("latent_std", *section.latent_std),
        prior=prior,  # type: ignore[arg-type]
        temperature=trial.suggest_float("temperature", *section.temperature, log=True),
        filter_threshold=trial.suggest_float("filter_threshold", *section.filter_threshold),
    )


def _finished(study: optuna.Study) -> list[FrozenTrial]:
    return study.get_trials(states=(TrialState.COMPLETE, TrialState.PRUNED))


def _row(number: int, trial: FrozenTrial) -> dict[str, Any]:
    figures = {name: trial.user_attrs[name] for name in ("accuracy", "auc", "loss")}
    parameters = {name: trial.params[name] for name in NAMES}
    return {"trial": number, "state": trial.state.name.lower(), **parameters, **figures}
