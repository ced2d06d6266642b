"""What a setting costs and what it brings: simulated time, test accuracy, and the price of the LLM calls.

A point is a method with one setting, at the means over seeds; the whiskers are 95 % t intervals in both
directions. Three panels show two of the three at a time; time and price are on logarithmic scales. The line
joins the settings that no other one beats in both directions at once (by their means); the others are hollow.
Where a single setting tells the points of a method apart, its value stands beside those on the line.

Time is that until the run ends: where all runs stop at their target, the time to the target.

Source: Deb, "Multi-objective optimization using evolutionary algorithms", Wiley 2001, section 2.4.6 (the
non-dominated set).
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter
from numpy.typing import NDArray

from fedsim_analysis import style, sweeps
from fedsim_analysis.frames import require
from fedsim_analysis.statistics import estimate
from fedsim_analysis.varied import check_averaged, with_settings

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis

NEEDS: tuple[str, ...] = ("runs",)

_KEYS = ["method", "line", "setting"]
_MEANS = ("time_s", "accuracy_percent", "llm_calls", "cost")
_GIVEN = r"(workers|network|attacks)\..*"
_NEEDED = "accuracies of several methods or settings with equal workers, network and attacks"


def table(runs: pd.DataFrame) -> pd.DataFrame:
    """Return one row per line and setting: its time, quality and cost, and whether another one beats it.

    Args:
        runs: one row per run; methods or settings vary.

    Returns:
        `method, line, setting, runs`; the means `time_s, accuracy_percent, llm_calls, cost`, each with its
        `_low` and `_high`; `price`: the column that is drawn, ``cost`` where calls have a price; `to_target`:
        whether all runs ended at their target; `best_time_accuracy, best_time_price, best_price_accuracy`:
        whether no other row is at least as good in both and better in one of them.

    Raises:
        InputError: there is no scenario with accuracies in which methods or settings vary, but not workers,
            network and attacks; or there are several; or a column is missing.
    """
    require(runs, "runs", ["simulated_time_s", "accuracy", "llm_calls", "cost", "ended"])
    runs = sweeps.only_scenario(runs, _fits, _NEEDED)
    runs = sweeps.with_lines(runs)
    settings = with_settings(runs, line="line").set_index("run_id")["setting"]
    runs = runs.assign(
        setting=runs["run_id"].map(settings),
        time_s=runs["simulated_time_s"],
        accuracy_percent=100 * runs["accuracy"],
        cost=runs["cost"].astype(float),
    )
    check_averaged(runs, _KEYS)
    order = {setting: place for place, setting in enumerate(dict.fromkeys(settings))}
    runs = runs.sort_values("setting", key=lambda names: names.map(order), kind="stable")
    rows = pd.DataFrame([_row(names, group) for names, group in runs.groupby(_KEYS, sort=False)])
    price = "cost" if (runs["cost"] > 0).any() else "llm_calls"
    return rows.assign(
        price=price,
        to_target=bool((runs["ended"] == "target").all()),
        best_time_accuracy=_unbeaten(rows["time_s"], -rows["accuracy_percent"]),
        best_time_price=_unbeaten(rows["time_s"], rows[price]),
        best_price_accuracy=_unbeaten(rows[price], -rows["accuracy_percent"]),
    )


def figure(runs: pd.DataFrame) -> Figure:
    """Draw the rows of `table`."""
    rows = table(runs)
    looks = sweeps.looks(rows, runs)
    unit, symbol = style.time_unit(rows["time_s"].max())
    rows = rows.assign(**{name: rows[name] / unit for name in _cells("time_s")})
    price = str(rows["price"].iloc[0])
    with style.look():
        picture = Figure(figsize=(style.COLUMN_IN, 3.1), layout="constrained")
        (time, by_price), (cost, corner) = picture.subplots(2, 2)
        _panel(time, rows, ("time_s", "accuracy_percent"), "best_time_accuracy", looks)
        _panel(by_price, rows, (price, "accuracy_percent"), "best_price_accuracy", looks)
        _panel(cost, rows, ("time_s", price), "best_time_price", looks)
        time.sharex(cost)
        by_price.sharey(time)
        for panel in (time, by_price, cost):
            panel.set_xscale("log")
            _ticks(panel.xaxis)
        cost.set_yscale("log")
        _ticks(cost.yaxis)
        time.set_ylabel("Test accuracy (%)")
        end = "to the target" if rows["to_target"].all() else "to the end"
        cost.set_xlabel(f"Simulated time\n{end} ({symbol})")
        words = "Price of LLM calls\n(currency of prices)" if price == "cost" else "LLM calls\n(number)"
        by_price.set_xlabel(words)
        cost.set_ylabel(words)
        _legend(corner, looks, rows["setting"])
    return picture


def _fits(runs: pd.DataFrame) -> bool:
    # Workers and network are given, not chosen: a best setting over different ones would mean nothing.
    several = runs["seed"].duplicated().any() and runs["accuracy"].notna().any()
    return bool(several) and not sweeps.varying(runs, _GIVEN)


def _row(names: tuple[Hashable, ...], group: pd.DataFrame) -> dict[str, Any]:
    cells: dict[str, Any] = dict(zip(_KEYS, names, strict=True)) | {"runs": len(group)}
    for name in _MEANS:
        cells |= estimate(group[name]).columns(name)
    return cells


def _cells(name: str) -> tuple[str, str, str]:
    return name, f"{name}_low", f"{name}_high"


def _unbeaten(one: pd.Series[float], other: pd.Series[float]) -> NDArray[np.bool_]:
    """Return which points no other point beats, where less of both is better, (n,).

    A point beats another where it is at least as good in both and better in one; a NaN beats nobody and is
    not among the best.
    """
    points = np.stack([one, other], axis=-1).astype(float)
    as_good = (points[:, None] <= points[None]).all(-1)
    better = (points[:, None] < points[None]).any(-1)
    return ~(as_good & better).any(0) & ~np.isnan(points).any(-1)


def _panel(
    axes: Axes, rows: pd.DataFrame, pair: tuple[str, str], best: str, looks: dict[str, style.Mark]
) -> None:
    across, up = pair
    front = rows[rows[best]].sort_values(across)
    axes.plot(front[across], front[up], color="#777777", linewidth=0.8, zorder=1)
    for name, look in looks.items():
        points = rows[rows["line"] == name]
        whiskers: dict[str, Any] = {"xerr": _whiskers(points, across), "yerr": _whiskers(points, up)}
        axes.errorbar(points[across], points[up], **whiskers, color=look.colour, linestyle="", elinewidth=0.6)
        for is_best, face in ((True, look.colour), (False, "white")):
            some = points[points[best] == is_best]
            marks: dict[str, Any] = {"linestyle": "", "marker": look.marker, "markersize": 3.5, "zorder": 3}
            axes.plot(some[across], some[up], color=look.colour, markerfacecolor=face, **marks)
    values = [_values_told(rows["setting"]).get(setting, "") for setting in front["setting"]]
    for place, value, before in zip(front.to_dict("records"), values, ["", *values], strict=False):
        axes.annotate(
            value if value != before else "",  # once for neighbours
            (place[across], place[up]),
            xytext=(-2.5, 3),
            textcoords="offset points",
            ha="right",
            fontsize=5.5,
        )
    axes.margins(x=0.12, y=0.08)  # room for the values
    axes.grid()


def _ticks(axis: Axis) -> None:
    """Write the numbers of a logarithmic axis as they are."""
    axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axis.set_minor_formatter(NullFormatter())


def _legend(axes: Axes, looks: dict[str, style.Mark], settings: pd.Series[str]) -> None:
    told = _name_told(settings)
    handles = [
        Line2D([], [], color="#777777", linewidth=0.8, label="beaten by none"),
        *(
            Line2D(
                [], [], color=look.colour, linestyle="", marker=look.marker, markersize=4, label=look.label
            )
            for look in looks.values()
        ),
    ]
    axes.set_axis_off()
    title = f"beside the line:\n{told}" if told else None
    axes.legend(handles=handles, loc="center", title=title, title_fontsize=6.5)


def _whiskers(rows: pd.DataFrame, name: str) -> NDArray[np.float64]:
    """Return how far the interval reaches on both sides, (2, n)."""
    middle, low, high = (rows[cell].to_numpy(dtype=float) for cell in _cells(name))
    return np.stack([middle - low, high - middle])


def _values_told(settings: pd.Series[str]) -> dict[str, str]:
    """Return what stands beside the points: the value, where all settings are values of one name."""
    return {setting: setting.partition(" = ")[2] for setting in settings} if _name_told(settings) else {}


def _name_told(settings: pd.Series[str]) -> str:
    """Return the name of the one setting that varies, or nothing."""
    names = {setting.partition(" = ")[0] for setting in settings if setting}
    single = len(names) == 1 and not settings.str.contains(", ").any()
    return names.pop().replace("_", " ") if single else ""
