"""The answer band, the sentences, the verdicts and report.json of each kind of run."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path
from typing import Any

import pytest

import knowledge_recycling as kr
from knowledge_recycling import reporting
from knowledge_recycling.auditing.gate import Gate
from knowledge_recycling.bundle.form import Form
from knowledge_recycling.reporting.decision import DECISION, STEPS
from knowledge_recycling.reporting.judgement import Judgement, judge
from knowledge_recycling.reporting.reader import RunResults
from knowledge_recycling.reporting.record import ReportRecord
from knowledge_recycling.reporting.sentences import sentences
from knowledge_recycling.results import Guarantee, read
from tests.words import bare_auc

WIDE = "records: {auc: 0.9, tpr_at_1_fpr: 0.9}\npatients: {auc: 0.9, tpr_at_1_fpr: 0.9}\n"
"""Limits within which the leak of the fixture lies."""
EPSILON = {"epsilon": 3.0, "delta": 1e-5, "unit": "image", "symmetry": "none", "mu": 1.0}


def with_guarantee(run: Path) -> Path:
    path = run / "teacher" / "result.json"
    tree = json.loads(path.read_text())
    tree["guarantee"] = Guarantee(entry="made-up", **EPSILON).tree()
    path.write_text(json.dumps(tree))
    return run


def no_leak(run: Path) -> Path:
    """Moves the Student's intervals down to chance."""
    path = run / "audit" / "result.json"
    tree = json.loads(path.read_text())
    student, copies = tree["targets"]["student"], tree["shadows"]["copies"]
    for figures in (student["attacks"]["shrunken_t"], student["groups"]["shrunken_t"]):
        figures["auc"] = {"value": 0.505, "low": 0.485, "high": 0.525}
        figures["tpr_at_fpr"]["0.01"] = {"value": 0.012, "low": 0.006, "high": 0.02}
    copies["excess"] = {"value": 0.001, "low": -0.005, "high": 0.007}
    arm = tree["shadows"]["canaries"]["student"]
    arm["kinds"] = {k: {"value": 0.55, "low": 0.4, "high": 0.7} for k in arm["kinds"]}
    arm["attacks"]["shrunken_t"]["tpr_at_fpr"]["0.01"] = None
    path.write_text(json.dumps(tree))
    return run


def wide(run: Path) -> Path:
    (run / "limits.yaml").write_text(WIDE)
    (run / "release.yaml").write_text("limits_set_by: the ethics board\n")
    return run


CASES: dict[str, tuple[dict[str, Any], Any, str]] = {
    "none": ({}, None, "NOT AUDITED"),
    "half": ({"until": "teacher"}, None, "NOT AUDITED"),
    "weak": ({"shadows": "weak"}, wide, "AUDIT TOO WEAK"),
    "telling": ({"shadows": "telling"}, wide, "AUDIT TOO WEAK"),
    "leak": ({"shadows": "found"}, None, "LEAK FOUND, outside the limits"),
    "within": (
        {"shadows": "found"},
        wide,
        "LEAK FOUND, within the limits set by the ethics board",
    ),
    "no leak": ({"shadows": "found"}, no_leak, "NO LEAK FOUND AT THIS POWER"),
    "formal": (
        {"shadows": ""},
        with_guarantee,
        "FORMAL GUARANTEE (epsilon 3, delta 1e-05, per image)",
    ),
}


@pytest.fixture(scope="module", params=list(CASES))
def case(request: pytest.FixtureRequest, new_run: Any) -> tuple[RunResults, str, dict[str, bytes]]:
    """A run of each answer, that answer, and its report."""
    options, change, words = CASES[request.param]
    run = new_run(**options)
    if change:
        change(run)
    return RunResults.load(run), words, reporting.build(run)


Case = tuple[RunResults, str, dict[str, bytes]]


def test_the_band_says_what_the_gate_decides(case: Case) -> None:
    run, words, files = case
    assert judge(run).answer == words
    html = files["report.html"].decode()
    assert f'<h2 class="answer">{words}</h2>' in html
    opens = words.startswith(("LEAK FOUND, within", "NO LEAK", "FORMAL"))
    assert (judge(run).gate.exit_code == 0) == opens
    assert ("The gate is open." in html) == opens


def test_no_auc_before_the_second_page_and_then_two_names(case: Case) -> None:
    text = re.sub(r"base64,[^\"]*", "", case[2]["report.html"].decode())
    first, second = text.split('<section id="privacy"', 1)
    assert "AUC" not in first.split("</style>")[1]
    shown = " ".join([re.sub(r"<[^>]*>", " ", second), *re.findall('alt="([^"]*)"', second)])
    assert {"attack auc", "diagnostic auc"} <= set(re.findall(r"\w+ auc", shown.lower()))
    assert bare_auc(shown) == bare_auc(case[2]["report.md"].decode()) == []
    assert bare_auc(shown.replace("Attack AUC", "AUC"))


