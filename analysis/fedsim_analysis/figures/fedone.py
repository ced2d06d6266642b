"""What it takes to reach the target against the participants of a round: LLM calls, and simulated seconds.

Left: the calls of all workers until then. Right: the simulated time. A point is the mean over runs, a whisker
its 95 % interval. Where runs ended without the target a point is hollow: then it is the restricted mean, up
to a horizon that all points share.

Source: Wang et al., "FedOne: query-efficient federated learning for black-box discrete prompt learning", ICML
2025, counts calls; time is ours. Means: see `survival.time_to_target`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullLocator, StrMethodFormatter

from fedsim_analysis import style, sweeps, trials
from fedsim_analysis.frames import named, require
from fedsim_analysis.survival import resolutions, time_to_target
from fedsim_analysis.varied import check_averaged

if TYPE_CHECKING:
    from matplotlib.axes import Axes

NEEDS: tuple[str, ...] = ("runs", "steps")

_PARTICIPANTS = "algorithm.participants"
_MEASURES = {"calls": "LLM calls to the target", "time_s": "Time to the target ({})"}


def table(runs: pd.DataFrame, steps: pd.DataFrame) -> pd.DataFrame:
    """Return one row per line and number of participants: what reaching the target took.

    Args:
        runs: one row per run; `algorithm.participants` varies, and the scenario has a target.
        steps: one row per server step, with `run_id`, `time_s` and `llm_calls`.

    Returns:
        `method, line, participants, runs, reached`, `rounds` (the mean number of rounds of the runs that
        reached it), and for `calls` and `time_s` the restricted mean with its interval (`_low`, `_high`) and
        up to where it counts (`_horizon`; infinite where all runs reached the target).

    Raises:
        InputError: the participants do not vary, no run reached a target, or runs of a place differ in more
            than their seed.
    """
    needed = "a number of participants that varies (algorithm.participants), and runs that reach a target"
    runs = sweeps.with_lines(sweeps.only_scenario(runs, _fits, needed))
    require(runs, "runs", ["simulated_time_s", "time_to_target_s", "llm_calls", "n_workers"])
    require(steps, "steps", ["run_id", "step", "time_s", "llm_calls"])
    # Without participants of its own a round is everybody's.
    asked = runs[_PARTICIPANTS].astype(float).fillna(runs["n_workers"]).astype(int)
    runs = runs.assign(participants=asked)
    keys = ["method", "line", "participants"]
    check_averaged(runs, keys)
    runs = runs.merge(_reached(runs, steps), on="run_id")
    ends = {"calls": ("calls_to_target", "llm_calls"), "time_s": ("time_to_target_s", "simulated_time_s")}
    groups = list(runs.groupby(keys, sort=False))
    horizons = {
        name: min(time_to_target(group[there], group[end]).horizon_s for _, group in groups)
        for name, (there, end) in ends.items()
    }
    rows = []
    for place, group in groups:
        row = dict(zip(keys, place, strict=True)) | {"runs": len(group)}
        for name, (there, end) in ends.items():
            found = time_to_target(group[there], group[end], horizons[name])
            row |= {"reached": found.reached, "rounds": group["rounds_to_target"].mean()}
            row |= {name: found.mean_s, f"{name}_low": found.mean_low_s, f"{name}_high": found.mean_high_s}
            row[f"{name}_horizon"] = found.horizon_s
        rows.append(row)
    order = list(dict.fromkeys(runs["line"]))
    return pd.DataFrame(rows).sort_values(
        ["line", "participants"],
        key=lambda column: column.map(order.index) if column.name == "line" else column,
        ignore_index=True,
    )


def figure(runs: pd.DataFrame, steps: pd.DataFrame) -> Figure:
    """Draw the rows of `table`: a panel for calls and one for time."""
    rows = table(runs, steps)
    looks = sweeps.looks(rows, runs)
    unit, symbol = style.time_unit(rows["time_s"].max())
    everybody = int(runs["n_workers"].max())
    with style.look():
        picture = Figure(figsize=(style.PAGE_IN, 2.5), layout="constrained")
        panels = picture.subplots(1, 2, sharex=True)
        for axes, (name, label) in zip(panels, _MEASURES.items(), strict=True):
            _panel(axes, rows, name, unit if name == "time_s" else 1.0, looks, everybody)
            axes.set_ylabel(label.format(symbol))
            axes.set_xlabel("Participants of a round ($K^*$)")
        known = resolutions(named(runs), style.PAGE_IN)
        if known:
            picture.supxlabel(known, fontsize=6)
        picture.legend(handles=trials.handles(looks.values()), loc="outside upper center", ncols=len(looks))
    return picture


def _fits(runs: pd.DataFrame) -> bool:
    if _PARTICIPANTS not in runs or "time_to_target_s" not in runs:
        return False
    varies = runs[_PARTICIPANTS].nunique(dropna=False) > 1
    return varies and bool(runs["time_to_target_s"].notna().any())


def _reached(runs: pd.DataFrame, steps: pd.DataFrame) -> pd.DataFrame:
    """Return for each run the calls and rounds by the time of its target; NaN where it never got there."""
    times = runs[["run_id", "time_to_target_s"]]
    joined = steps[["run_id", "step", "time_s", "llm_calls"]].merge(times, on="run_id")
    by_then = joined[joined["time_s"] <= joined["time_to_target_s"]]
    found = by_then.groupby("run_id")[["llm_calls", "step"]].max().reindex(runs["run_id"])
    columns = {"llm_calls": "calls_to_target", "step": "rounds_to_target"}
    return found.rename(columns=columns).astype(float).reset_index()


def _panel(
    axes: Axes,
    rows: pd.DataFrame,
    name: str,
    unit: float,
    looks: dict[str, style.Mark],
    everybody: int,
) -> None:
    counts = sorted(rows["participants"].unique())
    for number, (line, look) in enumerate(looks.items()):
        points = rows[rows["line"] == line]
        apart = 0.08 * (number - (len(looks) - 1) / 2)
        places = points["participants"].map(counts.index) + apart
        cells = {end: points[f"{name}{end}"] / unit for end in ("", "_low", "_high")}
        means = pd.DataFrame({f"mean{end}": values for end, values in cells.items()})
        sweeps.draw_points(axes, places, means, look, points["reached"] < points["runs"])
    axes.set_yscale("log")
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_major_formatter(StrMethodFormatter("{x:,g}"))
    axes.yaxis.set_minor_locator(NullLocator())
    names = [f"all ({count:,})" if count == everybody else f"{count:,}" for count in counts]
    axes.set_xticks(np.arange(len(counts)), names)
    axes.set_xlim(-0.4, len(counts) - 0.6)
    axes.grid(axis="y")
