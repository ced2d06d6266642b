"""How far the simulated accuracies are from the paper's: the fitted ones, and those that are predictions.

Four accuracies per task were fitted, so their differences say how well the surrogate can be made to agree
with the paper. The others were not used in the fit: their differences say what the surrogate is worth.

Source: Ma et al., Scientific Reports 16:9381, 2026, Tables 3 and 4.
"""

from __future__ import annotations

import pandas as pd
from rich import box
from rich.console import Group
from rich.table import Column, Table

from fedsim_analysis import style
from fedsim_analysis.frames import by_task_and_method, require
from fedsim_analysis.statistics import estimate
from fedsim_analysis.tables import published


def table(runs: pd.DataFrame, residuals: pd.DataFrame) -> pd.DataFrame:
    """Return the accuracies that the paper has too: of the fit, and of the runs.

    Args:
        runs: one row per run, with `accuracy` (a fraction, on 200 test queries).
        residuals: one row per fitted accuracy: `name` (the task), `target` (the method) and `fitted`
            (percent, without the noise of a finite test set).

    Returns:
        `task, method, paper_percent, paper_deviation_percent, status, source, ours_percent, ours_percent_low,
        ours_percent_high, difference_points`: `source` is "fit" or "run", the bounds are those of the 95 %
        interval over seeds (NaN where there are no seeds).

    Raises:
        InputError: a column is missing, or two runs share task, method and seed.
    """
    require(residuals, "residuals", ["name", "target", "fitted"])
    require(runs, "runs", ["accuracy"])
    found = {
        (fit["name"], fit["target"], "fit"): estimate([fit["fitted"]]) for fit in residuals.to_dict("records")
    }
    for key, group in by_task_and_method(runs).items():
        found[*key, "run"] = estimate(100 * group["accuracy"])
    return pd.DataFrame(
        [
            printed
            | {"status": published.status(printed["method"]), "source": source}
            | ours.columns("ours_percent")
            | {"difference_points": ours.mean - printed["paper_percent"]}
            for printed in published.accuracies().to_dict("records")
            for source in ("fit", "run")
            if (ours := found.get((printed["task"], printed["method"], source)))
        ]
    )


def render(rows: pd.DataFrame) -> Group:
    """Return `table` for the terminal: our accuracy and how far it is from theirs, one column per task."""
    titles = {"fit": "Accuracies that the fit aimed at", "run": "Accuracies of the runs"}
    return Group(*(_rendered(rows[rows["source"] == source], title) for source, title in titles.items()))


def _rendered(rows: pd.DataFrame, title: str) -> Table:
    tasks = style.in_order(rows["task"], style.TASKS)
    shown = Table(
        Column("method"),
        *(Column(style.task_name(task), justify="right", no_wrap=True) for task in tasks),
        title=f"{title}: percent, and minus the paper's",
        caption="* fitted to the paper; all others are predictions",
        box=box.SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
    )
    for method in style.methods_in_order(rows["method"]):
        of_method = rows[rows["method"] == method].to_dict("records")
        by_task = {
            row["task"]: f"{row['ours_percent']:.1f} {row['difference_points']:+z.1f}" for row in of_method
        }
        cells = [by_task.get(task, "-") for task in tasks]
        mark = "*" if published.status(method) == "fitted" else ""
        shown.add_row(style.method_name(method) + mark, *cells)
    return shown
