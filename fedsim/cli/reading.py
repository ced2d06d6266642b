"""Commands that read results: figures, tables, checks, measured latencies."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from fedsim.cli.options import Where, announce, cautions_in, csv_text, remark, warn
from fedsim.errors import InputError, ResultsError
from fedsim.terminal import say, show


def _of_grid(help_text: str) -> Any:
    """Return an option of figures that draw any sweep."""
    return typer.Option(metavar="NAME", help=f"Of the figure `grid`: {help_text}.", show_default=False)


def figure(
    name: Annotated[
        str,
        typer.Argument(help="Which figure; `fedsim list figures` tells them, and MODULE:NAME is your own."),
    ],
    results: Annotated[Path, typer.Argument(help="A folder of results.")],
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="PDF to write; PNG and CSV beside.")
    ] = None,
    where: Where = None,
    x: Annotated[str, _of_grid("the setting across; numbers make lines, names bars; found by itself")] = "",
    y: Annotated[str, _of_grid("the measurement; simulated time if not given")] = "",
    group: Annotated[str, _of_grid("settings that make lines or bars, with commas; the variants")] = "",
    facet: Annotated[str, _of_grid("the setting that makes panels beside each other")] = "",
    facet_row: Annotated[str, _of_grid("the setting that makes rows of panels")] = "",
    heat: Annotated[str, _of_grid("a setting up the side: a heat map whose colour is --y")] = "",
    baseline: Annotated[str, _of_grid("draw differences to this method or KEY=VALUE, paired by seed")] = "",
) -> None:
    """Draw a figure from results: PDF, PNG, and the table behind it as CSV."""
    from fedsim_analysis import figures
    from fedsim_analysis.sources import chosen

    if name in figures.FIGURES and (study := figures.FIGURES[name].study):
        raise InputError(f"figure {name!r} needs more than results: `python -m {study}` draws it")
    options = {"x": x, "y": y, "group": group, "facet": facet, "facet_row": facet_row}
    options |= {"heat": heat, "baseline": baseline}
    given = {option: value for option, value in options.items() if value}
    for file in figures.draw(name, results, output or Path(), where, **given):
        say(file)
    remark([results])
    warn(cautions_in(chosen(results, where).load("runs")))


def table(
    name: Annotated[str, typer.Argument(help="Which table; `fedsim list tables` tells them.")],
    results: Annotated[
        list[Path] | None,
        typer.Argument(help="Folders of results, but for tables that need none.", show_default=False),
    ] = None,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="File to write as well: .csv, or .tex for LaTeX.")
    ] = None,
) -> None:
    """Print a table of simulated numbers beside the paper's."""
    from fedsim.results import load_results
    from fedsim.whole_files import check_file, write_whole
    from fedsim_analysis import tables

    if output is not None:
        check_file(output)
    if results and not tables.needs_runs(name):
        raise InputError(f"table {name!r} is arithmetic and needs no results; leave {results[0]} out")
    if not results and tables.needs_runs(name):
        raise InputError(f"table {name!r} is made from runs; name a folder of results")
    # In one go: a setting that varies among the folders alone must not be averaged over.
    runs = load_results(results) if results else None
    rows, rendered = tables.make(name, runs)
    show(rendered)
    if results and runs is not None:
        remark(results)
        warn(cautions_in(runs))
    if output is not None:
        latex = output.suffix == ".tex"
        write_whole(output, tables.latex(name, rows) if latex else csv_text(rows))
        announce(output, str(output))


def verify(runs: Annotated[list[Path], typer.Argument(help="Run folders, or folders above some.")]) -> None:
    """Check the invariants of finished runs."""
    from fedsim.results import found_runs, read_summary
    from fedsim.verify import verify as verify_folder

    broken = damaged = 0
    for folder, origin in found_runs(*runs).items():
        try:
            checks = verify_folder(folder)
        except ResultsError as error:
            say(f"fedsim: {error}", err=True)
            damaged += 1
            continue
        wrong = [check for check in checks if check.violation]
        broken += bool(wrong)
        unsealed = "" if "digests" in origin else "; it states no digests, so that changes cannot be seen"
        say(f"{folder}: " + ("broken" if wrong else f"all {len(checks)} invariants hold") + unsealed)
        for check in wrong:
            say(f"  {check.invariant}: {check.violation}")
        for caution in read_summary(folder).get("cautions", ()):
            if all(caution != check.violation for check in wrong):
                say(f"  warning: {caution}")
    if damaged or broken:
        raise typer.Exit(ResultsError.exit_code if damaged else 1)


def latencies(
    results: Annotated[
        Path, typer.Argument(help="A folder of results with recorded answers, or one recording.")
    ],
    output: Annotated[Path, typer.Option("-o", "--output", help="CSV to write.")] = Path("latency.csv"),
) -> None:
    """Turn the measured latencies of a real model's answers into a delay model."""
    from fedsim.icl.answers.recording import recordings, save_latencies
    from fedsim.scenario.toml_text import inline
    from fedsim.whole_files import check_file

    check_file(output)
    n_calls = save_latencies(recordings(results), output)
    announce(output, f"{output}: {n_calls} calls; in the scenario:")
    settings = {"kind": "empirical", "file": str(output), "column": "end_to_end_s"}
    announce(output, f"latency = {inline(settings)}")
