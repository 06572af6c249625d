"""Rules 1 to 3 of the house: which module may know which."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import knowledge_recycling

ROOT = Path(knowledge_recycling.__file__).parent
STAGES = sorted(p.stem for p in (ROOT / "stages").glob("*.py") if p.stem != "__init__")
TOP = {"cli", "api", "pipeline", "shadows"}


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


def test_parts_never_import_stages_or_what_is_above() -> None:
    above = TOP | {"stages"}
    parts = [p for p in modules("") if p.stem not in TOP and p.parent.name != "stages"]
    assert len(parts) > 30
    guilty = {str(p): inner(p) & above for p in parts if p != ROOT / "__init__.py"}
    assert not {path: names for path, names in guilty.items() if names}


def test_only_what_is_above_imports_the_pipeline() -> None:
    users = {p.stem for p in modules("") if "pipeline" in inner(p)}
    assert users == {"api", "cli", "shadows"}


@pytest.mark.parametrize("stage", ["distillation", "report", "release"])
def test_the_privacy_wall(stage: str) -> None:
    if not (ROOT / "stages" / f"{stage}.py").exists():
        assert stage == "release", "only the release stage is still to come"
        return
    assert "data" not in {name.split(".")[0] for name in reached(f"stages.{stage}")}


def test_attacks_and_statistics_import_no_torch() -> None:
    files = [*modules("attacks"), ROOT / "statistics.py", ROOT / "auditing.py"]
    names = {p: {n.split(".")[0] for n in imports(p)} for p in files}
    assert not {p for p, found in names.items() if "torch" in found}


@pytest.mark.parametrize(
    "module", ["attacks", "statistics", "auditing", "diagnostics", "reporting"]
)
def test_what_must_not_use_torch_does_not_reach_it(module: str) -> None:
    for name in reached(module):
        path = ROOT.joinpath(*name.split("."))
        file = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
        assert "torch" not in {n.split(".")[0] for n in imports(file)}, name


def test_reporting_reads_results_only() -> None:
    allowed = {"reporting", "errors"}
    assert {name for p in modules("reporting") for name in inner(p)} <= allowed


READS = {
    "teacher": {"train", "val"},
    "generator": {"train"},
    "selection": {"val"},
    "tuning": {"val"},
    "evaluation": {"test"},
    "audit": {"train", "test"},
}


@pytest.mark.parametrize("stage", STAGES)
def test_stages_open_only_their_splits(stage: str) -> None:
    opened: set[str] = set()
    for node in ast.walk(ast.parse((ROOT / "stages" / f"{stage}.py").read_text())):
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "data.load":
            assert all(isinstance(argument, ast.Constant) for argument in node.args[2:])
            opened |= {ast.literal_eval(argument) for argument in node.args[2:]}
    assert opened == READS.get(stage, set())


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
