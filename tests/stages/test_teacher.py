"""Screening of labels in a whole run: what is trained on what, and who gets to know."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import knowledge_recycling as kr
from knowledge_recycling import artefacts, data, shadow_runs
from knowledge_recycling.classifiers.augmentation import augment
from knowledge_recycling.config import Config
from knowledge_recycling.membership import plan
from knowledge_recycling.stages import generator
from knowledge_recycling.storage.run_dir import RunDir
from knowledge_recycling.training.batching import Shuffled
from knowledge_recycling.training.loop import Recipe, fit
from knowledge_recycling.training.runtime import Runtime
from tests.small_runs import TINIEST

SCREENED = (*TINIEST, "teacher.steps=160", "teacher.batch_size=32", "teacher.screening=true")
WRONG = 12
"""Labels that are planted among the first train images of each class."""


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two classes that any Teacher tells apart; all splits are given."""
    rng = np.random.default_rng(0)
    arrays: dict[str, np.ndarray] = {}
    for split, n in (("train", 240), ("val", 40), ("test", 40)):
        labels = np.arange(n) % 2
        bright = 130 * (np.arange(8) // 4 == labels[:, None])[:, None]
        images = (rng.integers(0, 120, (n, 8, 8)) + bright).astype(np.uint8)
        arrays |= {f"{split}_images": images, f"{split}_labels": labels}
    arrays["train_labels"] = np.r_[
        1 - arrays["train_labels"][: 2 * WRONG], arrays["train_labels"][2 * WRONG :]
    ]
    path = tmp_path_factory.mktemp("data") / "set.npz"
    np.savez(path, **arrays)  # type: ignore[arg-type]
    return path


@pytest.fixture(scope="module")
def screened(source: Path, tmp_path_factory: pytest.TempPathFactory) -> kr.Run:
    return kr.run(source, tmp_path_factory.mktemp("runs") / "run", settings=SCREENED)


def adopted(run: kr.Run, folder: Path) -> RunDir:
    """A copy of a run that a test may change."""
    forked = run.fork(folder / "fork")
    with forked.lock():
        forked.adopt(Config.load(run.path / "config.yaml"), run.split())
    return forked


def rows(run: kr.Run) -> list[list[str]]:
    text = (run.path / "teacher" / "screened.csv").read_text()
    return list(csv.reader(io.StringIO(text)))[1:]


def test_planted_labels_are_dropped_and_listed(screened: kr.Run) -> None:
    found = screened.result("teacher").screening
    assert found is not None
    assert found.dropped == found.outvoted
    assert min(found.dropped) >= WRONG - 2, "most planted labels"
    assert max(found.dropped) <= WRONG + 5, "and few others"
    listed = rows(screened)
    assert len(listed) == sum(found.dropped)
    assert sum(int(row[0]) < 2 * WRONG for row in listed) >= 2 * WRONG - 4
    chances = [float(row[5]) for row in listed]
    assert chances == sorted(chances)
    assert all({row[3], row[4]} == {"0", "1"} and row[2] == "" for row in listed)


def test_generator_and_prior_go_by_what_is_left(
    screened: kr.Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = screened.result("teacher").screening
    assert found is not None
    record = artefacts.training_record(screened)
    dropped = {int(row[1]) for row in rows(screened)}
    assert set(record.indices["train"]) == set(screened.split().indices["train"]) - dropped
    left = tuple(120 - n for n in found.dropped)
    assert record.counts["train"] == left == artefacts.training_counts(screened)
    config = Config.load(screened.path / "config.yaml")
    (train,) = data.load(config.data, record, "train")
    assert tuple(np.bincount(train.labels)) == left
    runtime = Runtime.of(config)
    network = artefacts.classifier(screened, "teacher", runtime)
    assert artefacts.chosen_source(screened, network, runtime).class_counts == left

    forked = adopted(screened, tmp_path)
    trained: list[int] = []

    def spy(learner: Any, *_: Any, **__: Any) -> None:
        trained.extend((len(learner.images), len(learner.labels)))
        raise KeyboardInterrupt

    monkeypatch.setattr(generator, "train", spy)
    with pytest.raises(KeyboardInterrupt):
        generator.run(config, forked)
    assert trained == [sum(left)] * 2


def test_the_teacher_is_trained_on_what_is_left_alone(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes: list[int] = []
    trained: list[tuple[str, int]] = []

    class Counted(Shuffled):
        def __init__(self, n: int, *rest: Any) -> None:
            super().__init__(n, *rest)
            sizes.append(n)

    def counted(network: Any, batches: Any, recipe: Recipe, *rest: Any, **how: Any) -> None:
        trained.append((how["label"], recipe.steps))
        fit(network, batches, recipe, *rest, **how)

    monkeypatch.setattr("knowledge_recycling.stages.teacher.Shuffled", Counted)
    monkeypatch.setattr("knowledge_recycling.stages.teacher.fit", counted)
    run = kr.run(source, tmp_path / "run", settings=SCREENED, until="teacher")
    found = run.result("teacher").screening
    assert found is not None
    assert trained == [*((f"Teacher of fold {k} of 4", 40) for k in (1, 2, 3, 4)), ("Teacher", 160)]
    assert sizes == [60, 60, 60, 60, 240 - sum(found.dropped)]


def test_the_report_says_how_many_and_never_which(screened: kr.Run, tmp_path: Path) -> None:
    dropped = len(rows(screened))
    page = (screened.path / "report" / "report.md").read_text()
    assert f"was trained on {240 - dropped} private images" in page
    assert f"A vote of four other Teachers had left out {dropped} more for their labels." in page
    kr.release(screened, tmp_path / "bundle", override="a test")
    about = json.loads((tmp_path / "bundle" / "report.json").read_text())
    assert about["private_images"]["train"] == 240 - dropped
    shown = [screened.path / "report", tmp_path / "bundle"]
    files = [path for folder in shown for path in folder.rglob("*") if path.is_file()]
    assert len(files) > 5
    for path in files:
        assert path.name not in ("screened.csv", "screening.npz")
        assert b"probability_of_its_class" not in path.read_bytes()


def test_the_list_is_a_persons_to_write_into(screened: kr.Run, tmp_path: Path) -> None:
    run = adopted(screened, tmp_path)
    with (run.path / "teacher" / "screened.csv").open("a") as file:
        file.write("seen by me\n")
    assert kr.verify(run.path) > 0
    again = run.fork(tmp_path / "again")
    assert "seen by me" in (again.path / "teacher" / "screened.csv").read_text()
    kept = run.path / "teacher" / artefacts.SCREENING
    kept.write_bytes(kept.read_bytes()[:-1])
    with pytest.raises(kr.KRError, match=r"screening\.npz"):
        artefacts.training_record(run)


def test_a_fold_is_trained_once_whenever_the_run_is_killed(
    source: Path, screened: kr.Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed in the middle of each training in turn, the run ends where the whole one did."""
    settings = (*SCREENED, "runtime.checkpoint_seconds=0")
    steps = [0]

    def killed(*of: Any) -> Any:
        steps[0] += 1
        if steps[0] % 60 == 0:
            raise KeyboardInterrupt
        return augment(*of)

    monkeypatch.setattr("knowledge_recycling.stages.teacher.augment", killed)
    for _ in range(5):
        with pytest.raises(KeyboardInterrupt):
            kr.run(source, tmp_path / "run", settings=settings, until="teacher")
    run = kr.run(source, tmp_path / "run", settings=settings, until="teacher")
    assert steps[0] == 2 * 160 + 5, "no step but those that were killed is taken again"
    ours, whole = run.result("teacher"), screened.result("teacher")
    assert ours.artefacts == whole.artefacts
    assert (ours.screening, ours.validation) == (whole.screening, whole.validation)
    assert rows(run) == rows(screened)
    assert not list(run.path.rglob("*.pt"))


def test_teachers_that_are_too_weak_drop_nothing_and_say_so(source: Path, tmp_path: Path) -> None:
    settings = (*TINIEST, "teacher.steps=4", "teacher.screening=true", "precision=fp32")
    run = kr.run(source, tmp_path / "run", settings=settings)
    result = run.result("teacher")
    assert result.screening is not None
    spared = [y for y in (0, 1) if result.screening.outvoted[y] > 60]
    assert spared, "after one step a Teacher calls nearly all images one class"
    assert all(result.screening.dropped[y] == 0 for y in spared)
    assert result.warning is not None
    assert f"warning: {result.warning}" in (run.path / "log.txt").read_text()
    page = (run.path / "report" / "report.md").read_text()
    assert "The Teacher stage warns." in page
    assert result.warning in page


def test_without_it_nothing_is_written(source: Path, tmp_path: Path) -> None:
    run = kr.run(source, tmp_path / "run", settings=TINIEST, until="teacher")
    assert run.result("teacher").screening is None
    assert artefacts.training_record(run) == run.split()
    names = {path.name for path in (run.path / "teacher").iterdir()}
    assert not {"screened.csv", artefacts.SCREENING} & names


def test_a_class_of_too_few_images_is_refused(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (60, 8, 8), dtype=np.uint8)
    labels = np.array(["common"] * 55 + ["rare"] * 5)
    with pytest.raises(kr.KRError) as refusal:
        kr.run((images, labels), tmp_path / "run", settings=SCREENED, until="teacher")
    said = str(refusal.value)
    assert said.startswith("teacher.screening: the class rare cannot be brought into each of 4 ")
    assert said.endswith("or run with teacher.screening=false.")


def test_a_private_run_refuses_it(source: Path, tmp_path: Path) -> None:
    settings = ("teacher.screening=true",)
    with pytest.raises(kr.KRError, match=r"teacher\.screening: is not for a private run"):
        kr.run(source, tmp_path / "run", epsilon=3, settings=settings)
    assert not (tmp_path / "run").exists()


def test_a_screened_member_of_a_shadow_is_still_a_member(screened: kr.Run, tmp_path: Path) -> None:
    run, config = adopted(screened, tmp_path), Config.load(screened.path / "config.yaml")
    drawn = plan.draw(run.shadows, run.split(), config, 8, reuse_choices=True, canary_count=12)
    shadow_runs.one(run, 0, 1, keep_models=False)
    shadow, member = run.shadow(0), drawn.membership.mask[0]
    found = shadow.result("teacher").screening
    assert found is not None
    assert sum(found.dropped) > 0
    assert shadow.split().indices["train"] == tuple(drawn.indices[member])
    left = set(artefacts.training_record(shadow).indices["train"])
    assert len(left) == member.sum() - sum(found.dropped)
    assert left < set(drawn.indices[member])
    after = plan.Plan.load(run.shadows, config)
    np.testing.assert_array_equal(after.membership.mask, drawn.membership.mask)
    with np.load(shadow.path / "signals.npz") as signals:
        assert signals["student"].shape[1] == len(member), "of members and others, dropped or not"
