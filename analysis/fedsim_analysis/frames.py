"""Checks and groupings that all tables of runs need."""

from __future__ import annotations

from collections.abc import Iterable

import pandas as pd

from fedsim.errors import InputError
from fedsim_analysis.style import TASKS, in_order, methods_in_order
from fedsim_analysis.varied import check_averaged, check_compared

IDENTITY = ("scenario", "variant", "algorithm", "seed", "run_id")
ENDED_BADLY = ("deserted", "diverged", "no labels", "no update", "overdue", "stalled", "standstill")
"""How a run says that it ended where its numbers are not those of its whole budget."""
BASELINE = "cendbt"  # what the paper compares training times with


def require(table: pd.DataFrame, name: str, columns: Iterable[str]) -> None:
    """Check that a table has rows and the columns that are needed.

    Raises:
        InputError: it has none, or some column is missing.
    """
    missing = [column for column in columns if column not in table.columns]
    if missing:
        raise InputError(
            f"the table {name!r} of these results has no column {', '.join(map(repr, missing))}: "
            "they come from another version of fedsim, or from another kind of study"
        )
    if table.empty:
        raise InputError(f"the table {name!r} of these results is empty")


def named(runs: pd.DataFrame) -> pd.DataFrame:
    """Return the runs with a column `method`: the variant, or the algorithm where no variant has a name."""
    require(runs, "runs", IDENTITY)
    return runs.assign(method=runs["variant"].where(runs["variant"] != "", runs["algorithm"]))


def by_task_and_method(runs: pd.DataFrame) -> dict[tuple[str, str], pd.DataFrame]:
    """Return the runs of every (task, method), indexed by seed, in the paper's order.

    Raises:
        InputError: two runs share task, method and seed, or runs of a task differ in more than method and
            seed, so that a mean or a comparison would mix different settings.
    """
    runs = named(runs)
    check_averaged(runs, ["scenario", "method"])
    check_compared(runs)
    groups = {}
    for task in in_order(runs["scenario"], TASKS):
        of_task = runs[runs["scenario"] == task]
        for method in methods_in_order(of_task["method"]):
            groups[task, method] = of_task[of_task["method"] == method].set_index("seed").sort_index()
    return groups
