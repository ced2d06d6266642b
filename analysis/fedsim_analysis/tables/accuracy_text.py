"""How tables of accuracies are printed: on the terminal, and for LaTeX."""

from __future__ import annotations

import math
from collections.abc import Callable
from string import ascii_lowercase

import pandas as pd
from rich import box
from rich.console import Group
from rich.table import Column, Table

from fedsim_analysis import style
from fedsim_analysis.tables import booktabs
from fedsim_analysis.tables.accuracy import NOT_RUN
from fedsim_analysis.tables.answering import CENTRALISED, LABELS, is_small

Cell = Callable[[float, float], str]
"""Writes a mean and its deviation."""


def render(rows: pd.DataFrame, title: str) -> Group:
    """Return `table` for the terminal: our mean and deviation, below it the paper's, one column per task."""
    shown = Table(
        Column("method"),
        Column("by"),
        *(Column(header, justify="right", no_wrap=True) for header in _titles(rows)),
        title=f"{title}: percent, mean ± standard deviation over seeds",
        box=box.SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
    )
    for cells in _lines(rows, _short):
        shown.add_row(*cells)
    return Group(shown, *notes(rows))


def to_latex(rows: pd.DataFrame) -> str:
    """Return `table` for LaTeX (booktabs), with two decimals as the paper prints them."""
    return booktabs.tabular(["method", "by", *_titles(rows)], _lines(rows, _long), 2, notes(rows))


def notes(rows: pd.DataFrame) -> list[str]:
    """Return who answered, how many runs a mean is over, and what must not be read into the numbers."""
    letters = _letters(rows)
    seeds = rows.loc[rows["status"] != NOT_RUN, "seeds"]
    runs = f"{seeds.min()}" if seeds.nunique() == 1 else f"{seeds.min()} to {seeds.max()}"
    found = [f"{letter}: {model}" for model, letter in letters.items()]
    found.append(f"Seeds: {runs}; rank: mean over the tasks that all methods here have.")
    if (rows["status"] == "fitted").any():
        found.append("*: the surrogate was fitted to this accuracy of the paper.")
    if small := [model for model in letters if is_small(model)]:
        found.append(
            f"Warning: {', '.join(small)}: a model this small is near chance on most of these tasks; its "
            "numbers show that everything works, not how accurate a method is."
        )
    return found


def _titles(rows: pd.DataFrame) -> list[str]:
    return [*map(style.task_name, style.in_order(rows["task"], style.TASKS)), "rank"]


def _letters(rows: pd.DataFrame) -> dict[str, str]:
    """Return the letter that stands for each model that answered."""
    models = sorted(set(rows["model"]) - {""})
    return {model: ascii_lowercase[i] for i, model in enumerate(models)}


def _lines(rows: pd.DataFrame, cell: Cell) -> list[list[str]]:
    """Return the lines of the printed table: for each method ours, and below it the paper's."""
    letters, tasks = _letters(rows), style.in_order(rows["task"], style.TASKS)
    lines = []
    for _, group in rows.groupby(["method", "model"], sort=False):
        first, by_task = group.iloc[0], group.set_index("task").reindex(tasks)
        names = [LABELS.get(first["in_paper"]) or style.method_name(first["in_paper"])]
        if first["method"].endswith(CENTRALISED):
            names.append(CENTRALISED.strip())
        if first["status"] != NOT_RUN:
            marks = ["*" if status == "fitted" else "" for status in by_task["status"]]
            ours = [text + mark for text, mark in zip(_cells(by_task, "accuracy", cell), marks, strict=True)]
            lines.append([names.pop(0), letters[first["model"]], *ours, _rank(first["average_rank"])])
        if not math.isnan(first["paper_average_rank"]):
            theirs = [*_cells(by_task, "paper", cell), _rank(first["paper_average_rank"])]
            lines.append([names.pop(0) if names else "", "paper", *theirs])
        lines += [[name, *[""] * (len(tasks) + 2)] for name in names]
    return lines


def _cells(by_task: pd.DataFrame, whose: str, cell: Cell) -> list[str]:
    means, deviations = by_task[f"{whose}_percent"], by_task[f"{whose}_deviation_percent"]
    return [cell(mean, deviation) for mean, deviation in zip(means, deviations, strict=True)]


def _short(mean: float, deviation: float) -> str:
    if math.isnan(mean):
        return "-"
    return f"{mean:.1f}" if math.isnan(deviation) else f"{mean:.1f}±{deviation:.1f}"


def _long(mean: float, deviation: float) -> str:
    if math.isnan(mean):
        return "-"
    return f"{mean:.2f}" if math.isnan(deviation) else f"{mean:.2f} ({deviation:.2f})"


def _rank(rank: float) -> str:
    return "-" if math.isnan(rank) else f"{rank:.2f}"
