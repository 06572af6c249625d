"""Every example runs, on settings that take seconds."""

from __future__ import annotations

import importlib
from pathlib import Path
from types import ModuleType

import nbformat
import pytest
from nbclient import NotebookClient

from knowledge_recycling.stages import NAMES

EXAMPLES = Path(__file__).parents[2] / "examples"
TINY = (
    "teacher.steps=20",
    "teacher.evaluations=1",
    "generator.width=8",
    "generator.latent_channels=[2]",
    "generator.steps=20",
    "generator.snapshots=1",
    "selection.screen_steps=3",
    "selection.final_steps=3",
    "tuning.trials=1",
    "tuning.steps=3",
    "tuning.final_steps=3",
    "tuning.label_steps=3",
    "distillation.steps=20",
    "runtime.threads=1",
)


@pytest.fixture
def example(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> ModuleType:
    monkeypatch.syspath_prepend(EXAMPLES)
    return importlib.import_module(request.param)


@pytest.mark.parametrize("example", ["whole_job"], indirect=True)
def test_the_whole_job(
    example: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = example.main(str(tmp_path / "run"), TINY)
    assert run.done == NAMES
    said = capsys.readouterr().out
    assert "Accuracy: Teacher" in said
    assert f"The report is {run.path}/report/report.html" in said


@pytest.mark.parametrize("example", ["audit_scores"], indirect=True)
def test_the_audit_of_somebody_elses_scores(
    example: ModuleType, capsys: pytest.CaptureFixture[str]
) -> None:
    auc = example.main().attacks["scores"].auc
    assert auc.low < 0.638 < auc.high, "Phi(0.5 / sqrt 2) of two normals half a sigma apart"
    assert "TPR at 1% FPR 0.0" in capsys.readouterr().out


@pytest.mark.parametrize("example", ["own_network"], indirect=True)
def test_a_network_of_ones_own(example: ModuleType, tmp_path: Path) -> None:
    run = example.main(str(tmp_path / "run"), TINY)
    assert type(run.student).__name__ == "Sequential"
    assert run.student[4].in_features == 16 * 4 * 4


def test_the_notebook(tmp_path: Path) -> None:
    """From arrays to the report, with one bar and a table, as a person would see it."""
    notebook = nbformat.read(EXAMPLES / "quick_start.ipynb", as_version=4)
    (parameters,) = [c for c in notebook.cells if c.metadata.get("tags") == ["parameters"]]
    parameters.source = f"out, settings = 'run', {list(TINY)!r}"
    place = {"metadata": {"path": str(tmp_path)}}
    client = NotebookClient(
        notebook, timeout=300, kernel_name="python3", resources=place, coalesce_streams=True
    )
    client.execute()
    running, shown, used = (cell.outputs for cell in notebook.cells if cell.get("outputs"))
    bars = [o for o in running if "<progress" in o.get("data", {}).get("text/html", "")]
    assert len(bars) == 1
    lines = [o for o in running if o not in bars]
    assert {(o.output_type, o.name) for o in lines} == {("stream", "stdout")}
    assert len(lines) <= 2, "before and after the bar"
    assert "report: done in" in lines[-1].text
    table = shown[0].data["text/html"]
    assert "<td>Teacher</td><td>Student</td>" in table
    assert "CAS gap: " in shown[0].data["text/plain"]
    assert "tensor([" in used[0].data["text/plain"]
    assert (tmp_path / "run" / "report" / "report.html").exists()
