"""The command `kr`: it parses, calls the package's Python functions, and prints; no logic.

Nothing heavy is imported before a command needs it, so that `kr --help` answers at once.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from math import inf
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from typer.core import TyperGroup

import knowledge_recycling as kr
from knowledge_recycling.errors import KRError, printable
from knowledge_recycling.stages import NAMES

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from knowledge_recycling.auditing.figures import Figures

INTERRUPTED = 130


class Commands(TyperGroup):
    """The commands; whatever is foreseen ends in a sentence instead of a traceback."""

    def invoke(self, ctx: Any) -> Any:
        """Runs a command: 2 after a `KRError`, 3 or 4 at a shut gate, 130 after Ctrl-C."""
        try:
            return super().invoke(ctx)
        except KRError as error:
            _complain(f"error: {error}")
            raise typer.Exit(getattr(error, "exit_code", 2)) from None
        except KeyboardInterrupt:
            _complain("stopped; run the same command again to go on")
            raise typer.Exit(INTERRUPTED) from None


app = typer.Typer(
    cls=Commands,
    help="Knowledge Recycling: a classifier that never saw the private images.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # importing what draws boxes takes longer than all else of --help
)

Existing = Annotated[Path, typer.Argument(metavar="RUN", help="Run directory.")]
Out = Annotated[Path, typer.Option("--out", "-o", help="Run directory.")]
Settings = Annotated[
    list[str] | None, typer.Option("--set", help="stage.field=value; may be given often.")
]
Preset = Annotated[
    str | None,
    typer.Option(
        help="demo, fast (default), paper or private.",
        autocompletion=lambda: ["demo", "fast", "paper", "private"],
    ),
]
Seed = Annotated[int | None, typer.Option(help="All randomness comes from it.")]
Device = Annotated[str | None, typer.Option(help="auto (default), cpu, cuda or cuda:N.")]
File = Annotated[Path | None, typer.Option("--config", help="YAML file, as in a run directory.")]
Until = Annotated[str, typer.Option(help="Last stage to run.", autocompletion=lambda: list(NAMES))]
SkipBroken = Annotated[bool, typer.Option(help="Leave out images that cannot be decoded.")]
ShowReal = Annotated[bool, typer.Option(help="Real images in the report: it is then private.")]

TrustCode = Annotated[
    bool, typer.Option("--trust-code", help="Run the code of networks that the run's files name.")
]

LimitsFile = Annotated[
    Path | None, typer.Option("--limits", help="YAML file of the gate's limits; see docs.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]

Count = Annotated[int, typer.Option("-n", help="Shadow pipelines, an even number.")]
Workers = Annotated[int, typer.Option(min=1, help="Shadows at a time; they share the threads.")]
EngineName = Annotated[
    str,
    typer.Option(
        "--engine",
        help="Where shadows run: processes of this machine, or a ray cluster.",
        autocompletion=lambda: ["processes", "ray"],
    ),
]
Address = Annotated[
    str | None, typer.Option(help="Of the Ray cluster: auto (default), local, or HOST:PORT.")
]
Canaries = Annotated[
    int, typer.Option(min=0, help="Records planted as the worst case; 0: no canary arm.")
]
ReuseChoices = Annotated[
    bool, typer.Option(help="Shadows take over the run's snapshot and synthesis parameters.")
]


Epsilon = Annotated[
    float | None,
    typer.Option(help="A private run: differential privacy for all that is made, such as 3."),
]
Delta = Annotated[float | None, typer.Option(help="Probability that epsilon fails; 1e-5.")]
Unit = Annotated[
    str | None,
    typer.Option(help="Whom epsilon is for: image or patient (default where patients are known)."),
]
Symmetry = Annotated[
    str | None, typer.Option(help="What means nothing in the images: none (default), flip, square.")
]
Budget = Annotated[
    float | None, typer.Option(help="Largest epsilon of all private runs on these data.")
]


def _print_version(asked: bool) -> None:
    if asked:
        import importlib.metadata

        typer.echo(f"kr {importlib.metadata.version('knowledge-recycling')}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool,
        typer.Option("--version", help="Print it.", is_eager=True, callback=_print_version),
    ] = False,
) -> None:
    """Knowledge Recycling: a classifier that never saw the private images."""


@app.command(short_help="Runs all stages, or goes on where it was stopped.")
def run(
    data: Annotated[
        str,
        typer.Argument(metavar="DATA", help="digits, a path, hf:owner/name, or a MedMNIST name."),
    ],
    out: Out,
    preset: Preset = None,
    seed: Seed = None,
    device: Device = None,
    epsilon: Epsilon = None,
    delta: Delta = None,
    unit: Unit = None,
    symmetry: Symmetry = None,
    budget: Budget = None,
    settings: Settings = None,
    config: File = None,
    until: Until = NAMES[-1],
    fork: Annotated[
        Path | None, typer.Option(help="Take what stays valid of the run -o to this new one.")
    ] = None,
    dry_run: Annotated[bool, typer.Option(help="Print the configuration and stop.")] = False,
    skip_broken: SkipBroken = False,
    show_real: ShowReal = False,
    shadows: Annotated[
        int | None,
        typer.Option(
            help="Shadow pipelines for the audit; 0: none. [default: 16 with --epsilon, else none]"
        ),
    ] = None,
    workers: Workers = 1,
    engine: EngineName = "processes",
    address: Address = None,
    reuse_choices: ReuseChoices = False,
    canaries: Canaries = 0,
    trust_code: TrustCode = False,
) -> None:
    """Runs all stages on DATA; the same command again goes on where it was stopped."""
    configured: dict[str, Any] = {
        "preset": preset,
        "seed": seed,
        "device": device,
        "epsilon": epsilon,
        "delta": delta,
        "unit": unit,
        "symmetry": symmetry,
        "budget": budget,
        "settings": settings or (),
        "config": config,
        "skip_broken": skip_broken,
        "show_real": show_real,
    }
    if dry_run:
        typer.echo(kr.configuration(data, **configured).dump(), nl=False)
        return
    done = kr.run(
        data,
        out,
        until=until,
        fork=fork,
        shadows=shadows,
        workers=workers,
        engine=engine,
        address=address,
        reuse_choices=reuse_choices,
        canaries=canaries,
        trust_code=trust_code,
        **configured,
    )
    _show(done)


@app.command(short_help="Runs pipelines on random halves, for the audit.")
def shadows(
    run: Existing,
    count: Count = 16,
    workers: Workers = 1,
    engine: EngineName = "processes",
    address: Address = None,
    reuse_choices: ReuseChoices = False,
    canaries: Canaries = 0,
    keep_models: Annotated[bool, typer.Option(help="Leave the shadows' networks.")] = False,
    trust_code: TrustCode = False,
) -> None:
    """Runs whole pipelines on random halves of the training split, then audit and report."""
    done = kr.shadows(
        run,
        count,
        workers=workers,
        engine=engine,
        address=address,
        reuse_choices=reuse_choices,
        keep_models=keep_models,
        canaries=canaries,
        trust_code=trust_code,
    )
    _show(done)


def _stage_command(name: str) -> None:
    @app.command(name, help=f"Runs the stage `{name}` of a run made by `kr run`.")
    def command(run: Existing, trust_code: TrustCode = False) -> None:
        kr.stage(run, name, trust_code=trust_code)


for _name in NAMES:
    if _name != "audit":
        _stage_command(_name)


@app.command(short_help="Audits a run, or anybody's attack scores.")
def audit(
    run: Annotated[Path | None, typer.Argument(help="Run directory.")] = None,
    scores: Annotated[
        Path | None,
        typer.Option(help="npz file: member_scores and nonmember_scores, or signals, membership."),
    ] = None,
    as_json: AsJson = False,
    limits: LimitsFile = None,
    trust_code: TrustCode = False,
) -> None:
    """Runs the stage `audit` of a run, or audits anybody's attack scores (higher = member)."""
    from knowledge_recycling.auditing import audit_file
    from knowledge_recycling.auditing.gate import decide_scores
    from knowledge_recycling.auditing.limits import Limits

    if (run is None) == (scores is None):
        raise KRError("give either a run directory or --scores FILE.npz")
    if limits:
        Limits.load(limits)  # what cannot be read is told before the long part
    if scores is not None:
        figures = audit_file(scores)
        tree, attacks = asdict(figures), {scores.name: figures.attacks}
        notes = [f"{scores.name}: {note}" for note in figures.notes]
    else:
        assert run is not None
        result = kr.audit(run, trust_code=trust_code)
        tree = result.tree()
        attacks = {channel: target.attacks for channel, target in result.targets.items()}
        notes = [f"{name}: {n}" for name, target in result.targets.items() for n in target.notes]
    if as_json:
        typer.echo(json.dumps(tree, indent=1))
    else:
        _show_attacks(attacks)
        for note in notes:
            typer.echo(f"Note: {printable(note)}.")
    if limits:
        file = Limits.load(limits)
        decided = decide_scores(file, figures) if scores else kr.gate(run or "", limits=limits)
        _complain(decided.sentence)
        raise typer.Exit(decided.exit_code)


