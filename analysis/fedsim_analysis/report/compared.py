"""The comparison of a report: the tables of `fedsim compare`, and their numbers to take away."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from fedsim.errors import InputError
from fedsim_analysis.compare import cells, compare
from fedsim_analysis.style import methods_in_order
from fedsim_analysis.words import label


@dataclass(frozen=True)
class MetricTable:
    """The table of one metric, in words."""

    title: str
    headings: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    first: int
    """How many columns say which row it is; the others hold numbers."""


@dataclass(frozen=True)
class Compared:
    """What the section says: tables, how they were computed, what is best, and the same numbers as CSV."""

    baseline: str = ""
    tables: tuple[MetricTable, ...] = ()
    notes: tuple[str, ...] = ()
    verdicts: tuple[str, ...] = ()
    csv: str = ""
    refusal: str = ""
    """Why there is no comparison; empty where there is one."""


def compared(runs: pd.DataFrame) -> Compared:
    """Return the comparison of all runs with SDBT or cenDBT, or with the first method where neither is there.

    Args:
        runs: as `load_results` gives them, with `method`.
    """
    methods = methods_in_order(runs["method"])
    baseline = None if {"sdbt", "cendbt"} & set(methods) else methods[0]
    try:
        found = compare(runs, baseline=baseline)
    except InputError as error:
        return Compared(refusal=str(error))
    tables = []
    for metric in found.metrics:
        shown = cells(found, metric)
        headings = tuple(map(str, shown))
        rows = tuple(tuple(map(str, row)) for row in shown.to_numpy(object))
        tables.append(MetricTable(label(metric), headings, rows, headings.index("method") + 1))
    return Compared(
        found.baseline or "",
        tuple(tables),
        found.notes,
        found.verdicts,
        found.table.to_csv(index=False),
    )
