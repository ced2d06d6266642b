"""Probability mass that honest workers put on poisoned demonstrations of shared pools, over simulated time.

One panel per task, one line per attack: the mean over seeds, with its 95 % interval as a band. The dashed
line is the share of candidates that are poisoned, which is the mass under a uniform q: below it the upper
level has learned to avoid poison, above it to show it. Evaluations of a run are joined by straight lines; a
line ends with the first of its runs that ends, since a mean over fewer runs would jump.

Source: ours; the paper shows no experiment with malicious workers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from numpy.typing import NDArray

from fedsim.errors import InputError
from fedsim_analysis import style, trials
from fedsim_analysis.frames import require
from fedsim_analysis.statistics import estimate
from fedsim_analysis.varied import check_averaged

if TYPE_CHECKING:
    from matplotlib.axes import Axes

NEEDS: tuple[str, ...] = ("attacked_steps",)

_KEYS = ("task", "attack")
_TIME_POINTS = 101
_GREY = "#555555"


def table(attacked_steps: pd.DataFrame) -> pd.DataFrame:
    """Return the lines: one row per task, attack and time.

    Args:
        attacked_steps: one row per server step of the attacked runs, with `task`, `attack`, `seed`, `run_id`,
            `time_s`, `poison_mass` and `poison_share`, the last two null where the model was not evaluated.

    Returns:
        `task, attack, time_s, mean, mean_low, mean_high, runs, poison_share`: masses from 0 to 1, the bounds
        NaN where there is one run.

    Raises:
        InputError: a column is missing, nothing was evaluated, or two runs share place and seed.
    """
    columns = [*_KEYS, "seed", "run_id", "time_s", "poison_mass", "poison_share"]
    require(attacked_steps, "attacked_steps", columns)
    evaluated = attacked_steps[columns].dropna(subset=["poison_mass"])
    if evaluated.empty:
        raise InputError("no step of these runs was evaluated, so there is no mass to draw")
    check_averaged(evaluated[[*_KEYS, "seed", "run_id"]].drop_duplicates(), _KEYS)
    lines = []
    for task, of_task in evaluated.groupby("task", sort=False):
        grid = np.linspace(0, of_task["time_s"].max(), _TIME_POINTS)
        for attack, of_attack in of_task.groupby("attack", sort=False):
            share = of_attack["poison_share"].mean()
            line = _line(of_attack, grid).assign(task=task, attack=attack, poison_share=share)
            lines.append(line[[*_KEYS, "time_s", "mean", "mean_low", "mean_high", "runs", "poison_share"]])
    return pd.concat(lines, ignore_index=True)


def figure(attacked_steps: pd.DataFrame) -> Figure:
    """Draw the lines of `table`, in percent."""
    lines = table(attacked_steps)
    tasks = style.in_order(lines["task"], style.TASKS)
    attacks = style.in_order(lines["attack"], style.POISONS)
    with style.look():
        width = min(style.PAGE_IN, style.COLUMN_IN * len(tasks))
        picture = Figure(figsize=(width, 2.5), layout="constrained")
        panels = picture.subplots(1, len(tasks), squeeze=False, sharey=True)[0]
        for panel, task in zip(panels, tasks, strict=True):
            _panel(panel, lines[lines["task"] == task], attacks)
            panel.set_title(style.task_name(task), loc="left", fontweight="bold")
        panels[0].set_ylabel("Mass on poisoned demonstrations (%)")
        panels[0].set_ylim(bottom=0)
        entries = [
            Line2D([], [], color=look.colour, linestyle=look.line, label=look.label)
            for look in map(style.poison, attacks)
        ]
        entries.append(Line2D([], [], color=_GREY, linestyle=(0, (6, 3)), linewidth=0.9, label="uniform q"))
        picture.legend(
            handles=entries,
            loc="outside upper center",
            ncols=trials.columns(len(entries), most=1 + 3 * len(tasks)),
        )
    return picture


def _line(evaluated: pd.DataFrame, grid: NDArray[np.float64]) -> pd.DataFrame:
    """Return the mean over the runs of one attack and its interval, at the times of `grid`."""
    masses = np.array(
        [
            np.interp(grid, run["time_s"], run["poison_mass"], left=np.nan, right=np.nan)
            for _, run in evaluated.sort_values("time_s", kind="stable").groupby("seed")
        ]
    )
    rows = [
        {"time_s": time_s, "runs": len(column)} | estimate(column).columns("mean")
        for time_s, column in zip(grid, masses.T, strict=True)
        if np.isfinite(column).all()
    ]
    return pd.DataFrame(rows)


def _panel(axes: Axes, lines: pd.DataFrame, attacks: list[str]) -> None:
    unit, symbol = style.time_unit(lines["time_s"].max())
    shares = lines.groupby("attack")["poison_share"].first().round(4)
    for name in attacks:
        line = lines[lines["attack"] == name]
        look = style.poison(name)
        times = line["time_s"] / unit
        axes.plot(times, 100 * line["mean"], color=look.colour, linestyle=look.line)
        axes.fill_between(
            times, 100 * line["mean_low"], 100 * line["mean_high"], color=look.colour, alpha=0.15, linewidth=0
        )
    for name in attacks:
        # One line for all, or each in the colour of the attack that it belongs to.
        colour = _GREY if shares.nunique() == 1 else style.poison(name).colour
        axes.axhline(100 * shares[name], color=colour, linestyle=(0, (6, 3)), linewidth=0.9)
    axes.set_xlabel(f"Simulated time ({symbol})")
    axes.set_xlim(left=0)
    axes.grid()
