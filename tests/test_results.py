"""The types of result.json and split.json: what they refuse, and that old files are read."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

import knowledge_recycling as kr
from knowledge_recycling import cli, reporting, results
from knowledge_recycling.results import RESULTS, AuditResult, SplitRecord, read
from knowledge_recycling.stages import NAMES

OLD = Path(__file__).parent / "results_of_4ec71b6"
"""result.json and split.json of a run of digits with shadows, made by commit 4ec71b6."""


def test_each_stage_has_its_type() -> None:
    assert tuple(RESULTS) == NAMES
    assert [model.model_fields["stage"].default for model in RESULTS.values()] == list(NAMES)


@pytest.mark.parametrize("stage", NAMES)
def test_results_of_an_older_version_are_read(stage: str) -> None:
    path = OLD / stage / "result.json"
    old = json.loads(path.read_text())
    tree = read(path, RESULTS[stage]).tree()
    assert contains(tree, old)


def contains(new: Any, old: Any) -> bool:
    """Whether every value of the old tree stands in the new one, `protocol` aside."""
    if isinstance(old, dict):
        return all(contains(new[key], old[key]) for key in old if key in new or key != "protocol")
    if isinstance(old, list):
        return len(new) == len(old) and all(map(contains, new, old))
    return bool(new == old)


def test_an_old_audit_with_shadows_is_of_both_protocols() -> None:
    path = OLD / "audit" / "result.json"
    assert json.loads(path.read_text())["protocol"] == "paper"
    assert read(path, AuditResult).protocols == ("paper", "shadows")


def test_an_old_split_is_read() -> None:
    split = read(OLD / "split.json", SplitRecord)
    assert json.loads((OLD / "split.json").read_text()) == split.tree()


@pytest.mark.parametrize("stage", NAMES)
def test_what_a_run_wrote_is_what_the_types_say(audited: kr.Run, stage: str) -> None:
    path = audited.path / stage / "result.json"
    assert json.loads(path.read_text()) == audited.result(stage).tree()
    assert next(iter(json.loads(path.read_text()))) == "stage"


def drop(*keys: str) -> Callable[[dict[str, Any]], object]:
    def change(tree: dict[str, Any]) -> None:
        *path, last = keys
        for key in path:
            tree = tree[key]
        del tree[last]

    return change


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (drop("cas_gap"), "the field `cas_gap` is missing"),
        (drop("cas_gap", "low"), "the field `cas_gap.low` is missing"),
        (drop("teacher", "calibration", "count"), "`teacher.calibration.count` is missing"),
        (lambda tree: tree.update(cas=1), "the field `cas` is unknown to this version"),
        (lambda tree: tree["cas_gap"].update(mid=1), "`cas_gap.mid` is unknown to this version"),
        (lambda tree: tree.update(images="many"), "`images` is not valid: input should be a valid"),
        (lambda tree: tree.update(stage="audit"), "the field `stage` is not valid: input should"),
    ],
)
def test_a_foreign_result_is_named_with_its_field(
    change: Callable[[dict[str, Any]], object], words: str, tmp_path: Path
) -> None:
    tree = json.loads((OLD / "evaluation" / "result.json").read_text())
    change(tree)
    path = tmp_path / "evaluation" / "result.json"
    path.parent.mkdir()
    path.write_text(json.dumps(tree))
    with pytest.raises(kr.KRError) as refusal:
        kr.RunDir(tmp_path).result("evaluation")
    said = str(refusal.value)
    assert said.startswith(f"{path}: ")
    assert words in said
    assert said.endswith("run the same command again to redo `evaluation`.")
    assert "many" not in said, "a value may be private"


@pytest.mark.parametrize("text", ["[1, 2]", "3", "null"])
def test_no_object_at_all(text: str, tmp_path: Path) -> None:
    (tmp_path / "split.json").write_text(text)
    with pytest.raises(kr.KRError, match=r"split\.json: does not hold a JSON object\. .*new run"):
        kr.RunDir(tmp_path).split()


def test_results_cannot_be_changed() -> None:
    audit = read(OLD / "audit" / "result.json", AuditResult)
    with pytest.raises(ValidationError, match="frozen"):
        audit.members = 3  # type: ignore[misc]


def test_the_schema_names_and_explains_every_field(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.argv", ["kr", "schema"])
    with pytest.raises(SystemExit):
        cli.main()
    schema = json.loads(capsys.readouterr().out)
    page = schema.pop("report/report.json")
    assert page == reporting.schema()["report/report.json"]
    assert page["additionalProperties"] is False
    assert schema == results.schema()
    assert set(schema) == {"split.json", *(f"{stage}/result.json" for stage in NAMES)}
    for path, found in schema.items():
        written = json.loads((OLD / path).read_text()).keys() - {"protocol", "taken_over"}
        assert written <= found["properties"].keys()
        assert found["additionalProperties"] is False
    gap = schema["evaluation/result.json"]["properties"]["cas_gap"]
    assert gap["description"].startswith("Student's accuracy less the Teacher's")
