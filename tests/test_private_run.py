"""A private run from end to end: what moves it, what it spends, what it says."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import knowledge_recycling as kr
from knowledge_recycling import releasing, shadow_runs
from knowledge_recycling.artefacts import guarantee
from knowledge_recycling.classifiers import private
from knowledge_recycling.privacy import accountant, ledger, noise
from knowledge_recycling.privacy.clipping import Units
from knowledge_recycling.privacy.mechanisms import Budget

pytestmark = pytest.mark.usefixtures("small_features")

Arrays = dict[str, np.ndarray]
SETTINGS = ("runtime.threads=1", "evaluation.bootstrap_draws=1000", "audit.bootstrap_draws=1000")


@pytest.fixture
def arrays() -> Arrays:
    rng = np.random.default_rng(0)
    found: Arrays = {}
    for split, n in (("train", 240), ("val", 40), ("test", 60)):
        labels = np.arange(n) % 2
        images = (
            rng.integers(0, 60, (n, 8, 8)) + 120 * (np.arange(8) // 4 == labels[:, None])[:, None]
        )
        found |= {f"{split}_images": images.astype(np.uint8), f"{split}_labels": labels}
    return found


@pytest.fixture
def known_noise(monkeypatch: pytest.MonkeyPatch) -> None:
    """The noise of a test that compares two runs: seeded, which no run can ask for."""

    def seeded(shape: tuple[int, ...], scale: float) -> np.ndarray:
        seed = int.from_bytes(hashlib.sha256(repr((shape, scale)).encode()).digest()[:4], "big")
        drawn = np.random.default_rng(seed).normal(0, scale, shape)
        return np.asarray(np.rint(drawn / noise.grid(scale)) * noise.grid(scale))

    monkeypatch.setattr(noise, "gaussian", seeded)


def private_run(path: Path, arrays: Arrays, name: str = "a", **more: Any) -> kr.Run:
    source = path / f"{name}.npz"
    if not source.exists():
        np.savez(source, **arrays)  # type: ignore[arg-type]
    options = {"epsilon": 3, "settings": SETTINGS, "shadows": 0, **more}
    return kr.run(source, path / f"run_{name}", **options)


def released(run: kr.Run) -> dict[str, bytes]:
    names = (
        "teacher/network.safetensors",
        "generator/snapshots/000001.safetensors",
        "distillation/network.safetensors",
        "distillation/samples.npz",
    )
    return {name: (run.path / name).read_bytes() for name in names}


def test_from_end_to_end(tmp_path: Path, arrays: Arrays) -> None:
    run = private_run(tmp_path, arrays)
    teacher = run.result("teacher")
    assert teacher.validation is None
    assert teacher.guarantee is not None
    assert (teacher.guarantee.epsilon, teacher.guarantee.unit) == (3, "image")
    assert run.result("evaluation").student.accuracy > 0.9
    for skipped in (run.result("selection").skipped, run.result("tuning").skipped):
        assert skipped is not None
        assert "validation images are private too" in skipped
    assert run.result("audit").copies is None
    page = (run.path / "report" / "report.md").read_text()
    assert "FORMAL GUARANTEE (epsilon 3, delta 1e-05, per image)" in page
    assert "Copies of training images are not looked for" in page
    assert "factor of at most 20.1" in page
    assert "a curve of a private run would tell more" in page
    spent = kr.budget(tmp_path / "a.npz")
    assert [entry.stage for entry in spent] == ["teacher", "generator"]
    assert np.isclose(ledger.total(spent, "image"), accountant.mu(3, 1e-5))


def test_a_student_of_another_network_learns_too(tmp_path: Path, arrays: Arrays) -> None:
    resnet = ("distillation.network=resnet", "distillation.width=4", "distillation.steps=60")
    run = private_run(tmp_path, arrays, settings=(*SETTINGS, *resnet), until="evaluation")
    assert type(run.student).__name__ == "ResNet"
    assert run.result("evaluation").student.accuracy > 0.9


def test_audits_itself_with_shadows_that_spend_nothing(
    tmp_path: Path, arrays: Arrays, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert shadow_runs.DEFAULT == 16
    monkeypatch.setattr(shadow_runs, "DEFAULT", 8)
    few = {name: values[:24] for name, values in arrays.items()}
    run = private_run(tmp_path, few, shadows=None)
    audited = run.result("audit").shadows
    assert audited is not None
    assert (audited.count, audited.pool) == (8, 24)
    assert [entry.stage for entry in kr.budget(tmp_path / "a.npz")] == ["teacher", "generator"]
    monkeypatch.setattr(shadow_runs, "DEFAULT", 16)  # those that are there are gone on with
    assert private_run(tmp_path, few, shadows=None).result("audit").shadows == audited


def test_says_why_it_has_no_shadows(tmp_path: Path, arrays: Arrays) -> None:
    rare = np.r_[0:24:2, 1, 3, 5]
    few = {name: values[:24] for name, values in arrays.items()}
    few |= {name: arrays[name][rare] for name in ("train_images", "train_labels")}
    run = private_run(tmp_path, few, shadows=None)
    assert run.result("audit").shadows is None
    assert (
        "no shadows, so the audit is the paper's alone: class 1 has 3 images in the pool; 4 are "
        "needed so that each half can train" in (run.path / "log.txt").read_text()
    )


def test_a_delta_of_one_image_in_n_is_told(tmp_path: Path, arrays: Arrays) -> None:
    for delta, told in ((1 / 240, True), (1 / 241, False)):
        config = kr.configuration("digits", epsilon=3, delta=delta)
        record = private_run(tmp_path, arrays, until="teacher").split()
        assert bool(guarantee.notes(config, record)) == told
    assert guarantee.notes(kr.configuration("digits"), record) == []


def test_no_stage_knows_the_exact_counts(tmp_path: Path, arrays: Arrays) -> None:
    run = private_run(tmp_path, arrays, until="distillation")
    counts = np.array(run.result("teacher").counts)
    assert (counts != 120).all()
    assert np.abs(counts - 120).max() < 100


def test_only_train_images_move_what_is_released(
    tmp_path: Path, arrays: Arrays, known_noise: None
) -> None:
    first = released(private_run(tmp_path, arrays, "a", until="distillation"))
    marked = (
        arrays
        | {name: 255 - arrays[name] for name in ("val_images", "test_images")}
        | {name: arrays[name][::-1] for name in ("val_labels", "test_labels")}
    )
    assert released(private_run(tmp_path, marked, "b", until="distillation")) == first
    other = arrays | {
        "train_images": np.concatenate(
            [arrays["train_images"][1:], np.full((1, 8, 8), 7, np.uint8)]
        )
    }
    assert released(private_run(tmp_path, other, "c", until="distillation")) != first


def test_the_order_of_images_does_not_matter(arrays: Arrays, known_noise: None) -> None:
    images, labels = arrays["train_images"][..., None], arrays["train_labels"]
    order = np.random.default_rng(1).permutation(len(labels))
    one, two = (
        private.train(
            x,
            y,
            2,
            units=Units(),
            symmetry="none",
            noise=noise.gaussian,
            budget=Budget(0.7, guarantee.SHARES["teacher"]),
        )
        for x, y in ((images, labels), (images[order], labels[order]))
    )
    assert np.array_equal(one[1], two[1])
    assert np.allclose(one[0].weights.detach(), two[0].weights.detach(), atol=1e-4)


def test_the_seed_does_not_make_the_noise(tmp_path: Path, arrays: Arrays) -> None:
    one = private_run(tmp_path, arrays, "a", until="teacher")
    two = private_run(tmp_path, arrays, "b", until="teacher")
    assert one.result("teacher").counts != two.result("teacher").counts


def test_resuming_spends_nothing_and_a_kill_is_not_free(
    tmp_path: Path, arrays: Arrays, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = private_run(tmp_path, arrays, until="generator")
    again = private_run(tmp_path, arrays, until="generator")
    assert again.result("teacher").counts == run.result("teacher").counts
    (run.path / "teacher" / "result.json").unlink()
    private_run(tmp_path, arrays, until="generator")
    assert len(kr.budget(tmp_path / "a.npz")) == 2

    def killed(*args: object, **named: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(private, "train", killed)
        with pytest.raises(KeyboardInterrupt):
            kr.run(tmp_path / "a.npz", tmp_path / "other", epsilon=3, settings=SETTINGS)
    assert len(kr.budget(tmp_path / "a.npz")) == 3


def test_a_run_over_the_budget_leaves_nothing(tmp_path: Path, arrays: Arrays) -> None:
    private_run(tmp_path, arrays, budget=3.5, until="teacher")
    private_run(tmp_path, arrays, budget=3.5, until="generator")
    with pytest.raises(kr.KRError, match="beyond the privacy budget of epsilon 3.5 per image"):
        kr.run(tmp_path / "a.npz", tmp_path / "second", epsilon=3, budget=3.5, settings=SETTINGS)
    assert not (tmp_path / "second").exists()


def test_patients_are_the_unit_where_they_are_known(tmp_path: Path, arrays: Arrays) -> None:
    with pytest.raises(kr.KRError, match="patients are not known in these data"):
        private_run(tmp_path, arrays, unit="patient")
    groups = {
        f"{split}_groups": np.char.add(f"{split}", (np.arange(n) // 4).astype(str))
        for split, n in (("train", 240), ("val", 40), ("test", 60))
    }
    run = private_run(tmp_path, arrays | groups, "g", until="teacher")
    found = run.result("teacher")
    assert found.guarantee is not None
    assert found.counts is not None
    assert found.guarantee.unit == "patient"
    assert sum(found.counts) < 150  # 60 patients, each of the weight of one image per class at most


def test_shadows_spend_in_their_own_folder_alone(tmp_path: Path, arrays: Arrays) -> None:
    run = private_run(tmp_path, arrays, shadows=8)
    assert len(kr.budget(tmp_path / "a.npz")) == 2
    assert (run.path / "shadows" / "00" / ledger.FILE).exists()
    about = run.result("audit").shadows
    assert about is not None
    assert about.count == 8


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"epsilon": None, "preset": "private"}, "a private run needs all of privacy.epsilon"),
        ({"preset": "fast"}, "a private run needs all of privacy.epsilon"),
        ({"show_real": True}, "real images have no place in a private run"),
        ({"epsilon": -1}, "privacy.epsilon: Input should be greater than 0"),
        ({"unit": "hospital"}, "privacy.unit: Input should be 'auto', 'image' or 'patient'"),
        ({"epsilon": [3]}, "epsilon: expected a number or a word, found an object of type list"),
    ],
)
def test_what_is_refused(
    tmp_path: Path, arrays: Arrays, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(kr.KRError, match=message):
        private_run(tmp_path, arrays, **options)
    assert not (tmp_path / "run_a").exists()


def test_its_guarantee_opens_the_gate_and_its_images_are_not_chosen_by_private_ones(
    tmp_path: Path, arrays: Arrays, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = private_run(tmp_path, arrays)
    assert kr.gate(run).exit_code == 0
    strict = tmp_path / "limits.yaml"
    strict.write_text("formal: {epsilon: 1, delta: 1.0e-5}\n")
    assert kr.gate(run, limits=strict).exit_code == 4

    def looked(*of: object) -> None:
        raise AssertionError("a private run looked for copies")

    monkeypatch.setattr(releasing, "CopyFinder", looked)
    kr.release(run, tmp_path / "bundle", synthetic=20)
    card = (tmp_path / "bundle" / "synthetic" / "README.md").read_text()
    assert "Copies were not looked for" in card
    assert "epsilon 3, delta 1e-05, per image" in (tmp_path / "bundle" / "README.md").read_text()


def test_an_ordinary_run_says_that_it_has_none(audited: kr.Run) -> None:
    page = (audited.path / "report" / "report.md").read_text()
    assert "FORMAL GUARANTEE (epsilon 3" not in page
    assert "kr run DATA -o NEW --epsilon 3" in page


def test_the_shares_make_up_the_whole() -> None:
    shares = [share for stage in guarantee.SHARES.values() for share in stage.values()]
    assert np.isclose(sum(shares), 1)
