"""The command that shows results as a table: selected rows and columns, in several formats."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fedsim.cli.options import Where, announce, cautions_in, csv_text, remark, warn
from fedsim.errors import InputError, nearest
from fedsim.terminal import give, say, show

if TYPE_CHECKING:
    import pandas as pd

HEADLINES = (
    *("ended", "simulated_time_s", "time_to_target_s", "time_to_target_resolution_s", "llm_calls"),
    *("real_calls", "real_cost", "accuracy", "loss"),
)


FORMATS = ("table", "csv", "parquet", "latex")


def results(
    folder: Annotated[Path, typer.Argument(help="A folder of results.", show_default=False)],
    where: Where = None,
    columns: Annotated[
        str | None, typer.Option(metavar="NAMES", help="Keep these columns: names with commas between.")
    ] = None,
    table: Annotated[
        str, typer.Option(help="runs, steps, workers, spans, tickets, queue or links.")
    ] = "runs",
    output_format: Annotated[
        str, typer.Option("--format", help="How to write it: table, csv, parquet or latex.")
    ] = "table",
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="File to write; otherwise it is printed.")
    ] = None,
) -> None:
    """Show results: one row per run, a column for each setting that varies and for each measurement.

    Printed as a table, only what varies and the headline numbers are shown unless columns are named.
    """
    from fedsim.results import load_results
    from fedsim.whole_files import check_file
    from fedsim_analysis.selecting import select

    if output_format not in FORMATS:
        hint = nearest(output_format, FORMATS)
        raise InputError(f"--format: no format {output_format!r}{hint} (formats: {', '.join(FORMATS)})")
    if output_format == "parquet" and output is None:
        raise InputError(
            "--format parquet is not for reading: expected a file to write, as in -o runs.parquet"
        )
    if output is not None:
        check_file(output)
    rows = load_results(folder, table)
    everything = list(rows.columns)
    if where is not None:
        rows = select(rows, where)
    warned = list(cautions_in(rows))
    if columns is not None:
        rows = rows[_named(columns, everything)]
    elif output_format == "table" and table == "runs":
        rows = rows[_telling(rows)]
    if output is None:
        _print(rows, output_format)
    else:
        _write(rows, output_format, output)
        announce(output, str(output))
    remark([folder])
    warn(warned)


def _named(columns: str, known: list[str]) -> list[str]:
    names = [name.strip().strip("`") for name in columns.split(",")]
    for name in names:
        if name not in known:
            hint = nearest(name, known) or f" (columns: {', '.join(known)})"
            raise InputError(f"--columns: no column {name!r}{hint}")
        if names.count(name) > 1:
            raise InputError(f"--columns: {name!r} is named twice, expected each column once")
    return names


def _telling(rows: pd.DataFrame) -> list[str]:
    """Return the columns that a person looks at first: what tells runs apart, and the headline numbers."""
    from fedsim.results import ALWAYS, KEYS

    columns = list(rows.columns)
    # Settings stand after the measurements, the last of which is a time by activity.
    last = max(place for place, name in enumerate(columns) if name.startswith(("seconds_", *HEADLINES)))
    settings = [
        name for name in columns[last + 1 :] if name not in ALWAYS or rows[name].astype(str).nunique() > 1
    ]
    headlines = [name for name in HEADLINES if name in rows and rows[name].notna().any()]
    kind = ["timing_only"] if rows["timing_only"].any() else []
    return list(dict.fromkeys([*KEYS, *kind, *_untold(rows[settings]), *headlines]))


def _untold(settings: pd.DataFrame) -> list[str]:
    """Return the columns without those that another one tells.

    That is what some runs alone have, all with one value: of runs with and without cuts, `algorithm.cuts`
    says enough.
    """
    names, texts = [str(name) for name in settings], settings.astype(str).where(settings.notna(), "")
    partly = [name for name in names if settings[name].isna().any() and texts[name].nunique() == 2]
    told = [name for name in names if name not in partly]
    for name in sorted(partly, key=lambda name: (name.count("."), name)):
        there = settings[name].notna()
        if all(there.groupby(texts[other]).nunique().max() > 1 for other in told):
            told.append(name)
    return [name for name in names if name in told]


def _print(rows: pd.DataFrame, output_format: str) -> None:
    if output_format == "csv":
        give(csv_text(rows))
    elif output_format == "latex":
        give(_latex(rows))
    else:
        show(_rich(rows))
        say(f"{len(rows):,} rows")


def _write(rows: pd.DataFrame, output_format: str, file: Path) -> None:
    from fedsim.whole_files import write_whole

    if output_format == "parquet":
        write_whole(file, _same_types(rows).to_parquet(index=False))
    elif output_format == "csv":
        write_whole(file, csv_text(rows))
    else:
        write_whole(file, _latex(rows) if output_format == "latex" else rows.to_string(index=False) + "\n")


def _latex(rows: pd.DataFrame) -> str:
    from fedsim_analysis.tables.booktabs import of_frame

    return of_frame(rows)


def _same_types(rows: pd.DataFrame) -> pd.DataFrame:
    """Return columns that Parquet can hold, as text where need be.

    A setting may be a switch here and a list there, and a seed longer than 64 bits.
    """
    texts = {
        name: rows[name].map(_text, na_action="ignore").astype("str")
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


def _text(value: object) -> str:
    return str(value).encode("utf-8", "backslashreplace").decode()


def _rich(rows: pd.DataFrame) -> object:
    import pandas as pd
    from rich.table import Table

    table = Table(box=None, header_style="bold", padding=(0, 2, 0, 0))
    for name in rows.columns:
        number = pd.api.types.is_numeric_dtype(rows[name])
        table.add_column(name, justify="right" if number else "left", overflow="fold")
    for cells in rows.itertuples(index=False):
        table.add_row(*(_cell(cell) for cell in cells))
    return table


def _cell(value: object) -> str:
    import pandas as pd

    if isinstance(value, float):
        return "-" if pd.isna(value) else f"{value:.6g}"
    return "-" if value is None else str(value)
