"""The command line. Thin: it reads options, calls the library, and turns errors into sentences."""

from __future__ import annotations

import json
import sys
from contextlib import closing
from pathlib import Path
from typing import Annotated, Any

import typer

from fedsim.errors import FedsimError, InputError

STOPPED = 130
"""The exit code after Ctrl-C."""

# The class of every wrong use: typer carries it along since 0.20 or so and took it from click before.
USAGE_ERROR: Any = next(kind for kind in typer.BadParameter.__mro__ if kind.__name__ == "ClickException")

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Simulate federated in-context learning: real algorithms under a simulated clock.",
)

Files = Annotated[list[Path], typer.Argument(help="Scenario files (TOML).", show_default=False)]
Overrides = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Override a dotted key of the scenario."),
]
Only = Annotated[
    list[str] | None, typer.Option("--only", metavar="VARIANT", help="Run this variant of the file only.")
]


def _show_version(wanted: bool) -> None:
    if wanted:
        from fedsim import __version__

        typer.echo(f"fedsim {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version.")
    ] = False,
    debug: Annotated[
        bool, typer.Option("--debug", help="Show the stack trace of an error; may stand anywhere.")
    ] = False,
) -> None:
    """Declare the options of every command; `main` itself reads --debug."""


def _scenarios(files: list[Path], overrides: list[str] | None, only: list[str] | None) -> list[Any]:
    from fedsim.scenario import load_variants

    return [scenario for file in files for scenario in load_variants(file, overrides or [], only or [])]


@app.command("run")
def run_command(
    files: Files,
    overrides: Overrides = None,
    only: Only = None,
    seed: Annotated[int | None, typer.Option(min=0, help="The first seed; replaces the file's.")] = None,
    replicates: Annotated[int, typer.Option(min=1, help="Runs of each scenario, seeds counting up.")] = 1,
    jobs: Annotated[int, typer.Option(min=1, help="Processes.")] = 1,
    out: Annotated[Path, typer.Option(help="Folder for results.")] = Path("results"),
    timing_only: Annotated[bool, typer.Option("--timing-only", help="Run the clock; learn nothing.")] = False,
    again: Annotated[bool, typer.Option("--again", help="Run even what is finished already.")] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print summaries as JSON and nothing else.")
    ] = False,
) -> None:
    """Run scenarios and write their results."""
    scenarios = _scenarios(files, overrides, only)
    from fedsim import console, sweep

    if seed is not None:
        scenarios = [scenario.model_copy(update={"seed": seed}) for scenario in scenarios]
    scenarios = sweep.replicates(scenarios, replicates)
    outcomes = []
    if len(scenarios) == 1:
        with console.watch(scenarios[0]) as on_step:
            outcomes.append(sweep.run_one(scenarios[0], out, timing_only, again, on_step))
    else:
        running = sweep.run_all(scenarios, out, jobs, timing_only, again)
        with closing(running), console.bar(len(scenarios), "runs") as (progress, task):
            for outcome in running:
                outcomes.append(outcome)
                progress.update(task, advance=1, note=outcome.scenario.name)
    places = {scenario: place for place, scenario in enumerate(scenarios)}
    outcomes.sort(key=lambda outcome: places[outcome.scenario])
    if as_json:
        summaries = [outcome.summary for outcome in outcomes]
        typer.echo(json.dumps(summaries[0] if len(summaries) == 1 else summaries, indent=2))
    else:
        console.show_outcomes(outcomes)
    failures = [outcome.failure for outcome in outcomes if outcome.failure]
    for failure in failures:
        typer.echo(f"fedsim: {failure}", err=True)
    if failures:
        raise typer.Exit(1)


@app.command()
def check(files: Files, overrides: Overrides = None, only: Only = None) -> None:
    """Check scenario files without running them."""
    for scenario in _scenarios(files, overrides, only):
        typer.echo(f"{scenario.label}: {scenario.algorithm.kind}, {scenario.n_workers} workers: fine")


@app.command()
def figure(
    name: Annotated[str, typer.Argument(help="Which figure; `fedsim list figures` tells them.")],
    results: Annotated[Path, typer.Argument(help="A folder of results.")],
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="PDF to write; PNG and CSV beside.")
    ] = None,
) -> None:
    """Draw a figure from results: PDF, PNG, and the table behind it as CSV."""
    from analysis import figures
    from fedsim.results import load_results

    written = figures.draw(name, lambda table: load_results(results, table), output or Path(f"{name}.pdf"))
    for file in written:
        typer.echo(file)


