"""Where the tables of figures come from: folders of results or frames, of all their runs or of some."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TypeAlias

import pandas as pd

from fedsim.errors import InputError, nearest
from fedsim.results import TABLES, load_results
from fedsim_analysis.frames import named
from fedsim_analysis.selecting import select

Source: TypeAlias = (
    str
    | Path
    | Sequence[str | Path]
    | pd.DataFrame
    | Mapping[str, pd.DataFrame]
    | Callable[[str], pd.DataFrame]
)
"""A folder of results or several, the table of runs, tables by name, or what gives a table by its name."""


@dataclass(frozen=True)
class RunTables:
    """The tables of some runs."""

    load: Callable[[str], pd.DataFrame]
    methods: tuple[str, ...]
    """Of all runs, also of those that were not chosen."""


def chosen(source: Source, where: str | None = None) -> RunTables:
    """Return the tables of a source, of the runs for which an expression holds.

    Args:
        source: where the tables come from.
        where: on the columns of the table of runs; all runs if not given.

    Raises:
        InputError: there are no such tables, or no run is left.
    """
    load = cache(_loader(source))
    if not where:
        return RunTables(load, ())
    runs = load("runs")
    left = select(runs, where)
    if left.empty:
        raise InputError(f"--where {where!r}: no run is left of {len(runs)}")
    kept = set(left["run_id"])

    def some(table: str) -> pd.DataFrame:
        if table == "runs":
            return left.reset_index(drop=True)
        rows = load(table)
        return rows[rows["run_id"].isin(kept)].reset_index(drop=True) if "run_id" in rows else rows

    return RunTables(cache(some), tuple(named(runs)["method"]))


def _loader(source: Source) -> Callable[[str], pd.DataFrame]:
    if callable(source):
        return source
    if isinstance(source, pd.DataFrame):
        source = {"runs": source}
    if not isinstance(source, Mapping):
        folders = source
        return lambda table: load_results(folders, table)
    tables = source

    def named_table(table: str) -> pd.DataFrame:
        if table not in tables:
            given = ", ".join(map(repr, tables))
            raise InputError(
                f"this figure needs the table {table!r}; found {given}: give a folder of results, or tables "
                f"by name ({', '.join(TABLES)}){nearest(table, tables)}"
            )
        return tables[table]

    return named_table
