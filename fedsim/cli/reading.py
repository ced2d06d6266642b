"""Commands that read results: figures, tables, checks, measured latencies."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from fedsim.errors import InputError
from fedsim.terminal import say, show


def figure(
    name: Annotated[
        str,
        typer.Argument(help="Which figure; `fedsim list figures` tells them, and MODULE:NAME is your own."),
    ],
    results: Annotated[Path, typer.Argument(help="A folder of results.")],
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="PDF to write; PNG and CSV beside.")
    ] = None,
) -> None:
    """Draw a figure from results: PDF, PNG, and the table behind it as CSV."""
    from fedsim.results import load_results
    from fedsim_analysis import figures

    if name in figures.FIGURES and (study := figures.FIGURES[name].study):
        raise InputError(f"figure {name!r} needs more than results: `python -m {study}` draws it")
    written = figures.draw(name, lambda table: load_results(results, table), output or Path())
    for file in written:
        say(file)


def table(
    name: Annotated[str, typer.Argument(help="Which table; `fedsim list tables` tells them.")],
    results: Annotated[list[Path], typer.Argument(help="Folders of results.")],
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="File to write as well: .csv, or .tex for LaTeX.")
    ] = None,
) -> None:
    """Print a table of simulated numbers beside the paper's."""
    import pandas as pd

    from fedsim.results import load_results
    from fedsim_analysis import tables

    runs = pd.concat([load_results(folder) for folder in results], ignore_index=True)
    rows, rendered = tables.make(name, runs)
    show(rendered)
    if output is not None:
        try:
            output.parent.mkdir(parents=True, exist_ok=True)
            if output.suffix == ".tex":
                output.write_text(tables.latex(name, rows), encoding="utf-8")
            else:
                rows.to_csv(output, index=False)
        except OSError as error:
            raise InputError(f"cannot write {output}: {error.strerror or error}") from error
        say(output)


def verify(runs: Annotated[list[Path], typer.Argument(help="Run folders, or folders above some.")]) -> None:
    """Check the invariants of finished runs."""
    from fedsim.results import find_runs
    from fedsim.verify import verify as verify_folder

    broken = 0
    for folder in [found for path in runs for found in find_runs(path)]:
        checks = verify_folder(folder)
        wrong = [check for check in checks if check.violation]
        broken += bool(wrong)
        say(f"{folder}: " + ("broken" if wrong else f"all {len(checks)} invariants hold"))
        for check in wrong:
            say(f"  {check.invariant}: {check.violation}")
    if broken:
        raise typer.Exit(1)


def latencies(
    results: Annotated[
        Path, typer.Argument(help="A folder of results with recorded answers, or one recording.")
    ],
    output: Annotated[Path, typer.Option("-o", "--output", help="CSV to write.")] = Path("latency.csv"),
) -> None:
    """Turn the measured latencies of a real model's answers into a delay model."""
    from fedsim.icl.answers.recording import recordings, save_latencies

    n_calls = save_latencies(recordings(results), output)
    say(f"{output}: {n_calls} calls; in the scenario:")
    say(f'latency = {{ kind = "empirical", file = {json.dumps(str(output))}, column = "end_to_end_s" }}')
