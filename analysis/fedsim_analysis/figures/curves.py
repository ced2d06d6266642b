"""Test accuracy and cross-entropy of the methods against server iterations and against simulated time.

One row of panels per task. Where prompts were drawn from what was learned, the lines are about them: the mean
over the seeds, in a band that is its 95 % interval, in a paler one that reaches one standard deviation of the
prompts of a worker to both sides. The likeliest prompts are a thin line without a band. They jump while the
distributions are nearly even, and say little of them then. Where no prompts were drawn, as with most real
models, the likeliest have the line and the band.

The evaluations of a run are joined by straight lines; a run counts between its first and its last evaluation
and nowhere else, and a line is drawn only where at least half of the method's runs count.

Source: Ma et al., Scientific Reports 16:9381, 2026, Figures 2 to 7.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from matplotlib.artist import Artist
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from numpy.typing import NDArray

from fedsim.errors import InputError
from fedsim_analysis import style
from fedsim_analysis.frames import by_task_and_method, named, require
from fedsim_analysis.statistics import CONFIDENCE

if TYPE_CHECKING:
    from matplotlib.axes import Axes

NEEDS: tuple[str, ...] = ("runs", "steps")

_METRICS = {"accuracy_percent": "Test accuracy (%)", "loss": "Test cross-entropy"}
_LIKELIEST, _DRAWN = "likeliest", "drawn"
_AXES = ("step", "time_s")
_TIME_POINTS = 201
_BAND, _SPREAD = 0.25, 0.08  # opacities
_THIN, _PALE = 0.5, 0.6  # of the likeliest prompts beside drawn ones


def table(runs: pd.DataFrame, steps: pd.DataFrame) -> pd.DataFrame:
    """Return the lines: one row per task, metric, axis, method and place `x` on the axis.

    Args:
        runs: one row per run; says which method a run belongs to.
        steps: one row per server step, with `step`, `time_s`, `loss` and `accuracy` (a fraction), the last
            two null where the model was not evaluated; where prompts were drawn also `loss_sampled`,
            `accuracy_sampled` and their deviations, `loss_sampled_std` and `accuracy_sampled_std`.

    Returns:
        `task, metric, axis, method, prompts, x, mean, mean_low, mean_high, deviation, spread, runs`, with
        "likeliest" or "drawn" `prompts`, `x` in steps or seconds, and the number of `runs` that count there.
        Interval and `deviation` are over seeds, NaN where it is one; `spread` is the mean deviation over the
        drawn prompts of a worker, NaN of the likeliest.

    Raises:
        InputError: a column is missing, nothing was evaluated, or a method has several runs of one seed.
    """
    by_task_and_method(runs)  # a mean over different settings would be none of either
    require(steps, "steps", ["run_id", "step", "time_s", "loss", "accuracy"])
    methods = named(runs)[["run_id", "scenario", "seed", "method"]]
    lines: list[pd.DataFrame] = []
    for part in _by_prompts(steps):
        named_part = part.merge(methods, on="run_id", validate="many_to_one")
        for metric in _METRICS:
            lines += _lines(named_part.dropna(subset=[metric]), metric)
    if not lines:
        raise InputError("no step of these runs was evaluated, so there are no curves to draw")
    return pd.concat(lines, ignore_index=True)


def figure(runs: pd.DataFrame, steps: pd.DataFrame) -> Figure:
    """Draw the lines of `table`: four panels per task, each metric against iterations and against time."""
    lines = table(runs, steps)
    tasks = style.in_order(lines["task"], style.TASKS)
    methods = style.methods(named(runs)["method"])
    shown = [name for name in methods if (lines["method"] == name).any()]
    with style.look():
        picture = Figure(figsize=(style.PAGE_IN, 0.35 + 1.5 * len(tasks)), layout="constrained")
        panels = picture.subplots(len(tasks), 4, squeeze=False)
        for row, task in zip(panels, tasks, strict=True):
            of_task = lines[lines["task"] == task]
            for pair, metric in zip((row[:2], row[2:]), _METRICS, strict=True):
                pair[1].sharey(pair[0])
                pair[1].tick_params(labelleft=False)
                pair[0].set_ylabel(_METRICS[metric])
                for panel, axis in zip(pair, _AXES, strict=True):
                    mine = of_task[(of_task["metric"] == metric) & (of_task["axis"] == axis)]
                    _panel(panel, mine, axis, methods)
            row[0].set_title(style.task_name(task), loc="left", fontweight="bold")
            for pair, metric in zip((row[:2], row[2:]), _METRICS, strict=True):
                of_metric = of_task[of_task["metric"] == metric]
                if len(of_metric):  # a problem may have no accuracy
                    pair[0].set_ylim(_limits(of_metric))
        looks = [methods[name] for name in shown]
        handles: list[Artist] = [
            Line2D([], [], color=look.colour, linestyle=look.line, label=look.label) for look in looks
        ]
        if (lines["prompts"] == _DRAWN).any():
            handles += [
                Line2D([], [], color="#444444", label="drawn prompts"),
                Patch(facecolor="#444444", alpha=2 * _BAND, label="95 % interval over seeds"),
                Patch(facecolor="#444444", alpha=2 * _SPREAD, label="deviation over prompts"),
                Line2D([], [], color="#444444", linewidth=_THIN, alpha=_PALE, label="likeliest prompt"),
            ]
        picture.legend(handles=handles, loc="outside upper center", ncols=min(len(handles), 4))
    return picture


def _by_prompts(steps: pd.DataFrame) -> Iterator[pd.DataFrame]:
    """Yield the measurements of the likeliest prompts, then of drawn ones if there are any, named alike."""
    for prompts, tail in ((_LIKELIEST, ""), (_DRAWN, "_sampled")):
        if f"loss{tail}" in steps:
            found = steps[["run_id", "step", "time_s"]].assign(
                prompts=prompts, loss=steps[f"loss{tail}"], accuracy_percent=100 * steps[f"accuracy{tail}"]
            )
            for metric, column, factor in (("loss", "loss", 1), ("accuracy_percent", "accuracy", 100)):
                spread = f"{column}{tail}_std"
                found[f"{metric}_spread"] = factor * steps[spread] if spread in steps else math.nan
            yield found


def _lines(evaluated: pd.DataFrame, metric: str) -> Iterator[pd.DataFrame]:
    """Yield the lines of one metric: one per task, axis and method."""
    for task, of_task in evaluated.groupby("scenario"):
        end_s = of_task["time_s"].max()
        for method, of_method in of_task.groupby("method"):
            grids = {
                "step": np.unique(of_method["step"].to_numpy(float)),
                "time_s": np.linspace(0, end_s, _TIME_POINTS),
            }
            for axis in _AXES:
                line = _line(of_method, axis, metric, grids[axis])
                places = {"task": task, "metric": metric, "axis": axis, "method": method}
                places["prompts"] = of_method["prompts"].iloc[0]
                yield line.assign(**places)[[*places, *line]]


def _line(evaluated: pd.DataFrame, axis: str, metric: str, grid: NDArray[np.float64]) -> pd.DataFrame:
    """Return mean and deviation over the runs of one method, at the places of `grid`."""
    from scipy.stats import t as student

    runs = [run for _, run in evaluated.sort_values("step").groupby("run_id")]

    def interpolated(column: str) -> pd.DataFrame:
        # As one array: from a list of them pandas makes the columns number by number.
        return pd.DataFrame(
            np.array([np.interp(grid, run[axis], run[column], left=np.nan, right=np.nan) for run in runs])
        )

    values = interpolated(metric)
    mean, deviation, count = values.mean(), values.std(ddof=1), values.count()
    half_width = student.ppf((1 + CONFIDENCE) / 2, count - 1) * deviation / np.sqrt(count)
    line = pd.DataFrame(
        {
            "x": grid,
            "mean": mean,
            "mean_low": mean - half_width,
            "mean_high": mean + half_width,
            "deviation": deviation,
            "spread": interpolated(f"{metric}_spread").mean(),
            "runs": count,
        }
    )
    return line[line["runs"] * 2 >= len(values)]


def _limits(lines: pd.DataFrame) -> tuple[float, float]:
    """Return between which values an axis shows lines, their deviations and no whole interval.

    The interval of few seeds reaches far beyond all that a metric can be. So does the likeliest prompt at the
    start, a single one of all that there are: beside drawn prompts its start is no reason for a longer axis.
    """
    reach = lines[["spread", "deviation"]].max(axis=1).fillna(0)
    drawn = lines["prompts"] == _DRAWN
    if drawn.any():
        kept = drawn | (lines["x"] > 0)
        lines, reach = lines[kept], reach.where(drawn, 0)[kept]
    low, high = float((lines["mean"] - reach).min()), float((lines["mean"] + reach).max())
    margin = 0.05 * (high - low) or 0.05
    return low - margin, high + margin


def _panel(axes: Axes, lines: pd.DataFrame, axis: str, methods: dict[str, style.Method]) -> None:
    unit, label = 1.0, "Server iterations"
    if axis == "time_s" and len(lines):
        unit, symbol = style.time_unit(lines["x"].max())
        label = f"Simulated time ({symbol})"
    for method in style.methods_in_order(lines["method"]):
        line = lines[lines["method"] == method]
        look = methods[method]
        main = _DRAWN if (line["prompts"] == _DRAWN).any() else _LIKELIEST
        first, rest = line[line["prompts"] == main], line[line["prompts"] != main]
        x, mean, spread = first["x"] / unit, first["mean"], first["spread"]
        axes.plot(x, mean, color=look.colour, linestyle=look.line, label=look.label)
        bands = {_BAND: (first["mean_low"], first["mean_high"]), _SPREAD: (mean - spread, mean + spread)}
        for alpha, (low, high) in bands.items():
            axes.fill_between(x, low, high, color=look.colour, alpha=alpha, linewidth=0)
        axes.plot(rest["x"] / unit, rest["mean"], color=look.colour, linewidth=_THIN, alpha=_PALE)
    axes.set_xlabel(label)
    axes.set_xlim(left=0)
    axes.grid()
