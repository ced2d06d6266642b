"""The command that compares methods and settings with a baseline."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fedsim.cli.options import Where, announce, cautions_in, check_format, csv_text, listed, remark, warn
from fedsim.cli.wide_tables import show_frame
from fedsim.errors import InputError
from fedsim.terminal import give, say

if TYPE_CHECKING:
    import pandas as pd

    from fedsim_analysis.compare import Comparison

FORMATS = ("table", "csv", "latex", "markdown", "json")


def compare(
    results: Annotated[Path, typer.Argument(help="A folder of results.", show_default=False)],
    baseline: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="What the others are compared with: a method or variant, or a setting with its value "
            "(algorithm.wait_for=10). SDBT or cenDBT if not given.",
        ),
    ] = None,
    by: Annotated[
        str | None,
        typer.Option(
            metavar="SETTINGS",
            help="Settings that make rows, with commas between; all that vary within a method if not given.",
        ),
    ] = None,
    metric: Annotated[
        str | None,
        typer.Option(
            metavar="METRICS",
            help="Columns with numbers, with commas between; by the first it is said what is best. "
            "Simulated time, accuracy and time to the target if not given.",
        ),
    ] = None,
    where: Where = None,
    correction: Annotated[
        str,
        typer.Option(help="Of p values, for many comparisons: holm, bonferroni, fdr or none."),
    ] = "holm",
    output_format: Annotated[
        str, typer.Option("--format", help="How to write it: table, csv, latex, markdown or json.")
    ] = "table",
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="File to write; otherwise it is printed.")
    ] = None,
) -> None:
    """Compare methods and settings with a baseline: paired differences, ratios, and what is best."""
    from fedsim.results import load_results
    from fedsim.whole_files import check_file, write_whole
    from fedsim_analysis import compare as comparing
    from fedsim_analysis.selecting import select

    check_format(output_format, FORMATS)
    if output is not None:
        check_file(output)
    runs = load_results(results)
    if where is not None:
        runs = select(runs, where)
        if runs.empty:
            raise InputError(f"--where {where!r}: no run is left of those in {results}")
    found = comparing.compare(
        runs, baseline=baseline, by=listed(by), metrics=listed(metric), correction=correction
    )
    if output is None and output_format == "table":
        _show(found)
    else:
        text = _text(found, output_format)
        if output is None:
            give(text)
        else:
            write_whole(output, text)
            announce(output, str(output))
    aside = output is not None or output_format != "table"
    for note in found.notes:
        say(note, err=aside)
    for sentence in found.verdicts:
        say(sentence, err=aside)
    remark([results])
    warn(cautions_in(runs))


def _show(found: Comparison) -> None:
    """Print a table for each metric."""
    from fedsim_analysis.compare import cells
    from fedsim_analysis.words import label

    for metric in found.metrics:
        rows = cells(found, metric)
        say(label(metric))
        show_frame(rows, list(rows).index("method") + 1)
        say("")


def _text(found: Comparison, output_format: str) -> str:
    from fedsim_analysis.compare import cells
    from fedsim_analysis.tables import booktabs, markdown

    if output_format == "csv":
        return csv_text(found.table)
    if output_format == "json":
        return _json(found)
    rows: pd.DataFrame = cells(found)
    return booktabs.of_frame(rows) if output_format == "latex" else markdown.of_frame(rows)


def _json(found: Comparison) -> str:
    rows = json.loads(found.table.to_json(orient="records", double_precision=15))
    return (
        json.dumps(
            {
                "baseline": found.baseline,
                "rows": rows,
                "notes": list(found.notes),
                "verdicts": list(found.verdicts),
            },
            indent=2,
        )
        + "\n"
    )
