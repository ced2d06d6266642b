"""Test accuracies of methods on tasks, beside the paper's: what Tables 3 and 4 share."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import pandas as pd

from fedsim.errors import InputError
from fedsim_analysis import style
from fedsim_analysis.frames import require
from fedsim_analysis.statistics import estimate
from fedsim_analysis.tables import published
from fedsim_analysis.tables.answering import NOT_STATED, described
from fedsim_analysis.varied import check_averaged

Printed = Mapping[str, tuple[tuple[float, ...], ...]]
"""A table of `published`: by method, percent and perhaps a deviation for each task."""

NOT_RUN = "not run"
KEYS = ["method", "in_paper", "model", "scenario"]


def table(runs: pd.DataFrame, printed: Printed, wanted: Callable[[str], bool]) -> pd.DataFrame:
    """Return one row per method, answering model and task.

    Args:
        runs: one row per run, with `accuracy` (a fraction) and the settings that say who answered.
        printed: the paper's table.
        wanted: whether a method, as the paper calls it, belongs to the table.

    Returns:
        `method, in_paper, model, status` (how the accuracy came about; "not run" for a line that only the
        paper has), `task, seeds`; over seeds the mean `accuracy_percent`, the bounds `_low` and `_high` of
        its 95 % interval and `accuracy_deviation_percent` of one run; the paper's `paper_percent` and
        `paper_deviation_percent`; `difference_points`, ours minus the paper's; `average_rank` over the tasks
        that all methods of the runs have; `paper_average_rank` over the paper's six tasks. NaN where there
        is no such number.

    Raises:
        InputError: no run belongs to the table, or two runs share task, method, model and seed,
            or differ in a setting.
    """
    require(runs, "runs", ["accuracy"])
    runs = described(runs)
    runs = runs[runs["in_paper"].map(wanted).astype(bool)]
    if runs.empty:
        raise InputError("none of these runs is of a method of this table; their variants name the methods")
    check_averaged(runs, KEYS)
    ours = pd.DataFrame([_measured(key, group) for key, group in runs.groupby(KEYS)])
    paper = numbers(printed)
    left = paper[paper["task"].isin(ours["task"]) & ~paper["in_paper"].isin(ours["in_paper"])]
    not_run = left[["in_paper", "task"]].assign(method=left["in_paper"], model="", status=NOT_RUN, seeds=0)
    found = pd.concat([ours, not_run] if len(not_run) else [ours], ignore_index=True)
    found = found.merge(paper, on=["in_paper", "task"], how="left")
    found["difference_points"] = found["accuracy_percent"] - found["paper_percent"]
    return _in_order(_ranked(found, paper), printed)


def numbers(printed: Printed) -> pd.DataFrame:
    """Return a paper's table as rows: `in_paper, task, paper_percent, paper_deviation_percent`."""
    rows = [
        (method, task, *cell, *[math.nan] * (2 - len(cell)))
        for method, line in printed.items()
        for task, cell in zip(published.TASKS, line, strict=True)
    ]
    return pd.DataFrame(rows, columns=["in_paper", "task", "paper_percent", "paper_deviation_percent"])


def average_ranks(percent: pd.DataFrame) -> pd.Series[float]:
    """Return each row's mean rank over the columns that have no gap: 1 is best, ties share the mean rank."""
    return percent.dropna(axis=1).rank(ascending=False).mean(axis=1)


def _measured(key: Any, group: pd.DataFrame) -> dict[str, Any]:
    method, in_paper, model, task = key
    accuracy = estimate(100 * group["accuracy"])
    names = {"method": method, "in_paper": in_paper, "model": model, "status": _status(in_paper, model)}
    deviation = {"accuracy_deviation_percent": accuracy.deviation}
    return names | {"task": task, "seeds": accuracy.count} | accuracy.columns("accuracy_percent") | deviation


def _status(in_paper: str, model: str) -> str:
    """Return how an accuracy came about: measured on a real model, or simulated, and then how honestly."""
    if model == "surrogate":
        return published.status(in_paper)
    if model == NOT_STATED:
        return model
    return "simulated" if model.startswith("fitted ") else "measured"


def _ranked(rows: pd.DataFrame, paper: pd.DataFrame) -> pd.DataFrame:
    ran = rows[rows["status"] != NOT_RUN]
    ours = average_ranks(ran.pivot(index=["method", "model"], columns="task", values="accuracy_percent"))
    theirs = average_ranks(paper.pivot(index="in_paper", columns="task", values="paper_percent"))
    rows = rows.merge(ours.rename("average_rank").reset_index(), on=["method", "model"], how="left")
    rows["paper_average_rank"] = rows["in_paper"].map(theirs)
    return rows


def _in_order(rows: pd.DataFrame, printed: Printed) -> pd.DataFrame:
    """Sort by the paper's order of methods and tasks; what it does not have comes after, by alphabet."""
    methods = style.in_order(rows["in_paper"], printed)
    tasks = style.in_order(rows["task"], style.TASKS)
    places = rows["in_paper"].map(methods.index), rows["task"].map(tasks.index)
    keyed = rows.assign(_method=places[0], _task=places[1])
    ordered = keyed.sort_values(["_method", "method", "model", "_task"], ignore_index=True)
    return ordered.drop(columns=["_method", "_task"])
