"""The command `kr`: it parses, calls the pipeline, and prints; no logic."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from knowledge_recycling import auditing, pipeline, reporting
from knowledge_recycling import shadows as shadow_runs
from knowledge_recycling.auditing import gate
from knowledge_recycling.config import Config
from knowledge_recycling.errors import KRError
from knowledge_recycling.storage.run_dir import RunDir

app = typer.Typer(
    help="Knowledge Recycling: a classifier that never saw the private images.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

Out = Annotated[Path, typer.Option("--out", "-o", help="Run directory.")]
Settings = Annotated[
    list[str] | None, typer.Option("--set", help="stage.field=value; may be given often.")
]
Preset = Annotated[str | None, typer.Option(help="demo, fast (default) or paper.")]
Seed = Annotated[int | None, typer.Option(help="All randomness comes from it.")]
Device = Annotated[str | None, typer.Option(help="auto (default), cpu, cuda or cuda:N.")]
File = Annotated[Path | None, typer.Option("--config", help="YAML file, as in a run directory.")]
SkipBroken = Annotated[bool, typer.Option(help="Leave out images that cannot be decoded.")]
ShowReal = Annotated[bool, typer.Option(help="Real images in the report: it is then private.")]

Count = Annotated[int, typer.Option("-n", help="Shadow pipelines, an even number.")]
Workers = Annotated[int, typer.Option(min=1, help="Shadows at a time; they share the threads.")]
Canaries = Annotated[
    int, typer.Option(min=0, help="Records planted as the worst case; 0: no canary arm.")
]
ReuseChoices = Annotated[
    bool, typer.Option(help="Shadows take over the run's snapshot and synthesis parameters.")
]


@app.command()
def run(
    data: Annotated[str, typer.Argument(help="digits, a path, or a MedMNIST name.")],
    out: Out,
    preset: Preset = None,
    seed: Seed = None,
    device: Device = None,
    settings: Settings = None,
    config: File = None,
    until: Annotated[str, typer.Option(help="Last stage to run.")] = pipeline.NAMES[-1],
    fork: Annotated[
        Path | None, typer.Option(help="Take what stays valid of the run -o to this new one.")
    ] = None,
    dry_run: Annotated[bool, typer.Option(help="Print the configuration and stop.")] = False,
    skip_broken: SkipBroken = False,
    show_real: ShowReal = False,
    shadows: Annotated[int, typer.Option(help="Shadow pipelines for the audit; 0: none.")] = 0,
    workers: Workers = 1,
    reuse_choices: ReuseChoices = False,
    canaries: Canaries = 0,
) -> None:
    """Runs all stages on DATA; the same command again goes on where it was stopped."""
    flags = [*(settings or [])]
    flags += [f"runtime.device={device}"] if device else []
    flags += ["data.skip_broken=true"] if skip_broken else []
    flags += ["report.show_real=true"] if show_real else []
    resolved = Config.resolve(data, preset=preset, file=config, settings=flags, seed=seed)
    if until not in pipeline.NAMES:
        raise KRError(f"--until {until}: not a stage; one of {', '.join(pipeline.NAMES)}")
    if dry_run:
        typer.echo(resolved.dump(), nl=False)
        return
    run_dir = RunDir.existing(out).fork(fork) if fork else RunDir(out)
    if shadows:
        pipeline.run(resolved, run_dir, "evaluation")
        shadow_runs.run(
            run_dir,
            resolved,
            shadows,
            workers=workers,
            reuse_choices=reuse_choices,
            canaries=canaries,
        )
    pipeline.run(resolved, run_dir, until)
    _show(run_dir)


@app.command()
def shadows(
    run: Annotated[Path, typer.Argument(help="Run directory.")],
    count: Count = 16,
    workers: Workers = 1,
    reuse_choices: ReuseChoices = False,
    canaries: Canaries = 0,
    keep_models: Annotated[bool, typer.Option(help="Leave the shadows' networks.")] = False,
) -> None:
    """Runs whole pipelines on random halves of the training split, then audit and report."""
    run_dir = RunDir.existing(run)
    config = Config.load(run_dir.path / "config.yaml")
    shadow_runs.run(
        run_dir,
        config,
        count,
        workers=workers,
        reuse_choices=reuse_choices,
        keep_models=keep_models,
        canaries=canaries,
    )
    pipeline.run(config, run_dir)
    _show(run_dir)


def _stage_command(name: str) -> None:
    @app.command(name, help=f"Runs the stage `{name}` of a run made by `kr run`.")
    def command(run: Annotated[Path, typer.Argument(help="Run directory.")]) -> None:
        _advance(name, run)


for _name in pipeline.NAMES:
    if _name != "audit":
        _stage_command(_name)


@app.command()
def audit(
    run: Annotated[Path | None, typer.Argument(help="Run directory.")] = None,
    scores: Annotated[
        Path | None,
        typer.Option(help="npz file: member_scores and nonmember_scores, or signals, membership."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    fail_above: Annotated[
        str | None,
        typer.Option(help='Exit with 3 if the Student\'s lower bound is above: "tpr@1%=0.03".'),
    ] = None,
) -> None:
    """Runs the stage `audit` of a run, or audits anybody's attack scores (higher = member)."""
    if (run is None) == (scores is None):
        raise KRError("give either a run directory or --scores FILE.npz")
    if run is not None:
        result = _advance("audit", run)
        attacks = {role: target["attacks"] for role, target in result["targets"].items()}
    else:
        assert scores is not None
        result = auditing.audit_file(scores)
        attacks = {scores.name: result["attacks"]}
    if as_json:
        typer.echo(json.dumps(result, indent=1))
    else:
        _show_attacks(attacks)
    if run is not None and fail_above and gate.exceeds(result["targets"], fail_above):
        Console(stderr=True).print(f"release gate shut: the Student is above {fail_above}")
        raise typer.Exit(3)


def _advance(name: str, run: Path) -> dict[str, Any]:
    run_dir = RunDir.existing(run)
    pipeline.run_stage(name, Config.load(run_dir.path / "config.yaml"), run_dir)
    return run_dir.result(name).tree()


def _show_attacks(attacks: dict[str, dict[str, Any]]) -> None:
    """Prints AUC and TPR at 1% FPR of each attack on each target, with 95% intervals."""
    table = Table("target", "attack", "AUC", "TPR at 1% FPR")
    for target, found in attacks.items():
        for name, figures in found.items():
            cells = (figures["auc"], figures["tpr_at_fpr"]["0.01"])
            texts = (f"{c['value']:.3f} ({c['low']:.3f} to {c['high']:.3f})" for c in cells)
            table.add_row(target, name, *texts)
    Console().print(table)
    typer.echo("An audit gives lower bounds: what it does not find is not found at this power.")


def _show(run_dir: RunDir) -> None:
    """Prints the result table and where the report is."""
    console = Console()
    rows = reporting.summary(run_dir.path)
    if rows:
        table = Table("on test", "Teacher", "Student", "difference")
        for row in rows:
            table.add_row(*row)
        console.print(table)
    report = run_dir.path / "report" / "report.html"
    if report.exists():
        console.print(f"Report: {report.resolve()}", soft_wrap=True)


def main() -> None:
    """Entry point: a `KRError` is printed without a traceback and exits with 2."""
    try:
        app()
    except KRError as error:
        Console(stderr=True).print(
            f"error: {error}", style="bold red", markup=False, soft_wrap=True
        )
        raise SystemExit(2) from None