@app.command()
def table(
    name: Annotated[str, typer.Argument(help="Which table; `fedsim list tables` tells them.")],
    results: Annotated[list[Path], typer.Argument(help="Folders of results.")],
    output: Annotated[Path | None, typer.Option("-o", "--output", help="CSV to write as well.")] = None,
) -> None:
    """Print a table of simulated numbers beside the paper's."""
    import pandas as pd

    from analysis import tables
    from fedsim import console
    from fedsim.results import load_results

    runs = pd.concat([load_results(folder) for folder in results], ignore_index=True)
    rows, rendered = tables.make(name, runs)
    console.output().print(rendered)
    if output is not None:
        try:
            output.parent.mkdir(parents=True, exist_ok=True)
            rows.to_csv(output, index=False)
        except OSError as error:
            raise InputError(f"cannot write {output}: {error.strerror or error}") from error
        typer.echo(output)


@app.command("list")
def list_command(family: Annotated[str | None, typer.Argument(help="One family only.")] = None) -> None:
    """List what exists: delays, algorithms, tasks, figures, ..."""
    from analysis.figures import FIGURES
    from analysis.tables import TABLES
    from fedsim.errors import nearest
    from fedsim.scenario.schema import FAMILIES

    drawn: dict[str, dict[str, Any]] = {"figures": {**FIGURES}, "tables": {**TABLES}}
    known = [*FAMILIES, *drawn]
    if family is not None and family not in known:
        raise InputError(f"no family {family!r}{nearest(family, known)} (families: {', '.join(known)})")
    for name in [family] if family else known:
        typer.echo(f"{name}:")
        if name in drawn:
            lines = [(entry, what.summary, "") for entry, what in drawn[name].items()]
        else:
            lines = [(kind, part.summary(), part.source()) for kind, part in FAMILIES[name]]
        for kind, summary, source in lines:
            typer.echo(f"  {kind:20} {summary}" + (f"  [{source}]" if source else ""))


@app.command()
def verify(runs: Annotated[list[Path], typer.Argument(help="Run folders, or folders above some.")]) -> None:
    """Check the invariants of finished runs."""
    from fedsim.results import find_runs
    from fedsim.verify import verify as verify_folder

    broken = 0
    for folder in [found for path in runs for found in find_runs(path)]:
        checks = verify_folder(folder)
        wrong = [check for check in checks if check.violation]
        broken += bool(wrong)
        typer.echo(f"{folder}: " + ("broken" if wrong else f"all {len(checks)} invariants hold"))
        for check in wrong:
            typer.echo(f"  {check.invariant}: {check.violation}")
    if broken:
        raise typer.Exit(1)


@app.command()
def schema() -> None:
    """Print the JSON Schema of scenario files."""
    from fedsim.scenario.schema import json_schema

    typer.echo(json.dumps(json_schema(), indent=2))


def main(arguments: list[str] | None = None) -> int:
    """Run the command line and return its exit code; an error becomes a sentence."""
    given = sys.argv[1:] if arguments is None else arguments
    # A stranger's part may lie in the folder where the person works; what is installed goes before it.
    if (here := str(Path.cwd())) not in sys.path:
        sys.path.append(here)
    try:
        return _called([word for word in given if word != "--debug"] or ["--help"])
    except FedsimError as error:
        if "--debug" in given:
            raise
        for sentence in str(error).splitlines():
            typer.echo(f"fedsim: {sentence}", err=True)
        return error.exit_code


def _called(arguments: list[str]) -> int:
    try:
        code = app(arguments, prog_name="fedsim", standalone_mode=False)
    except (typer.Abort, KeyboardInterrupt):  # Ctrl-C in an older typer; a newer one returns the code itself
        code = STOPPED
    except USAGE_ERROR as error:
        message = error.format_message().rstrip(".").replace(". Did you", "; did you")
        raise InputError(f"{message[0].lower()}{message[1:]} (`fedsim --help` tells more)") from error
    if code == STOPPED:
        typer.echo("fedsim: stopped; finished runs are kept and will not be run again", err=True)
    return code or 0