def test_never_safe_and_never_green(case: Case) -> None:
    words = re.sub(r"base64,[^\"]*", "", case[2]["report.html"].decode()).lower()
    assert not re.search(r"\b(safe|anonymous|anonymised|green|immune)\b", words)


def test_report_json_says_what_the_page_says(case: Case, tmp_path: Path) -> None:
    run, words, files = case
    (tmp_path / "report.json").write_bytes(files["report.json"])
    found = read(tmp_path / "report.json", ReportRecord)
    assert (found.answer, found.gate) == (words, judge(run).gate)
    assert found.sentences == {s.title: s.text for s in sentences(run)}
    assert [v.what for v in found.verdicts][-2:] == ["Teacher", "Run folder"]
    assert {v.verdict for v in found.verdicts[-2:]} == {"NEVER"}
    assert found.next_steps
    assert found.patient
    assert b"patients-2019" not in files["report.json"]
    assert b"123456789" not in files["report.json"], "positions of images"


def test_each_step_is_a_command_that_there_is(case: Case) -> None:
    from knowledge_recycling.cli import app

    names = {c.name or c.callback.__name__ for c in app.registered_commands if c.callback}
    for steps in STEPS.values():
        for step in steps:
            program, command, *_ = step.command.split()
            assert program == "kr"
            assert command in names


def test_the_chapters_stand_before_the_second_page(case: Case) -> None:
    html = case[2]["report.html"].decode()
    ids = re.findall(r'<section id="([a-z-]+)"', html)
    assert ids[: len(DECISION)] == ["patient", "handing-out", "next", "open", "sign-off"]
    assert ids[len(DECISION)] == "privacy"
    assert ids[-1] == "glossary"


def test_the_four_sentences_of_an_audited_run(new_run: Any) -> None:
    found = {s.title: s.text for s in sentences(RunResults.load(new_run(shadows="found")))}
    assert found == {
        "Trained on": (
            "The Teacher was trained on 1,350 private images (77 patients in the audited pool) of "
            "3 classes, 28 by 28 pixels, grey; the Student on 102,400 synthetic images that the "
            "Teacher labelled."
        ),
        "Right and wrong": (
            "The Student is right on 88 of 100 new images; its Teacher made two mistakes fewer in "
            "150: within chance."
        ),
        "Recognised": (
            "An attack on the Student: accusing wrongly 1 in 100 outsiders, it picks out 3 in 100 "
            "insiders (2 to 4); guessing picks 1. By whole patients: accusing wrongly 1 in 100 "
            "outsiders, it picks out 3 in 100 patients (2 to 4); guessing picks 1."
        ),
        "Unusual images": (
            "Of unusual images, which we planted, it picks out 3 in 100 (2 to 4). Worst of those "
            "that we planted: images entered three times; of 100 pairs of an insider and an "
            "outsider it tells 80 apart rightly (78 to 82); a coin 50. Copies: 8 in 100 (6 to 10) "
            "training images have a synthetic image nearer than any unseen real one; of unseen "
            "images 5 in 100 (3 to 7)."
        ),
    }


def test_a_gap_beyond_chance_is_not_called_chance(new_run: Any) -> None:
    text = sentences(RunResults.load(new_run(gap=-0.04)))[1].text
    assert text.endswith("its Teacher made six mistakes fewer in 150: more than chance explains.")


def test_what_was_judged_is_named_by_its_hash(new_run: Any) -> None:
    run = new_run(shadows="found")
    (run / "distillation" / "network.safetensors").write_bytes(b"weights")
    page = reporting.build(run)["report.md"].decode()
    assert hashlib.sha256(b"weights").hexdigest() in page
    assert hashlib.sha256((run / "audit" / "result.json").read_bytes()).hexdigest() in page


def test_a_release_that_was_overridden_says_why(new_run: Any) -> None:
    gate = Gate("not audited", "Not audited.")
    form = Form(signed_by="A. Board, 2026-11-25")
    judgement = Judgement(gate, form, "needed for a trial")
    page = reporting.build(new_run(), judgement=judgement)["report.md"].decode()
    assert "It was released all the same. Reason given: needed for a trial" in page
    assert "A. Board, 2026-11-25" in page


def test_an_own_limits_file_counts_for_page_and_gate_alike(audited: kr.Run) -> None:
    """The real run: the page's answer and `kr gate` come from the same decision."""
    for limits in (None, "copies: 0.9\n", "records: {auc: 0.0001}\n"):
        path = audited.path / "limits.yaml"
        try:
            if limits:
                path.write_text(limits)
            assert judge(RunResults.load(audited.path)).gate == kr.gate(audited)
        finally:
            path.unlink(missing_ok=True)
