"""What the figures of sweeps share: which setting stands on which axis, and which runs make a line.

A figure finds its axes among the settings that vary between the runs of a results folder: columns with dotted
names, such as `workers.1.slow_down`. Runs of one method with another number S of workers to wait for are
lines of their own, in shades of the method's colour.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from fedsim.errors import InputError
from fedsim_analysis import style, trials
from fedsim_analysis.frames import named
from fedsim_analysis.varied import distinct, settings_of
from fedsim_analysis.words import setting

if TYPE_CHECKING:
    from matplotlib.axes import Axes

BASELINE = "sdbt"
"""What others are compared with: the same algorithm when it waits for everybody."""

_WAIT_FOR = "algorithm.wait_for"


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


def in_every(runs: pd.DataFrame, column: str, lent: pd.Series[bool], keys: Sequence[str]) -> pd.DataFrame:
    """Return the runs, and in each value of a column a copy of the runs that stand for all values.

    Args:
        runs: one row per run.
        column: in which those have no value, or one that says nothing.
        lent: which runs these are.
        keys: the columns by which a run is known whose place is taken, beside its settings, those of attacks
            apart: a value's own run goes before a copy, and of equal copies there is one.

    Returns:
        The runs; as they were where no run has a value of its own.
    """
    own = runs[~lent]
    parts = [own]
    others = [name for name in settings_of(runs) if not name.startswith("attacks.") and name != column]
    keys = list(dict.fromkeys([*keys, *others]))
    for value in distinct(own[column]):
        at = own[own[column].map(setting) == setting(value)]
        mine = runs[column].map(setting) == setting(value)
        copies = pd.concat([runs[lent & mine], runs[lent & ~mine]])
        copies = copies[~copies[keys].map(setting).duplicated()]
        # Whole rows of texts: a setting may be a list, and nothing equals a missing value.
        taken = set(zip(*(at[key].map(setting) for key in keys), strict=True))
        there = [place in taken for place in zip(*(copies[key].map(setting) for key in keys), strict=True)]
        copies = copies[~np.array(there, dtype=bool)]
        parts.append(copies.assign(**{column: [value] * len(copies)}))
    return pd.concat(parts, ignore_index=True) if len(own) else runs


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
            found[name] = style.Mark(label, shade, own.line, style.MARKERS[len(found) % len(style.MARKERS)])
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
