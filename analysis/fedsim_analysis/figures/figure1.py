"""Training time of the methods on each task, stacked by where the time went.

A bar is the mean simulated time of a run over the seeds, its whisker the 95 % interval of that mean. The
parts of a bar are the seconds of an average worker by activity. The number above a bar is its change against
cenDBT: the mean of the savings of the single seeds, with the sign turned. A bracket beside the whisker goes
from the time with the least slope by prompt tokens to that with the largest.

Below, where runs have a target, stands the mean time until they are there for good, with its 95 % interval.
A run that is not there at its end counts in full; how many runs are there is written above such a mean.

Runs with unlike workers, where there are some, have panels of their own below those with alike ones.

Source: Ma et al., Scientific Reports 16:9381, 2026, Figure 1.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Hashable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from fedsim.errors import InputError
from fedsim_analysis import style
from fedsim_analysis.frames import BASELINE, by_task_and_method, named, require
from fedsim_analysis.statistics import estimate, saving_percent
from fedsim_analysis.survival import common_horizon_s, hours_to_target

if TYPE_CHECKING:
    from matplotlib.axes import Axes

NEEDS: tuple[str, ...] = ("runs",)

_GROUP_WIDTH = 0.84  # of the distance between two tasks
_BESIDE, _BRACKET = 0.3, "#555555"
"""Where a bracket stands beside the whisker, in widths of a bar, and its colour."""
_TITLES = {"alike": "Three alike workers", "unlike": "Three workers, each with a provider of its own"}


def table(
    runs: pd.DataFrame, unlike: pd.DataFrame | None = None, slopes: pd.DataFrame | None = None
) -> pd.DataFrame:
    """Return one row per mix of workers, task and method: hours by activity, and the saving over cenDBT (%).

    Args:
        runs: one row per run, with `simulated_time_s`, `time_to_target_s` and `seconds_<activity>`; where
            there are `tokens_in` and `llm_calls`, tokens of a call are shown.
        unlike: the same, with unlike workers.
        slopes: runs with other slopes by prompt tokens: `mix` ("alike" or "unlike"), `slope_s`.

    Returns:
        Also `workers` ("alike" or "unlike"), `tokens_per_call` of the prompt, and the mean hours with the
        least and the largest slope (`time_h_least_slope`, `time_h_largest_slope`); NaN where there are none.
        Further the cells of `survival.hours_to_target`.

    Raises:
        InputError: a column is missing, two runs share a seed, or the activities of a run do not add up.
    """
    mixes = {"alike": runs} | ({} if unlike is None else {"unlike": unlike})
    return pd.concat([_rows(mix, found, slopes) for mix, found in mixes.items()], ignore_index=True)


def _rows(mix: str, runs: pd.DataFrame, slopes: pd.DataFrame | None) -> pd.DataFrame:
    """Return the rows of `table` for one mix of workers."""
    require(runs, "runs", ["simulated_time_s", "time_to_target_s", "seconds_calling"])
    activities = _activities(runs)
    _check_sums(runs)
    groups = by_task_and_method(runs)
    rows = []
    for (task, method), group in groups.items():
        time_s = group["simulated_time_s"]
        baseline = groups.get((task, BASELINE), group.iloc[:0])["simulated_time_s"]
        horizon_s = common_horizon_s(other for (of, _), other in groups.items() if of == task)
        rows.append(
            {"workers": mix, "task": task, "method": method, "seeds": len(group)}
            | {"tokens_per_call": _tokens_per_call(group)}
            | estimate(time_s / 3600).columns("time_h")
            | _hours_by_slope(slopes, mix, task, method)
            | {f"{name}_h": group[f"seconds_{name}"].fillna(0).mean() / 3600 for name in activities}
            | estimate(saving_percent(time_s, baseline)).columns("saving_percent")
            | hours_to_target(group, horizon_s)
        )
    return pd.DataFrame(rows)


def _tokens_per_call(group: pd.DataFrame) -> float:
    if not {"tokens_in", "llm_calls"} <= set(group):
        return math.nan
    return float((group["tokens_in"] / group["llm_calls"]).mean())


def _hours_by_slope(slopes: pd.DataFrame | None, mix: str, task: str, method: str) -> dict[str, float]:
    """Return the mean hours with the least and with the largest slope."""
    ends = {"time_h_least_slope": math.nan, "time_h_largest_slope": math.nan}
    if slopes is None:
        return ends
    here = named(slopes)
    here = here[(here["mix"] == mix) & (here["scenario"] == task) & (here["method"] == method)]
    hours = (here.groupby("slope_s")["simulated_time_s"].mean() / 3600).sort_index()
    return dict(zip(ends, (hours.iloc[0], hours.iloc[-1]), strict=True)) if len(hours) > 1 else ends


def figure(
    runs: pd.DataFrame, unlike: pd.DataFrame | None = None, slopes: pd.DataFrame | None = None
) -> Figure:
    """Draw the bars of `table`."""
    rows = table(runs, unlike, slopes)
    mixes = list(dict.fromkeys(rows["workers"]))
    looks = style.methods(rows["method"])
    booked = _activities(runs, *([] if unlike is None else [unlike]))
    shown = [name for name in booked if (rows[f"{name}_h"] > 0).any()]
    timed = bool((rows["target_reached"] > 0).any())
    ratios = [2.2, 1] if timed else [1.0]
    inches = 3.6 if timed else 2.4
    with style.look():
        picture = Figure(figsize=(style.PAGE_IN, 0.7 + inches * len(mixes)), layout="constrained")
        panels = picture.subplots(
            len(ratios) * len(mixes), 1, squeeze=False, height_ratios=ratios * len(mixes)
        )
        panels = panels[:, 0].reshape(len(mixes), len(ratios))
        for mix, (axes, *below) in zip(mixes, panels, strict=True):
            _panels(axes, below, rows[rows["workers"] == mix], shown, looks)
            if len(mixes) > 1:
                axes.set_title(_TITLES[mix], loc="left")
        _share_top(list(panels[:, 0]))
        for below in panels[:, 1:].T:
            _share_top(list(below))
        _legends(picture, looks.values(), shown, slopes)
    return picture


def _panels(
    axes: Axes,
    below: Sequence[Axes],
    rows: pd.DataFrame,
    shown: list[str],
    looks: Mapping[str, style.Method],
) -> None:
    """Draw the bars of one mix of workers, and the times to the target below them."""
    tasks, methods = list(dict.fromkeys(rows["task"])), list(looks)
    width = _GROUP_WIDTH / len(methods)
    for row in rows.to_dict("records"):
        place = methods.index(row["method"]) - (len(methods) - 1) / 2
        x = tasks.index(row["task"]) + place * width
        _bar(axes, row, x, 0.9 * width, shown, looks)
        for panel in below:
            _point(panel, row, x, looks[row["method"]])
    # The bars of one or two tasks do not fill the page.
    edge = 0.6 + max(0, 3 - len(tasks)) / 2
    axes.set_ylabel("Training time (simulated hours)")
    for panel in below:
        panel.set_ylabel("Time to target\n(simulated hours)")
        # No run lasts longer; an interval may reach beyond, where few runs are there.
        highest_h = np.fmax(rows["time_to_target_h"], rows["time_to_target_h_high"])
        panel.set_ylim(top=1.3 * np.fmin(highest_h, rows["horizon_h"]).max())
    for panel in (axes, *below):
        panel.set_xticks(range(len(tasks)), [style.task_name(task) for task in tasks])
        panel.set_xlim(-edge, len(tasks) - 1 + edge)
        panel.tick_params(axis="x", length=0)
        panel.grid(axis="y")
        panel.set_ylim(bottom=0)
    tokens = rows.groupby("task", sort=False)["tokens_per_call"].mean()
    if not tokens.isna().any():
        names = [f"{style.task_name(task)}\n{tokens[task]:.0f} tokens a call" for task in tasks]
        axes.set_xticks(range(len(tasks)), names)
    axes.margins(y=0.1)


def _share_top(panels: Sequence[Axes]) -> None:
    top = max(axes.get_ylim()[1] for axes in panels)
    for axes in panels:
        axes.set_ylim(0, top)


def _activities(*tables: pd.DataFrame) -> list[str]:
    """Return what workers do, in the order in which it is stacked; an algorithm may have named some of it."""
    columns = dict.fromkeys(str(column) for runs in tables for column in runs)
    booked = [column.removeprefix("seconds_") for column in columns if column.startswith("seconds_")]
    return style.in_order(booked, style.ACTIVITIES)


def _check_sums(runs: pd.DataFrame) -> None:
    parts_s = runs[[f"seconds_{name}" for name in _activities(runs)]].sum(axis=1)
    wrong = ~np.isclose(parts_s, runs["simulated_time_s"], rtol=1e-3)
    if wrong.any():
        run = runs[wrong].iloc[0]
        raise InputError(
            f"run {run['run_id']}: its seconds by activity add up to {parts_s[wrong].iloc[0]:.6g} s, but it "
            f"took {run['simulated_time_s']:.6g} s; `fedsim verify` says more"
        )


def _bar(
    axes: Axes,
    row: Mapping[Hashable, Any],
    x: float,
    width: float,
    shown: list[str],
    looks: Mapping[str, style.Method],
) -> None:
    colour = looks[row["method"]].colour
    bottom_h = 0.0
    for name in shown:
        hours = row[f"{name}_h"]
        if math.isnan(hours):  # not with these workers
            continue
        axes.bar(x, hours, width, bottom_h, label=name, **style.bar(name, colour))
        bottom_h += hours
    top_h = bottom_h
    if not math.isnan(row["time_h_low"]):
        reach = [[row["time_h"] - row["time_h_low"]], [row["time_h_high"] - row["time_h"]]]
        axes.errorbar(x, row["time_h"], reach, color="black", linewidth=0.7, capsize=1.6, capthick=0.7)
        top_h = max(top_h, row["time_h_high"])
    least_h, largest_h = sorted((row["time_h_least_slope"], row["time_h_largest_slope"]))
    if not math.isnan(least_h):
        axes.errorbar(
            x + _BESIDE * width,
            (least_h + largest_h) / 2,
            (largest_h - least_h) / 2,
            color=_BRACKET,
            linewidth=0.6,
            capsize=1.1,
            capthick=0.6,
        )
        top_h = max(top_h, largest_h)
    if row["method"] != BASELINE and not math.isnan(row["saving_percent"]):
        axes.annotate(
            _change(row["saving_percent"]),
            (x, top_h),
            xytext=(0, 2),
            textcoords="offset points",
            ha="center",
            va="bottom",
            fontsize=6,
            bbox={"facecolor": "white", "linewidth": 0, "pad": 0.4},
        )


def _point(axes: Axes, row: Mapping[Hashable, Any], x: float, look: style.Method) -> None:
    """Draw a mean time to the target, and how many runs are there unless all of them are."""
    mean_h, low_h, high_h = (row[f"time_to_target_h{end}"] for end in ("", "_low", "_high"))
    reached, runs = row["target_reached"], row["seeds"]
    if not math.isnan(mean_h):
        reach = None if math.isnan(low_h) else [[mean_h - max(low_h, 0.0)], [high_h - mean_h]]
        axes.errorbar(
            x, mean_h, reach, color=look.colour, fmt="o", markersize=3.5, capsize=1.6, linewidth=0.9
        )
    if reached < runs:
        axes.annotate(
            f"{reached}/{runs}",
            (x, 1.0),
            xycoords=("data", "axes fraction"),
            ha="center",
            va="top",
            fontsize=6,
            bbox={"facecolor": "white", "linewidth": 0, "pad": 0.4},
        )


def _change(saving: float) -> str:
    change = -round(saving)
    sign = "\N{MINUS SIGN}" if change < 0 else "+" if change > 0 else ""
    return f"{sign}{abs(change)} %"


def _legends(
    picture: Figure, looks: Collection[style.Method], shown: list[str], slopes: pd.DataFrame | None
) -> None:
    """Say what the colours mean (methods), their shades (activities), and the brackets."""
    handles: list[Patch | Line2D] = [Patch(facecolor=look.colour, label=look.label) for look in looks]
    if slopes is not None:
        least, largest = slopes["slope_s"].min(), slopes["slope_s"].max()
        label = f"{1e3 * least:g} to {1e3 * largest:g} ms a prompt token"
        handles.append(
            Line2D([], [], color=_BRACKET, marker="|", markersize=7, linestyle="none", label=label)
        )
    parts = [Patch(**style.bar(name, "#555555"), label=style.activity(name).label) for name in shown]
    picture.legend(handles=handles, loc="outside upper center", ncols=len(handles))
    picture.legend(handles=parts, loc="outside lower center", ncols=len(parts))
