"""Accuracies beside the paper's: those that were fitted, those held out, and what a trivial predictor says.

The trivial predictor copies the paper's accuracy of the fitted row that is nearest (`TRIVIAL`). A closed form
that comes no closer than that has explained nothing, however small its differences are.

Source: Ma et al., Scientific Reports 16:9381, 2026, Tables 3 and 4.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import pandas as pd
from rich import box
from rich.console import Group
from rich.table import Column, Table
from rich.text import Text

from fedsim_analysis import style
from fedsim_analysis.frames import by_task_and_method, require
from fedsim_analysis.statistics import Estimate, estimate
from fedsim_analysis.tables import published

TRIVIAL = {
    "cendbt": "demonstrations_only",
    "asyndbt": "demonstrations_only",
    "fragment_only": "bdpl",
    "kate": "random_icl",
}
"""The fitted row of the paper that the trivial predictor copies, for each row that is held out."""

BOTH = "gain_of_both"
"""What cenDBT, which tunes words and demonstrations, has more than the better of the rows that tune one of
them. The trivial predictor says 0."""
PARTS = ("demonstrations_only", "bdpl")

LABELS = {"kate": "KATE-like", BOTH: "gain of both"}


def table(runs: pd.DataFrame, closed_form: pd.DataFrame) -> pd.DataFrame:
    """Return the accuracies that the paper has too, of the closed form and of the runs.

    Args:
        runs: one row per run, with `accuracy` (a fraction, on 200 test queries).
        closed_form: one row per accuracy without the noise of a test set: `name` (the task), `target` (the
            method) and `closed_form` (percent).

    Returns:
        `task, method, paper_percent, paper_deviation_percent, status, source, ours_percent, ours_percent_low,
        ours_percent_high, difference_points, trivial_percent, trivial_difference_points`: `status` is
        "fitted" or "held out", `source` is "closed form" or "run"; bounds are those of the 95 % interval over
        seeds (NaN where there are no seeds); the trivial predictor says nothing of fitted rows (NaN). The
        method `gain_of_both` is a difference of accuracies, in points.

    Raises:
        InputError: a column is missing, or two runs share task, method and seed.
    """
    require(closed_form, "closed_form", ["name", "target", "closed_form"])
    require(runs, "runs", ["accuracy"])
    found = {
        (row["name"], row["target"], "closed form"): estimate([row["closed_form"]])
        for row in closed_form.to_dict("records")
    }
    groups = by_task_and_method(runs)
    for key, group in groups.items():
        found[*key, "run"] = estimate(100 * group["accuracy"])
    for task in {task for task, _ in groups}:
        if all((task, method) in groups for method in ("cendbt", *PARTS)):
            found[task, BOTH, "run"] = _gain_of_both({m: found[task, m, "run"] for m in ("cendbt", *PARTS)})
    paper = published.accuracies().set_index(["task", "method"])["paper_percent"]
    rows = []
    for printed in _with_gain(published.accuracies()).to_dict("records"):
        task, method = printed["task"], printed["method"]
        trivial = 0.0 if method == BOTH else paper.get((task, TRIVIAL.get(method)), math.nan)
        rows += [
            printed
            | {"status": published.status(method), "source": source}
            | ours.columns("ours_percent")
            | {"difference_points": ours.mean - printed["paper_percent"]}
            | {"trivial_percent": trivial, "trivial_difference_points": trivial - printed["paper_percent"]}
            for source in ("closed form", "run")
            if (ours := found.get((task, method, source)))
        ]
    return pd.DataFrame(rows)


def errors(rows: pd.DataFrame) -> pd.DataFrame:
    """Return the mean absolute errors of the held-out rows of `table`, over tasks, in points.

    Returns:
        `method, ours_points, trivial_points`, a row per method, and last the method "all": the means over all
        that are accuracies, so without `gain_of_both`, which is made of them.
    """
    held = rows[rows["trivial_percent"].notna()]
    held = held.assign(ours=held["difference_points"].abs(), trivial=held["trivial_difference_points"].abs())
    found = []
    for method in (*TRIVIAL, BOTH, "all"):
        chosen = held[held["method"] != BOTH] if method == "all" else held[held["method"] == method]
        if len(chosen):
            means = {"ours_points": chosen["ours"].mean(), "trivial_points": chosen["trivial"].mean()}
            found.append({"method": method} | means)
    return pd.DataFrame(found, columns=["method", "ours_points", "trivial_points"])


def verdict(found: pd.DataFrame) -> str:
    """Say in which rows of `errors` ours is the smaller error, and by how much."""
    of_rows = found[found["method"] != "all"]
    if not len(of_rows):
        return "no row that is held out was run"
    gains = dict(zip(of_rows["method"], of_rows["trivial_points"] - of_rows["ours_points"], strict=True))
    told = [f"{_label(method)} (by {gain:.2f} points)" for method, gain in gains.items() if gain > 0]
    names = ", ".join(told) or "no row"
    return f"the simulation is closer to the paper than the trivial predictor in: {names}"


def render(rows: pd.DataFrame) -> Group:
    """Return `table` for the terminal: the paper's accuracies, ours and the trivial ones."""
    fitted, held = rows[rows["status"] == "fitted"], rows[rows["trivial_percent"].notna()]
    mean = errors(rows)
    everything = mean[mean["method"] == "all"]
    told = verdict(mean)
    for row in everything.to_dict("records"):
        told += (
            "\nmean absolute error over the held-out accuracies: "
            f"simulated {row['ours_points']:.2f}, trivial {row['trivial_points']:.2f} points"
        )
    copied = ", ".join(f"{_label(TRIVIAL[method])} for {_label(method)}" for method in TRIVIAL)
    rule = f"trivial: the paper's own {copied}; 0 for the gain of both (cenDBT less the better part)"
    return Group(
        _rendered(fitted, "Fitted accuracies in percent, beside the paper's"),
        _rendered(held, "Accuracies held out: nothing was fitted to them"),
        Text(f"{rule}\n{told}\n"),
    )


