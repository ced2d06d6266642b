"""The command that shows results as a table: selected rows and columns, in several formats."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fedsim.cli.options import Where, announce, cautions_in, check_format, csv_text, listed, remark, warn
from fedsim.cli.wide_tables import show_frame
from fedsim.errors import InputError, nearest
from fedsim.terminal import give, say

if TYPE_CHECKING:
    import pandas as pd

HEADLINES = (
    *("ended", "simulated_time_s", "time_to_target_s", "time_to_target_resolution_s", "llm_calls"),
    *("real_calls", "real_tokens_in", "real_tokens_out", "real_cost", "accuracy", "loss"),
)


FORMATS = ("table", "csv", "parquet", "latex", "markdown")
READ = ("table", "latex", "markdown")
"""Formats for people: of runs, they show what tells them apart, and the headline numbers."""


def results(
    folder: Annotated[Path, typer.Argument(help="A folder of results.", show_default=False)],
    where: Where = None,
    columns: Annotated[
        str | None, typer.Option(metavar="NAMES", help="Keep these columns: names with commas between.")
    ] = None,
    group: Annotated[
        bool, typer.Option("--group", help="Means over seeds with their intervals, one row per setting.")
    ] = False,
    by: Annotated[
        str | None,
        typer.Option(
            metavar="SETTINGS",
            help="With --group: settings that make rows, with commas between; all that vary if not given.",
        ),
    ] = None,
    table: Annotated[
        str, typer.Option(help="runs, steps, workers, spans, tickets, queue, links or prompt.")
    ] = "runs",
    output_format: Annotated[
        str, typer.Option("--format", help="How to write it: table, csv, parquet, latex or markdown.")
    ] = "table",
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="File to write; otherwise it is printed.")
    ] = None,
) -> None:
    """Show results: one row per run, a column for each setting that varies and for each measurement.

    As a table, for LaTeX and for Markdown, only what varies and the headline numbers are shown unless columns
    are named.
    """
    from fedsim.results import KEYS, load_results
    from fedsim.whole_files import check_file
    from fedsim_analysis.selecting import select

    _check_options(output_format, output, table, group, by)
    if output is not None:
        check_file(output)
    rows = load_results(folder, table)
    everything = list(rows.columns)
    if where is not None:
        rows = select(rows, where)
    warned = list(cautions_in(rows))
    names = None if columns is None or group else _named(columns, everything)
    notes = [f"{len(rows):,} rows"]
    if group:
        if rows.empty:
            raise InputError(f"--group: no run is left of those in {folder}")
        rows, n_first, notes = _grouped(rows, listed(by), listed(columns), output_format in READ)
    elif names is not None:
        rows, n_first = rows[names], 1
    elif table == "runs" and output_format in READ:
        rows, n_first, notes = _telling(rows, in_words=output_format == "table")
    else:
        n_first = sum(name in KEYS for name in rows) or 1
    if output is None:
        _print(rows, output_format, n_first)
    else:
        _write(rows, output_format, output)
        announce(output, str(output))
    aside = output is not None or output_format != "table"
    for note in notes:
        if not aside or group:
            say(note, err=aside)
    remark([folder])
    warn(warned)


def _check_options(output_format: str, output: Path | None, table: str, group: bool, by: str | None) -> None:
    check_format(output_format, FORMATS)
    if output_format == "parquet" and output is None:
        raise InputError(
            "--format parquet is not for reading: expected a file to write, as in -o runs.parquet"
        )
    if by is not None and not group:
        raise InputError("--by says what makes rows of means: expected --group beside it")
    if group and table != "runs":
        raise InputError(f"--group: found --table {table}, expected runs: means are over runs")


def _named(columns: str, known: list[str]) -> list[str]:
    names = [name.strip().strip("`") for name in columns.split(",")]
    for name in names:
        if name not in known:
            hint = nearest(name, known) or f" (columns: {', '.join(known)})"
            raise InputError(f"--columns: no column {name!r}{hint}")
        if names.count(name) > 1:
            raise InputError(f"--columns: {name!r} is named twice, expected each column once")
    return names


def _telling(rows: pd.DataFrame, in_words: bool) -> tuple[pd.DataFrame, int, list[str]]:
    """Return of runs what a person looks at first: what tells them apart, and the headline numbers.

    What is the same in all runs is told below.

    Args:
        rows: one row per run.
        in_words: add to seconds what a person would say.

    Returns:
        The table, how many of its columns tell the runs apart, and sentences below it.
    """
    from fedsim_analysis.varied import told_by_none

    keys = [name for name in ("scenario", "variant") if rows[name].nunique() > 1]
    settings = told_by_none(rows, ["scenario", "variant"]) if len(rows) else []
    headlines = [name for name in HEADLINES if name in rows and rows[name].notna().any()]
    if len(rows) > 1 and rows["ended"].nunique() == 1:
        headlines.remove("ended")
    same = {
        name: rows[name].iloc[0] for name in ("scenario", "variant", "ended") if rows[name].nunique() == 1
    }
    told = [f"{name} {value}" for name, value in same.items() if value and name not in headlines]
    if rows["timing_only"].any():
        told.append("of the clock alone (--timing-only)")
    shown = rows[[*keys, *settings, "seed", *headlines]]
    if in_words:
        times = [name for name in headlines if name.endswith("time_s") or name == "time_to_target_s"]
        shown = shown.assign(**{name: rows[name].map(_spoken) for name in times})
    n_runs = f"{len(rows):,} {'row' if len(rows) == 1 else 'rows'}"
    return shown, len(keys) + len(settings) + 1, [", ".join([n_runs, *told])]


def _spoken(seconds: float) -> str:
    """Return a time in seconds, and in the unit in which a person would say it."""
    from fedsim_analysis.words import duration

    said = duration(seconds)
    return _cell(seconds) + (f" ({said})" if said else "")


def _grouped(
    rows: pd.DataFrame, by: list[str], names: list[str], in_words: bool
) -> tuple[pd.DataFrame, int, list[str]]:
    """Return means over seeds: for people with half the interval beside them, else each in a column."""
    from fedsim_analysis.compare import cells, means

    metrics = names or [
        name
        for name in HEADLINES
        if name not in ("ended", "time_to_target_resolution_s") and name in rows and rows[name].notna().any()
    ]
    found = means(rows, by=by, metrics=metrics)
    shown = cells(found) if in_words else found.table
    return shown, list(shown).index("method") + 1, list(found.notes)


def _print(rows: pd.DataFrame, output_format: str, n_first: int) -> None:
    if output_format == "table":
        show_frame(rows, n_first, _cell)
    else:
        give(_text(rows, output_format))


def _write(rows: pd.DataFrame, output_format: str, file: Path) -> None:
    from fedsim.whole_files import write_whole

    if output_format == "parquet":
        write_whole(file, _same_types(rows).to_parquet(index=False))
    else:
        write_whole(file, _text(rows, output_format))


def _text(rows: pd.DataFrame, output_format: str) -> str:
    """Return a table as a file holds it."""
    from fedsim_analysis.tables import booktabs, markdown

    if output_format == "csv":
        return csv_text(rows)
    if output_format == "latex":
        return booktabs.of_frame(rows)
    texts = rows.map(_cell)
    return markdown.of_frame(texts) if output_format == "markdown" else texts.to_string(index=False) + "\n"


def _same_types(rows: pd.DataFrame) -> pd.DataFrame:
    """Return columns that Parquet can hold, as text where need be.

    A setting may be a switch here and a list there, and a seed longer than 64 bits.
    """
    texts = {
        name: rows[name].map(_as_text, na_action="ignore").astype("str")
        for name in rows.columns
        if _needs_text(rows[name])
    }
    return rows.assign(**texts)


def _needs_text(column: pd.Series[Any]) -> bool:
    """Whether Parquet cannot hold the values of a column as they are."""
    import pyarrow

    if column.dtype != object:
        return False
    if column.dropna().map(type).nunique() > 1:
        return True
    try:
        pyarrow.array(column, from_pandas=True)
    except (OverflowError, UnicodeError, pyarrow.ArrowException):
        return True
    return False


def _as_text(value: object) -> str:
    return str(value).encode("utf-8", "backslashreplace").decode()


def _cell(value: object) -> str:
    import pandas as pd

    if isinstance(value, float):
        return "-" if pd.isna(value) else f"{value:.6g}"
    return "-" if value is None else str(value)