@app.command(short_help="Says whether a run may be given away: exit status 0, 3 or 4.")
def gate(run: Existing, limits: LimitsFile = None, as_json: AsJson = False) -> None:
    """Exit status 0 within the limits, 3 outside, 4 not audited or too weak."""
    found = kr.gate(run, limits=limits)
    typer.echo(json.dumps(found.tree(), indent=1) if as_json else found.sentence)
    raise typer.Exit(found.exit_code)


@app.command(short_help="Writes a bundle to give away, if the gate is open.")
def release(
    run: Annotated[
        Path | None, typer.Argument(help="Run directory; or a bundle, to upload only.")
    ] = None,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="New folder.")] = None,
    synthetic: Annotated[int, typer.Option(min=0, help="Synthetic images; 0: none.")] = 0,
    labels: Annotated[str, typer.Option(help="soft, hard or rounded:DECIMALS.")] = "soft",
    limits: LimitsFile = None,
    override: Annotated[
        str | None, typer.Option(help="Why it is written although the gate is shut.")
    ] = None,
    form: Annotated[Path | None, typer.Option(help="release.yaml, see --init.")] = None,
    init: Annotated[bool, typer.Option("--init", help="Write release.yaml and stop.")] = False,
    push_to_hub: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Upload it to this Hugging Face repository, privately."),
    ] = None,
    public: Annotated[bool, typer.Option("--public", help="Upload for everybody to see.")] = False,
    trust_code: TrustCode = False,
) -> None:
    """Writes Student, cards, report and, on request, a synthetic set."""
    from knowledge_recycling.bundle import contents, hub

    if init:
        from knowledge_recycling.bundle import form as forms

        typer.echo(f"Fill in {printable(forms.start(form or Path('release.yaml')))}")
        return
    if public and push_to_hub is None:
        raise KRError("--public: is for an upload; give its NAME with --push-to-hub")
    if push_to_hub and out is None and run is not None and contents.is_bundle(run):
        typer.echo(f"Uploaded: {kr.upload(run, push_to_hub, public=public)}")
        return
    if run is None or out is None:
        raise KRError("give a run directory, and the bundle's folder with -o")
    # What is missing is told before the long part.
    target = hub.repository(push_to_hub, public) if push_to_hub else None
    found = kr.release(
        run,
        out,
        synthetic=synthetic,
        labels=labels,
        limits=limits,
        override=override,
        form=form,
        trust_code=trust_code,
    )
    typer.echo(f"{found.sentence}\nBundle: {printable(out)}")
    if target:
        typer.echo(f"Uploaded: {target.upload(out)}")