def _rendered(rows: pd.DataFrame, title: str) -> Table:
    tasks = style.in_order(rows["task"], style.TASKS)
    shown = Table(
        Column("row", no_wrap=True),
        Column("", no_wrap=True),
        *(Column(style.task_name(task), justify="right", no_wrap=True) for task in tasks),
        Column("error", justify="right", no_wrap=True),
        title=title,
        caption="error: mean absolute difference from the paper, in points",
        box=box.SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
    )
    for method in [*style.methods_in_order(set(rows["method"]) - {BOTH}), BOTH]:
        of_method = rows[rows["method"] == method]
        if of_method.empty:
            continue
        lines = {"paper": of_method.drop_duplicates("task").set_index("task")["paper_percent"]}
        for source, group in of_method.groupby("source", sort=False):
            lines[str(source)] = group.set_index("task")["ours_percent"]
        if of_method["trivial_percent"].notna().any():
            lines["trivial"] = of_method.drop_duplicates("task").set_index("task")["trivial_percent"]
        for number, (name, line) in enumerate(lines.items()):
            cells = [f"{line[task]:.1f}" if task in line.index else "-" for task in tasks]
            error = (line - lines["paper"]).abs().mean()
            label = _label(method) if number == 0 else ""
            shown.add_row(label, name, *cells, "" if name == "paper" else f"{error:.2f}")
        shown.add_section()
    return shown


def _label(method: str) -> str:
    return LABELS.get(method) or style.method_name(method)


def _gain_of_both(found: Mapping[str, Estimate]) -> Estimate:
    return estimate([found["cendbt"].mean - max(found[method].mean for method in PARTS)])


def _with_gain(printed: pd.DataFrame) -> pd.DataFrame:
    """Return the paper's accuracies, and what both parts together gain."""
    wide = printed.pivot(index="task", columns="method", values="paper_percent")
    gain = (wide["cendbt"] - wide[list(PARTS)].max(axis=1)).rename("paper_percent").reset_index()
    gain = gain.assign(method=BOTH, paper_deviation_percent=math.nan)
    return pd.concat([printed, gain], ignore_index=True)
