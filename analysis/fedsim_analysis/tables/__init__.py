"""The paper's tables from the tables of finished runs, beside the numbers that the paper prints."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from fedsim.errors import InputError, nearest

if TYPE_CHECKING:
    import pandas as pd
    from rich.console import RenderableType

    Made = tuple[pd.DataFrame, RenderableType]


@dataclass(frozen=True)
class TableEntry:
    """A table of the list: how it is made from the runs, and what it shows in one line."""

    make: Callable[[Any], Made]
    summary: str
    needs_runs: bool = True
    """Otherwise it is arithmetic, and what `make` is given is not looked at."""


def make(name: str, runs: pd.DataFrame | None) -> Made:
    """Return a table as numbers and for the terminal.

    Raises:
        InputError: the name is unknown, or the runs lack what the table needs.
    """
    if name not in TABLES:
        raise InputError(f"unknown table {name!r}{nearest(name, TABLES)} (known: {', '.join(TABLES)})")
    return TABLES[name].make(runs)


def needs_runs(name: str) -> bool:
    """Whether a table is made from runs; one that there is not will say so itself."""
    return name not in TABLES or TABLES[name].needs_runs


def latex(name: str, rows: pd.DataFrame) -> str:
    """Return a table that `make` gave for LaTeX, in the style of the package booktabs."""
    from fedsim_analysis.tables import accuracy_text, booktabs

    return accuracy_text.to_latex(rows) if name in ("table3", "table4") else booktabs.of_frame(rows)


def _table3(runs: pd.DataFrame) -> Made:
    from fedsim_analysis.tables import table3

    rows = table3.table(runs)
    return rows, table3.render(rows)


def _table4(runs: pd.DataFrame) -> Made:
    from fedsim_analysis.tables import table4

    rows = table4.table(runs)
    return rows, table4.render(rows)


def _figure1(runs: pd.DataFrame) -> Made:
    from fedsim_analysis.tables import figure1

    rows = figure1.table(runs)
    return rows, figure1.render(rows)


def _calibration(runs: pd.DataFrame) -> Made:
    import pandas as pd

    from fedsim_analysis.tables import calibration

    residuals = files("fedsim.icl.tasks.calibrated") / "residuals.csv"
    with residuals.open() as file:
        rows = calibration.table(runs, pd.read_csv(file))
    return rows, calibration.render(rows)


def _messages(_: None) -> Made:
    from fedsim_analysis.tables import messages

    rows = messages.table()
    return rows, messages.render(rows)


def _comparison(runs: pd.DataFrame) -> Made:
    from fedsim_analysis.tables import comparison

    rows = comparison.table(runs)
    return rows, comparison.render(rows)


TABLES = {
    "table3": TableEntry(_table3, "Table 3: accuracy of all methods beside the paper's, and who answered"),
    "table4": TableEntry(_table4, "Table 4: accuracy without parts of the prompt beside the paper's"),
    "figure1": TableEntry(_figure1, "Figure 1 in numbers: time, work and accuracy per task and method"),
    "calibration": TableEntry(
        _calibration, "fitted and held-out accuracies beside the paper's, and a trivial predictor"
    ),
    "messages": TableEntry(
        _messages, "sizes of IFed-ICL's messages by arithmetic beside its paper's; needs no results", False
    ),
    "comparison": TableEntry(
        _comparison, "all methods on several networks: accuracy, time, costs, what each needs and reveals"
    ),
}