@app.command(short_help="Predicts the classes of new images.")
def predict(
    model: Annotated[Path, typer.Argument(metavar="BUNDLE_OR_RUN")],
    images: Annotated[list[Path], typer.Argument(help="Files, folders, npz files.")],
    as_csv: Annotated[bool, typer.Option("--csv", help="Print CSV (default).")] = False,
    as_json: AsJson = False,
    parquet: Annotated[Path | None, typer.Option(help="Write this Parquet file.")] = None,
    engine: Annotated[str | None, typer.Option(help="onnx (bundles) or torch.")] = None,
) -> None:
    """Prints the class and the probabilities of each image."""
    from knowledge_recycling.bundle import tables

    if as_csv + as_json + (parquet is not None) > 1:
        raise KRError("give one of --csv, --json and --parquet")
    student = kr.load(model, engine)  # type: ignore[arg-type]
    names, pixels = student.read(images)
    rows = student.predict(pixels).rows(names)
    if parquet:
        tables.write_parquet(parquet, rows)
    else:
        typer.echo(json.dumps(rows, indent=1) if as_json else tables.csv_text(rows), nl=as_json)


@app.command(short_help="Puts runs side by side.")
def compare(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN RUN...", help="Run directories.")],
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Write this HTML page.")] = None,
    as_json: AsJson = False,
) -> None:
    """Utility, leaks, guarantees, cost and settings that differ; means over seeds."""
    found = kr.compare(*runs, out=out)
    if as_json:
        typer.echo(json.dumps(found.tree(), indent=1))
        return
    table = _table("", *map(printable, found.columns))
    for section in found.sections:
        table.add_section()
        table.add_row(section.title, style="bold")
        for row in section.rows:
            cells = (f"{e.text} ({e.note})" if e.note else e.text for e in row.entries)
            table.add_row(printable(row.name), *map(printable, cells))
    _console().print(table)
    for note in found.notes:
        typer.echo(note)
    if out:
        typer.echo(f"Page: {printable(out)}")


