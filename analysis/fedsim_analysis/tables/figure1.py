"""Figure 1 in numbers: time, work and accuracy of the methods on each task, beside the paper's accuracies.

A saving per server step flatters an asynchronous method, whose steps hold fewer worker updates: so the time
per worker update and the time to the target loss stand beside it.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import pandas as pd
from rich import box
from rich.console import Group
from rich.table import Column, Table

from fedsim_analysis import style
from fedsim_analysis.frames import BASELINE, by_task_and_method, require
from fedsim_analysis.statistics import estimate, saving_percent
from fedsim_analysis.survival import common_horizon_s, hours_to_target
from fedsim_analysis.tables import published


def table(runs: pd.DataFrame) -> pd.DataFrame:
    """Return one row per task and method.

    Args:
        runs: one row per run, with `simulated_time_s`, `server_steps`, `worker_updates`, `time_to_target_s`
            and `accuracy` (a fraction).

    Returns:
        Means over seeds with the bounds `_low` and `_high` of their 95 % interval: `time_h`, `saving_percent`
        (over cenDBT, of runs paired by seed), `server_steps`, `worker_updates`, `s_per_server_step`,
        `s_per_worker_update`, `time_to_target_h` and `accuracy_percent`. `time_to_target_h` is the restricted
        mean up to `horizon_h`, equal for all methods of a task: a run that never reaches the target counts as
        long as it lasted, and `target_reached` of `seeds` runs do, known to within
        `time_to_target_resolution_h`. `drawn_percent` is the accuracy of drawn prompts, and
        `drawn_spread_percent` its standard deviation over the prompts of one worker. `llm_calls`, their
        `tokens_per_call` (of the prompt) and what they `cost`. Further
        `accuracy_deviation_percent` over seeds; the paper's `paper_percent` and `paper_deviation_percent`;
        `difference_percent`, ours minus the paper's; and `status`, whether the
        accuracy was "fitted" or is "held out". NaN where there is no such number.

    Raises:
        InputError: a column is missing, or two runs share task, method and seed.
    """
    needed = ["simulated_time_s", "server_steps", "worker_updates", "time_to_target_s", "accuracy"]
    require(runs, "runs", needed)
    groups = by_task_and_method(runs)
    rows = []
    for (task, method), group in groups.items():
        baseline = groups.get((task, BASELINE), group.iloc[:0])["simulated_time_s"]
        horizon_s = common_horizon_s(other for (of, _), other in groups.items() if of == task)
        row = {"task": task, "method": method, "seeds": len(group)} | _measured(group, baseline)
        rows.append(row | hours_to_target(group, horizon_s))
    found = pd.DataFrame(rows).merge(published.accuracies(), on=["task", "method"], how="left")
    found["difference_percent"] = found["accuracy_percent"] - found["paper_percent"]
    found["status"] = found["method"].map(published.status)
    return found


def render(rows: pd.DataFrame) -> Group:
    """Return `table` for the terminal: times, work and accuracies, each narrow enough for 80 columns."""
    looks = style.methods(rows["method"])
    times = _empty(
        "Training time: mean and 95 % interval over seeds",
        ("time (h)", "saving (%)", "h to target (runs there)"),
        f"saving: over cenDBT; the paper states about {published.SAVING_PERCENT:.0f} % on every task\n"
        "to the target: a run that is not there for good at its end counts in full" + _known(rows, looks),
    )
    work = _empty("Work", ("server steps", "worker updates", "s per step", "s per update"))
    calls = _empty(
        "LLM calls",
        ("calls", "tokens a call", "price"),
        "tokens: of the prompt; price: in the currency of the scenario's prices",
    )
    accuracy = _empty(
        "Test accuracy in percent (standard deviation over seeds)",
        ("drawn", "likeliest", "paper", "diff.", "status"),
        "drawn: prompts drawn from what was learned, with the deviation over those of a worker\n"
        "diff.: likeliest prompt less paper; held out: nothing was fitted to the paper's number",
    )
    last_task = None
    for row in rows.to_dict("records"):
        names = (style.task_name(row["task"]), looks[row["method"]].label)
        cells = (_time_cells(row), _work_cells(row), _call_cells(row), _accuracy_cells(row))
        for shown, line in zip((times, work, calls, accuracy), cells, strict=True):
            if last_task not in (None, row["task"]):
                shown.add_section()
            shown.add_row(*names, *line)
        last_task = row["task"]
    return Group(times, work, calls, accuracy)


def _known(rows: pd.DataFrame, looks: Mapping[str, style.Method]) -> str:
    """Say how well times to the target are known: methods are looked at more or less often."""
    within = rows.groupby("method")["time_to_target_resolution_h"].max()
    told = [
        f"{look.label} {within[name]:.2f} h" for name, look in looks.items() if not math.isnan(within[name])
    ]
    return f"\ntime to target is known to within: {', '.join(told)}" if told else ""


def _empty(title: str, numbers: Sequence[str], caption: str | None = None) -> Table:
    columns = [Column("task"), Column("method"), *(Column(name, justify="right") for name in numbers)]
    return Table(*columns, title=title, caption=caption, box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))


def _measured(group: pd.DataFrame, baseline_s: pd.Series[float]) -> dict[str, float]:
    time_s = group["simulated_time_s"]
    accuracy = estimate(100 * group["accuracy"])
    return (
        estimate(time_s / 3600).columns("time_h")
        | estimate(saving_percent(time_s, baseline_s)).columns("saving_percent")
        | estimate(group["server_steps"]).columns("server_steps")
        | estimate(group["worker_updates"]).columns("worker_updates")
        | estimate(time_s / group["server_steps"]).columns("s_per_server_step")
        | estimate(time_s / group["worker_updates"]).columns("s_per_worker_update")
        | {name: _mean(group, name) for name in ("llm_calls", "cost")}
        | {"tokens_per_call": _mean(group, "tokens_in") / _mean(group, "llm_calls")}
        | accuracy.columns("accuracy_percent")
        | {"accuracy_deviation_percent": accuracy.deviation}
        | {"drawn_percent": _mean_percent(group, "accuracy_sampled")}
        | {"drawn_spread_percent": _mean_percent(group, "accuracy_sampled_std")}
    )


def _mean(group: pd.DataFrame, column: str) -> float:
    return float(group[column].astype(float).mean()) if column in group else math.nan


def _mean_percent(group: pd.DataFrame, column: str) -> float:
    return 100 * _mean(group, column)


def _time_cells(row: Mapping[Hashable, Any]) -> list[str]:
    saving = "" if row["method"] == BASELINE else _with_interval(row, "saving_percent", 1)
    to_target = f"{_with_interval(row, 'time_to_target_h', 2)} ({row['target_reached']}/{row['seeds']})"
    return [_with_interval(row, "time_h", 2), saving, to_target]


def _work_cells(row: Mapping[Hashable, Any]) -> list[str]:
    digits = {"server_steps": 0, "worker_updates": 0, "s_per_server_step": 2, "s_per_worker_update": 2}
    return [_with_interval(row, name, count) for name, count in digits.items()]


def _call_cells(row: Mapping[Hashable, Any]) -> list[str]:
    digits = {"llm_calls": ",.0f", "tokens_per_call": ".0f", "cost": ",.2f"}
    return ["-" if math.isnan(row[name]) else f"{row[name]:{form}}" for name, form in digits.items()]


def _accuracy_cells(row: Mapping[Hashable, Any]) -> list[str]:
    ours = _with_deviation(row["accuracy_percent"], row["accuracy_deviation_percent"])
    paper = _with_deviation(row["paper_percent"], row["paper_deviation_percent"])
    difference = row["difference_percent"]
    drawn = _with_deviation(row["drawn_percent"], row["drawn_spread_percent"])
    return [drawn, ours, paper, "-" if math.isnan(difference) else f"{difference:+z.2f}", row["status"]]


def _with_interval(row: Mapping[Hashable, Any], name: str, digits: int) -> str:
    mean, high = row[name], row[f"{name}_high"]
    if math.isnan(mean):
        return "-"
    # Counts such as the server steps are often the same for all seeds.
    certain = math.isnan(high) or high == mean
    return f"{mean:.{digits}f}" if certain else f"{mean:.{digits}f} ± {high - mean:.{digits}f}"


def _with_deviation(mean: float, deviation: float) -> str:
    if math.isnan(mean):
        return "-"
    return f"{mean:.2f}" if math.isnan(deviation) else f"{mean:.2f} ({deviation:.2f})"
