"""Time to the target against the number of workers, where some runs may never reach it.

Above the median, in which a run that ended without the target never reaches it, below the restricted mean: of
the time to the target or to a horizon that all lines share, whichever comes first. Whiskers are 95 %
intervals; one that ends in an arrow has no upper end, because too few runs reached the target. A hollow point
has censored runs, which ended without the target; above it stands how many runs of how many did reach it. A
point above the axis, with an arrow, is a median that is not reached.

Source: for the means Kaplan and Meier, "Nonparametric estimation from incomplete observations", JASA 53,
1958; the question is ours: the paper reports three workers only.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter, NullLocator, StrMethodFormatter

from fedsim_analysis import style, sweeps, trials
from fedsim_analysis.frames import named, require
from fedsim_analysis.survival import common_horizon_s, resolution_s, resolutions, time_to_target
from fedsim_analysis.varied import check_averaged, check_compared

if TYPE_CHECKING:
    from matplotlib.axes import Axes

NEEDS: tuple[str, ...] = ("runs",)

_DRAWN = {
    "median": "Median time\nto the target ({})",
    "mean": "Mean time, up to\n{:.3g} {}, to the target ({})",
}
_KEYS = ["method", "line", "n_workers"]
_APART = 1.04
"""Factor between the places of two lines of one number of workers."""


def table(runs: pd.DataFrame) -> pd.DataFrame:
    """Return one row per line and number of workers: median and restricted mean time to the target.

    Args:
        runs: one row per run; `n_workers` varies, and the scenario has a target.

    Returns:
        `method, line, n_workers`, the fields of `survival.TimeToTarget`, `censored`, and `resolution_s`:
        within how many seconds the times are known. Infinite: not
        reached by half of the runs, or no upper bound.

    Raises:
        InputError: the number of workers does not vary, no run reached a target, two runs share a place
            and a seed, or runs of a place differ in more than method and seed.
    """
    require(runs, "runs", ["n_workers", "simulated_time_s", "time_to_target_s"])
    needed = "a number of workers that varies, and runs that reach a target"
    runs = sweeps.with_lines(sweeps.only_scenario(runs, _fits, needed))
    check_averaged(runs, _KEYS[1:])
    check_compared(runs, ["n_workers"])
    groups = [
        (dict(zip(_KEYS, names, strict=True)), group)
        for names, group in runs.sort_values("n_workers", kind="stable").groupby(_KEYS, sort=False)
    ]
    horizon_s = common_horizon_s(group for _, group in groups)
    rows = []
    for place, group in groups:
        found = time_to_target(group["time_to_target_s"], group["simulated_time_s"], horizon_s)
        told = {"censored": found.censored, "resolution_s": resolution_s(group)}
        rows.append(place | found.columns() | told)
    order = list(dict.fromkeys(runs["line"]))
    return pd.DataFrame(rows).sort_values(
        ["line", "n_workers"],
        key=lambda column: column.map(order.index) if column.name == "line" else column,
        ignore_index=True,
    )


def figure(runs: pd.DataFrame) -> Figure:
    """Draw the rows of `table`."""
    rows = table(runs)
    looks = sweeps.looks(rows, runs)
    unit, symbol = style.time_unit(rows["mean_s"].max())
    horizon = rows["horizon_s"].min() / unit
    with style.look():
        picture = Figure(figsize=(style.COLUMN_IN, 3.3), layout="constrained")
        panels = picture.subplots(2, 1, sharex=True)
        for panel, what in zip(panels, _DRAWN, strict=True):
            _panel(panel, rows, what, unit, looks)
        panels[0].set_ylabel(_DRAWN["median"].format(symbol))
        label = _DRAWN["mean"].format(horizon, symbol, symbol)
        panels[1].set_ylabel(label if math.isfinite(horizon) else f"Mean time\nto the target ({symbol})")
        panels[1].set_xlabel(
            "\n".join(filter(None, ("Workers ($R$)", resolutions(named(runs), style.COLUMN_IN))))
        )
        columns = trials.columns(len(looks), most=3)
        picture.legend(handles=trials.handles(looks.values()), loc="outside upper center", ncols=columns)
    return picture


def _fits(runs: pd.DataFrame) -> bool:
    return runs["n_workers"].nunique() > 1 and bool(runs["time_to_target_s"].notna().any())


def _panel(axes: Axes, rows: pd.DataFrame, what: str, unit: float, looks: dict[str, style.Mark]) -> None:
    columns = [f"{what}_s", f"{what}_low_s", f"{what}_high_s"]
    known = rows[columns].to_numpy(dtype=float) / unit
    top = 1.3 * np.max(known[np.isfinite(known)])
    for number, (name, look) in enumerate(looks.items()):
        points = rows[rows["line"] == name]
        places = points["n_workers"] * _APART ** (number - (len(looks) - 1) / 2)
        values = points[columns].to_numpy(dtype=float) / unit
        middle = np.where(np.isfinite(values[:, 0]), values[:, 0], np.nan)
        axes.plot(places, middle, color=look.colour, linestyle=look.line)
        for place, cells, (_, point) in zip(places, values, points.iterrows(), strict=True):
            _point(axes, place, cells, top, look, point)
    axes.set_xscale("log")
    if (rows[columns[0]] > 0).all():  # who is there from the start took no time, which has no logarithm
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
        axes.yaxis.set_minor_formatter(NullFormatter())
    if np.isinf(known).any():
        axes.set_ylim(top=1.25 * top)  # room for arrows and counts
    counts = sorted(rows["n_workers"].unique())
    axes.set_xticks(counts, [f"{count:,}" for count in counts])
    axes.xaxis.set_minor_locator(NullLocator())
    axes.margins(x=0.08)
    axes.grid(axis="y")


def _point(
    axes: Axes, place: float, cells: np.ndarray, top: float, look: style.Mark, point: pd.Series[Any]
) -> None:
    """Draw a number with its interval; what is infinite ends in an arrow at the top."""
    middle, low, high = cells
    height = middle if math.isfinite(middle) else top
    if not math.isnan(low):
        axes.plot([place, place], [min(low, top), min(high, top)], color=look.colour, linewidth=0.7)
    if math.isinf(high):
        axes.plot(place, top, color=look.colour, marker="^", markersize=2.5)
    hollow = point["censored"] > 0
    if math.isfinite(middle):
        face = "white" if hollow else look.colour
        axes.plot(place, middle, color=look.colour, marker=look.marker, markersize=3.5, markerfacecolor=face)
    if hollow:
        axes.annotate(
            f"{point['reached']:g}/{point['runs']:g}",
            (place, height),
            xytext=(-3, 2),
            textcoords="offset points",
            ha="right",
            fontsize=5.5,
            color=look.colour,
        )
