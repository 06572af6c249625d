"""The rules of the house: which module may know which, and how files are written and read."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

import knowledge_recycling

ROOT = Path(knowledge_recycling.__file__).parent
STAGES = sorted(p.stem for p in (ROOT / "stages").glob("*.py") if p.stem != "__init__")
TOP = {"cli", "api", "pipeline", "releasing", "shadow_runs"}
ROOT_MODULES = {
    "api",
    "cli",
    "config",
    "errors",
    "pipeline",
    "releasing",
    "results",
    "shadow_runs",
}
FOLDERS = {
    "artefacts",
    "attacks",
    "auditing",
    "bundle",
    "classifiers",
    "data",
    "features",
    "generators",
    "membership",
    "privacy",
    "reporting",
    "stages",
    "statistics",
    "storage",
    "synthesis",
    "training",
    "workers",
}
NUMPY_ONLY = (
    "attacks",
    "auditing",
    "privacy",
    "statistics",
    "membership.halves",
    "membership.members",
)


def imports(path: Path) -> set[str]:
    """Dotted names that a module imports, `from a import b` counted as a.b."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def inner(path: Path) -> set[str]:
    """First component, below the package, of what a module imports of the package."""
    prefix = "knowledge_recycling."
    return {name.removeprefix(prefix).split(".")[0] for name in imports(path) if prefix in name}


def modules(*folders: str) -> list[Path]:
    return [p for folder in folders for p in sorted((ROOT / folder).rglob("*.py"))]


def reached(start: str) -> set[str]:
    """All modules of the package that importing one of them brings in, packages included."""
    seen: set[str] = set()
    todo = [start]
    while todo:
        name = todo.pop()
        path = ROOT.joinpath(*name.split("."))
        file = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
        if name in seen or not file.exists():
            continue
        seen.add(name)
        for dotted in imports(file):
            parts = dotted.split(".")
            if parts[0] == "knowledge_recycling":
                todo += [".".join(parts[1:end]) for end in range(2, len(parts) + 1)]
    return seen


def test_the_helpers_see_what_they_should() -> None:
    assert {"data", "classifiers"} <= inner(ROOT / "stages" / "teacher.py")
    assert "data.npz" in reached("stages.teacher")
    assert "torch" in imports(ROOT / "classifiers" / "resnet.py")


@pytest.mark.parametrize("stage", STAGES)
def test_stages_never_import_stages(stage: str) -> None:
    assert "stages" not in inner(ROOT / "stages" / f"{stage}.py")


@pytest.mark.parametrize("stage", STAGES)
def test_stages_never_import_what_is_above_them(stage: str) -> None:
    assert not inner(ROOT / "stages" / f"{stage}.py") & TOP


def parts() -> list[Path]:
    """Modules that know nothing of stages: all but the top, the stages and what lies between."""
    not_parts = {ROOT / f"{name}.py" for name in (*TOP, "__init__", "__main__")}
    return [
        p
        for p in modules("")
        if p not in not_parts and p.parent.name not in ("stages", "artefacts")
    ]


def test_the_root_holds_what_the_house_names() -> None:
    found = {p.stem for p in ROOT.glob("*.py")} - {"__init__", "__main__"}
    assert found <= ROOT_MODULES | {"arrays"}
    assert len(found) <= 9
    assert {p.name for p in ROOT.iterdir() if p.is_dir()} - {"__pycache__"} <= FOLDERS


def test_parts_never_import_stages_or_what_is_above() -> None:
    assert len(parts()) > 30
    guilty = {str(p): inner(p) & (TOP | {"stages", "artefacts"}) for p in parts()}
    assert not {path: names for path, names in guilty.items() if names}


def test_parts_know_nothing_of_run_directories() -> None:
    users = {p for p in parts() if "knowledge_recycling.storage.run_dir" in "".join(imports(p))}
    assert users <= {ROOT / "storage" / f"{name}.py" for name in ("run_dir", "verification")}


def test_parts_speak_of_arguments_and_not_of_flags() -> None:
    """An error that a part raises names no `--flag`: parts serve Python callers too."""
    flag = re.compile(r"(?<![\w-])--[a-z]")
    for path in parts():
        if path == ROOT / "storage" / "run_dir.py":
            continue  # forks and -o are known to whoever works on a run directory
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Raise) and "KRError" in ast.unparse(node):
                assert not flag.search(ast.unparse(node)), f"{path}: {ast.unparse(node)}"


