"""What the figures of sweeps share: which setting stands on which axis, and which runs make a line.

A figure finds its axes among the settings that vary between the runs of a results folder: columns with dotted
names, such as `workers.1.slow_down`. Runs of one method with another number S of workers to wait for are
lines of their own, in shades of the method's colour.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import pandas as pd

from fedsim.errors import InputError
from fedsim_analysis import style, trials
from fedsim_analysis.frames import named

if TYPE_CHECKING:
    from matplotlib.axes import Axes

BASELINE = "sdbt"
"""What others are compared with: the same algorithm when it waits for everybody."""

_WAIT_FOR = "algorithm.wait_for"
_MARKERS = "osD^vPX"


def matching(runs: pd.DataFrame, pattern: str) -> list[str]:
    """Return the columns whose whole name a regular expression matches."""
    return [name for name in map(str, runs) if re.fullmatch(pattern, name)]


def varying(runs: pd.DataFrame, pattern: str) -> list[str]:
    """Return the columns of `matching` that vary among these runs."""
    columns = {name: runs[name] for name in matching(runs, pattern)}
    for name, column in columns.items():
        if not pd.api.types.is_numeric_dtype(column):
            columns[name] = column.map(str)  # lists among them cannot be counted
    return [name for name, column in columns.items() if column.nunique(dropna=False) > 1]


def only_scenario(runs: pd.DataFrame, fits: Callable[[pd.DataFrame], bool], needed: str) -> pd.DataFrame:
    """Return the runs of the one scenario that a figure can be drawn from.

    Args:
        runs: of one scenario or of several.
        fits: whether the runs of a scenario have what the figure needs.
        needed: that, in words.

    Raises:
        InputError: no scenario fits, or several do.
    """
    runs = named(runs)
    fitting = [str(name) for name, group in runs.groupby("scenario") if fits(group)]
    if not fitting:
        raise InputError(f"found runs of {_listed(runs['scenario'])}; none has what is needed: {needed}")
    if len(fitting) > 1:
        raise InputError(f"found {_listed(fitting)}, expected one scenario with {needed}: give its folder")
    return runs[runs["scenario"] == fitting[0]]


def with_lines(runs: pd.DataFrame) -> pd.DataFrame:
    """Return the runs with the columns `method` and `line`, in the order of the lines.

    A line is a method as it is written, and S where its runs with equally many workers differ in it:
    ``AsynDBT, S = 2``.
    """
    runs = named(runs)
    looks = style.methods(runs["method"])
    told = _told_by_wait_for(runs)
    line = runs["method"].map({name: look.label for name, look in looks.items()})
    line += (", S = " + told.map("{:g}".format)).where(told.notna(), "")
    places = pd.DataFrame({"method": runs["method"].map(list(looks).index), "wait_for": told})
    return runs.assign(line=line).loc[places.sort_values(["method", "wait_for"], kind="stable").index]


def looks(rows: pd.DataFrame, runs: pd.DataFrame) -> dict[str, style.Mark]:
    """Return how each `line` of a table is drawn: in its method's colour; lines told by S are shades of it.

    Args:
        rows: with `method` and `line`, in order.
        runs: all runs of the results, so that each figure gives one method one look.
    """
    methods = style.methods(named(runs)["method"])
    found: dict[str, style.Mark] = {}
    for method, group in rows.groupby("method", sort=False):
        names = list(dict.fromkeys(group["line"]))
        own = methods[str(method)]
        shades = style.shades(own.colour, len(names))
        for name, shade in zip(names, shades, strict=True):
            label = name.replace(", S = ", ", $S$ = ")
            found[name] = style.Mark(label, shade, own.line, _MARKERS[len(found) % len(_MARKERS)])
    return found


def draw_points(
    axes: Axes, places: pd.Series[float], rows: pd.DataFrame, look: style.Mark, hollow: pd.Series[bool]
) -> None:
    """Draw a line of means with their intervals: `mean, mean_low, mean_high` of `rows`; some marks hollow."""
    whiskers = trials.whiskers(rows)
    axes.errorbar(places, rows["mean"], whiskers, **look.settings, markersize=3, elinewidth=0.7)
    some: dict[str, Any] = {"marker": look.marker, "markersize": 3, "markerfacecolor": "white", "zorder": 3}
    axes.plot(places[hollow], rows["mean"][hollow], color=look.colour, linestyle="", **some)


def _told_by_wait_for(runs: pd.DataFrame) -> pd.Series[float]:
    """Return S where it tells runs of a method apart; NaN where it does not or follows from their workers."""
    nowhere = pd.Series(float("nan"), runs.index)
    if _WAIT_FOR not in runs:
        return nowhere
    wait_for = runs[_WAIT_FOR].astype(float)
    n_workers = runs["n_workers"] if "n_workers" in runs else nowhere.fillna(0)
    varies = wait_for.groupby([runs["method"], n_workers]).transform("nunique") > 1
    return wait_for.where(varies.groupby(runs["method"]).transform("any"))


def _listed(names: Sequence[str] | pd.Series[str]) -> str:
    return ", ".join(dict.fromkeys(map(str, names)))
