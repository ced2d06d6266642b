"""Options that several commands share, and what they mean."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fedsim.errors import InputError, nearest
from fedsim.terminal import say

if TYPE_CHECKING:
    import pandas as pd

    from fedsim.scenario import Scenario
    from fedsim.scenario.files import ScenarioFile

Files = Annotated[list[Path], typer.Argument(help="Scenario files (TOML).", show_default=False)]
Overrides = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Override a dotted key of the scenario."),
]
Only = Annotated[
    list[str] | None, typer.Option("--only", metavar="VARIANT", help="Run this variant of the file only.")
]

Where = Annotated[
    str | None,
    typer.Option(
        "--where",
        metavar="EXPRESSION",
        help='Keep these rows, as pandas\' query says it: "workers.1.slow_down > 2 and seed == 0".',
    ),
]

Processes = Annotated[
    int | None, typer.Option("--jobs", min=1, help="Processes; one for each core if not given.")
]


def n_processes(jobs: int | None) -> int:
    """Return how many processes an option asks for."""
    return jobs or os.cpu_count() or 1


def listed(names: str | None) -> list[str]:
    """Return names with commas between; backticks around them are taken off."""
    return [name.strip().strip("`") for name in (names or "").split(",") if name.strip()]


def check_format(output_format: str, formats: Sequence[str]) -> None:
    """Raise an InputError for a format that a command does not write."""
    if output_format not in formats:
        hint = nearest(output_format, formats)
        raise InputError(f"--format: no format {output_format!r}{hint} (formats: {', '.join(formats)})")


def announce(file: Path, sentence: str) -> None:
    """Tell of a file that was written, away from what is piped on if it went into a pipe."""
    from fedsim.whole_files import is_special

    say(sentence, err=is_special(file))


def warn(cautions: Iterable[str]) -> None:
    """Say what makes results mean less than they seem to; many that differ in numbers alone are said once."""
    from fedsim.sweep.tally import Sentences

    for caution in Sentences.of(cautions):
        say(f"fedsim: warning: {caution}", err=True)


def csv_text(rows: pd.DataFrame) -> str:
    """Return a table as CSV, as it is, and tell of texts that spreadsheets take for formulas."""
    cells = (cell for column in rows.select_dtypes(["object", "string"]) for cell in rows[column])
    formulas = ("=", "+", "-", "@", "\t", "\r")
    if n_formulas := sum(isinstance(cell, str) and cell.startswith(formulas) for cell in cells):
        say(
            f"fedsim: {n_formulas:,} texts begin with =, +, -, @ or a tab, and spreadsheets take such for "
            "formulas: let them read those columns as text",
            err=True,
        )
    return rows.to_csv(index=False)


def cautions_in(rows: pd.DataFrame) -> Iterator[str]:
    """Yield what makes the results of some runs mean less than they seem to."""
    if "cautions" in rows:
        told = rows[rows["cautions"].fillna("") != ""]
        for run in told.to_dict("records"):
            label = " ".join(part for part in (run["scenario"], run["variant"]) if part)
            yield f"{label}, seed {run['seed']}: {run['cautions']}"


def remark(results: list[Path]) -> None:
    """Tell what of some results was left out, and of what they are a mixture."""
    from fedsim.results.loading import remarks

    for sentence in remarks(results):
        say(f"fedsim: {sentence}", err=True)


def scenarios_of(
    files: list[ScenarioFile], overrides: list[str] | None, only: list[str] | None
) -> list[Scenario]:
    """Return the scenarios of files, each variant one."""
    return [file.scenario(variant, overrides or []) for file in files for variant in file.chosen(only or [])]