def test_only_what_is_above_knows_of_workers() -> None:
    users = {p for p in modules("") if "workers" in inner(p) and p.parent.name != "workers"}
    assert users == {ROOT / "api.py", ROOT / "shadow_runs.py"}


def test_only_what_is_above_imports_the_pipeline() -> None:
    users = {p.stem for p in modules("") if "pipeline" in inner(p)}
    assert users <= {"api", "shadow_runs"}


@pytest.mark.parametrize("stage", ["distillation", "report", "release"])
def test_the_privacy_wall(stage: str) -> None:
    if not (ROOT / "stages" / f"{stage}.py").exists():
        assert stage == "release", "only the release stage is still to come"
        return
    assert "data" not in {name.split(".")[0] for name in reached(f"stages.{stage}")}


@pytest.mark.parametrize("module", [*NUMPY_ONLY, "synthesis.fidelity", "reporting"])
def test_what_must_not_use_torch_does_not_reach_it(module: str) -> None:
    for name in reached(module):
        path = ROOT.joinpath(*name.split("."))
        file = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
        assert "torch" not in {n.split(".")[0] for n in imports(file)}, name


@pytest.mark.parametrize(
    "module",
    ["knowledge_recycling", "knowledge_recycling.auditing", "knowledge_recycling.auditing.gate"],
)
def test_importing_the_auditor_loads_no_torch(module: str) -> None:
    heavy = {"torch", "sklearn", "matplotlib", "optuna", "typer", "rich"}
    code = f"import sys, {module}; print(*sorted({heavy!r} & set(sys.modules)))"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.split() == []


def test_one_function_writes_files() -> None:
    """Only `storage.files` moves a file into place; open files are logs, locks and readers."""
    for path in modules(""):
        if path == ROOT / "storage" / "files.py":
            continue
        called = [
            ast.unparse(node.func)
            for node in ast.walk(ast.parse(path.read_text()))
            if isinstance(node, ast.Call)
        ]
        moved = [name for name in called if name in {"os.replace", "os.rename", "shutil.move"}]
        assert not moved, path


def test_reporting_reads_results_only() -> None:
    """Beside itself it imports the types of what it shows, the gate, and the log's reader."""
    types = ("results", "config", "auditing.figures", "statistics.estimate", "synthesis.parameters")
    gate = ("auditing.gate", "auditing.limits", "auditing.answer", "bundle.form")
    of_numbers = ("statistics.binomial", "statistics.rates")
    allowed = ("reporting", "errors", "storage.metrics_log", *types, *gate, *of_numbers)
    for path in modules("reporting"):
        for name in imports(path):
            _, of_package, rest = name.partition("knowledge_recycling.")
            assert not of_package or f"{rest}.".startswith(tuple(f"{a}." for a in allowed)), (
                f"{path}: {name}"
            )


def test_the_types_of_results_are_free_of_torch_and_scikit_learn() -> None:
    heavy = {"torch", "sklearn"}
    code = f"import sys, knowledge_recycling.results; print(*{heavy!r} & set(sys.modules))"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.split() == []


READS = {
    "teacher": {"train", "val"},
    "generator": {"train"},
    "selection": {"val"},
    "tuning": {"val"},
    "evaluation": {"test"},
    "audit": {"train", "val", "test"},
}


@pytest.mark.parametrize("stage", STAGES)
def test_stages_open_only_their_splits(stage: str) -> None:
    opened: set[str] = set()
    for node in ast.walk(ast.parse((ROOT / "stages" / f"{stage}.py").read_text())):
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "data.load":
            assert all(isinstance(argument, ast.Constant) for argument in node.args[2:])
            opened |= {ast.literal_eval(argument) for argument in node.args[2:]}
    assert opened == READS.get(stage, set())


def test_dictionaries_of_anything_stay_at_the_edges() -> None:
    """A dictionary with known keys is a type; JSON and YAML come as `dict[str, Any]`."""
    found = {p: p.read_text(encoding="utf-8").count("dict[str, Any]") for p in modules("")}
    assert sum(found.values()) <= 40, {str(p): n for p, n in found.items() if n}


def test_nothing_is_unpickled() -> None:
    for path in modules(""):
        names = imports(path)
        assert not {n for n in names if n.split(".")[0] in {"pickle", "joblib", "dill"}}, path
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call):
                keywords = {k.arg: ast.unparse(k.value) for k in node.keywords}
                called = ast.unparse(node.func)
                if called == "torch.load":
                    assert keywords.get("weights_only") == "True", path
                if called == "np.load":
                    assert keywords.get("allow_pickle") == "False", path
