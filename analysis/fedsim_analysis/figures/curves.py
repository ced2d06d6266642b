"""Test accuracy and cross-entropy of the methods against server iterations and against simulated time.

One row of panels per task; a line is the mean over the seeds and its band one standard deviation to both
sides. The evaluations of a run are joined by straight lines; a run counts between its first and its last
evaluation and nowhere else, and a line is drawn only where at least half of the method's runs count.

Source: Ma et al., Scientific Reports 16:9381, 2026, Figures 2 to 7.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from numpy.typing import NDArray

from fedsim.errors import InputError
from fedsim_analysis import style
from fedsim_analysis.frames import by_task_and_method, named, require

if TYPE_CHECKING:
    from matplotlib.axes import Axes

NEEDS: tuple[str, ...] = ("runs", "steps")

_METRICS = {"accuracy_percent": "Test accuracy (%)", "loss": "Test cross-entropy"}
_AXES = ("step", "time_s")
_TIME_POINTS = 201


def table(runs: pd.DataFrame, steps: pd.DataFrame) -> pd.DataFrame:
    """Return the lines: one row per task, metric, axis, method and place `x` on the axis.

    Args:
        runs: one row per run; says which method a run belongs to.
        steps: one row per server step, with `step`, `time_s`, `loss` and `accuracy` (a fraction), the last
            two null where the model was not evaluated.

    Returns:
        `task, metric, axis, method, x, mean, deviation, runs`: `x` in steps or seconds, `runs` the number of
        runs that count there, `deviation` NaN where it is one.

    Raises:
        InputError: a column is missing, nothing was evaluated, or a method has several runs of one seed.
    """
    by_task_and_method(runs)  # a mean over different settings would be none of either
    require(steps, "steps", ["run_id", "step", "time_s", "loss", "accuracy"])
    methods = named(runs)[["run_id", "scenario", "seed", "method"]]
    steps = steps[["run_id", "step", "time_s", "loss"]].assign(accuracy_percent=100 * steps["accuracy"])
    steps = steps.merge(methods, on="run_id", validate="many_to_one")
    lines = [line for metric in _METRICS for line in _lines(steps.dropna(subset=[metric]), metric)]
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
        looks = [methods[name] for name in shown]
        handles = [Line2D([], [], color=look.colour, linestyle=look.line, label=look.label) for look in looks]
        picture.legend(handles=handles, loc="outside upper center", ncols=len(handles))
    return picture


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
                yield line.assign(task=task, metric=metric, axis=axis, method=method)[
                    ["task", "metric", "axis", "method", "x", "mean", "deviation", "runs"]
                ]


def _line(evaluated: pd.DataFrame, axis: str, metric: str, grid: NDArray[np.float64]) -> pd.DataFrame:
    """Return mean and deviation over the runs of one method, at the places of `grid`."""
    values = pd.DataFrame(
        [
            np.interp(grid, run[axis], run[metric], left=np.nan, right=np.nan)
            for _, run in evaluated.sort_values("step").groupby("run_id")
        ]
    )
    line = pd.DataFrame(
        {"x": grid, "mean": values.mean(), "deviation": values.std(ddof=1), "runs": values.count()}
    )
    return line[line["runs"] * 2 >= len(values)]


def _panel(axes: Axes, lines: pd.DataFrame, axis: str, methods: dict[str, style.Method]) -> None:
    unit, label = 1.0, "Server iterations"
    if axis == "time_s" and len(lines):
        unit, symbol = style.time_unit(lines["x"].max())
        label = f"Simulated time ({symbol})"
    for method in style.methods_in_order(lines["method"]):
        line = lines[lines["method"] == method]
        look = methods[method]
        x, mean, deviation = line["x"] / unit, line["mean"], line["deviation"]
        axes.plot(x, mean, color=look.colour, linestyle=look.line, label=look.label)
        axes.fill_between(x, mean - deviation, mean + deviation, color=look.colour, alpha=0.18, linewidth=0)
    axes.set_xlabel(label)
    axes.set_xlim(left=0)
    axes.grid()