@app.command(short_help="Says what private runs have spent on DATA.")
def budget(
    data: Annotated[str, typer.Argument(metavar="DATA", help="As given to `kr run`.")],
    delta: Annotated[float, typer.Option(help="At which epsilon is given.")] = 1e-5,
    settings: Settings = None,
) -> None:
    """Says what private runs have released of DATA so far, and what that adds up to."""
    from knowledge_recycling.privacy import accountant, ledger

    entries = kr.budget(data, settings=settings or ())
    table = _table("date", "run", "stage", "per", "mu", "epsilon alone")
    for entry in entries:
        alone = f"{accountant.epsilon(delta, entry.mu):.3g}"
        table.add_row(
            entry.date, printable(entry.run), entry.stage, entry.unit, f"{entry.mu:.3g}", alone
        )
    if entries:
        _console().print(table)
    units: tuple[Literal["image", "patient"], ...] = ("image", "patient")
    for unit in units:
        mu = ledger.total(entries, unit)
        found = f"epsilon {accountant.epsilon(delta, mu):.3g}" if mu < inf else "no guarantee"
        typer.echo(f"All together, per {unit}: {found} at delta {delta:g}.")


@app.command(short_help="Compares every file of a run or bundle with its SHA-256.")
def verify(run: Existing) -> None:
    """Compares every file of a run, or of a bundle, with the SHA-256 that was recorded."""
    count = kr.verify(run)
    typer.echo(f"{printable(run)}: all {count} files are as they were written")


@app.command(short_help="Prints the JSON Schema of result files.")
def schema() -> None:
    """Prints the JSON Schema of split.json, of every result.json and of report.json, by file."""
    from knowledge_recycling import reporting, results

    typer.echo(json.dumps(results.schema() | reporting.schema(), indent=1))


@app.command(short_help="Says what this machine offers and what it lacks.")
def doctor() -> None:
    """Says what this machine offers and what is missing; exit status 1 if it is needed."""
    findings = kr.doctor()
    table = _table("", "", "")
    for finding in findings:
        mark = "MISSING" if finding.missing else ""
        table.add_row(mark, printable(finding.what), printable(finding.found))
    table.show_header = False
    _console().print(table)
    if any(finding.missing for finding in findings):
        raise typer.Exit(1)


def _console(stderr: bool = False) -> Console:
    """Prints names as they are: neither as markup nor as emoji."""
    from rich.console import Console

    return Console(stderr=stderr, markup=False, emoji=False, highlight=False)


def _complain(message: str) -> None:
    _console(stderr=True).print(printable(message, keep="\n"), style="bold red", soft_wrap=True)


def _table(*headings: str) -> Table:
    from rich.table import Table

    table = Table()
    for heading in headings:
        table.add_column(heading, overflow="fold")  # a name is broken, never cut
    return table


def _show_attacks(attacks: Mapping[str, Mapping[str, Figures]]) -> None:
    """Prints attack AUC and TPR at 1% FPR of each attack on each target, with 95% intervals."""
    table = _table("target", "attack", "attack AUC", "TPR at 1% FPR")
    for target, found in attacks.items():
        for name, figures in found.items():
            cells = (figures.auc, figures.tpr_at_fpr["0.01"])
            texts = (f"{c.value:.3f} ({c.low:.3f} to {c.high:.3f})" if c else "" for c in cells)
            table.add_row(printable(target), name, *texts)
    _console().print(table)
    typer.echo("An audit gives lower bounds: what it does not find is not found at this power.")


def _show(run: kr.Run) -> None:
    """Prints the result table and where the report is."""
    rows = run.summary()
    if rows:
        table = _table("on test", "Teacher", "Student", "difference")
        for row in rows:
            table.add_row(*map(printable, row))
        _console().print(table)
    report = run.path / "report" / "report.html"
    if report.exists():
        typer.echo(f"Report: {printable(report.resolve())}")


def main() -> None:
    """Entry point of `kr`."""
    app()
