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
    """Return the runs with a column `line`, and `method` as the name that a colour belongs to.

    A line is a method, and S where its runs with equally many workers differ in it: ``AsynDBT, S = 2``.
    Variants that neither tells apart have their names: ``AsynDBT, half``. The runs are in the order of the
    lines.
    """
    runs = named(runs)
    variants = runs["method"]
    wait_for = _told_by_wait_for(runs)
    runs = runs.assign(method=variants.where(variants.isin(style.METHODS), runs["algorithm"]), line="")
    order = style.in_order(runs["method"], style.METHODS)
    for method in order:
        mine = runs["method"] == method
        runs.loc[mine, "line"] = _names(method, variants[mine], wait_for[mine])
    places = pd.DataFrame({"method": runs["method"].map(order.index), "wait_for": wait_for, "name": variants})
    return runs.loc[places.sort_values(["method", "wait_for", "name"], kind="stable").index]


def looks(rows: pd.DataFrame) -> dict[str, style.Mark]:
    """Return how each `line` of a table is drawn, in order of the rows, in shades of its method's colour."""
    found = {}
    for method, group in rows.groupby("method", sort=False):
        names = list(dict.fromkeys(group["line"]))
        own = style.method(str(method))
        for place, (name, shade) in enumerate(zip(names, style.shades(own.colour, len(names)), strict=True)):
            label = name.replace(", S = ", ", $S$ = ")
            found[name] = style.Mark(label, shade, own.line, _MARKERS[place % len(_MARKERS)])
    return found


def draw_points(
    axes: Axes, places: pd.Series[float], rows: pd.DataFrame, look: style.Mark, hollow: pd.Series[bool]
) -> None:
    """Draw a line of means with their intervals: `mean, mean_low, mean_high` of `rows`; some marks hollow."""
    whiskers = trials.whiskers(rows)
    axes.errorbar(places, rows["mean"], whiskers, **look.settings, markersize=3, elinewidth=0.7)
    some: dict[str, Any] = {"marker": look.marker, "markersize": 3, "markerfacecolor": "white", "zorder": 3}
    axes.plot(places[hollow], rows["mean"][hollow], color=look.colour, linestyle="", **some)


def check_single(runs: pd.DataFrame, keys: Sequence[str]) -> None:
    """Check that no two runs share a place and a seed, so that a mean would mix different settings.

    Raises:
        InputError: two do; the sentence tells which settings differ between them.
    """
    twice = runs[runs.duplicated([*keys, "seed"], keep=False)]
    if twice.empty:
        return
    first = twice.iloc[0]
    same = twice[(twice[[*keys, "seed"]] == first[[*keys, "seed"]]).all(axis=1)]
    differing = [name for name in map(str, same) if "." in name and same[name].astype(str).nunique() > 1]
    where = ", ".join(f"{key} {first[key]}" for key in (*keys, "seed"))
    among = f", which differ in {_listed(differing)}" if differing else ""
    raise InputError(f"{where}: there are {len(same)} runs{among}; expected one per seed")


def _told_by_wait_for(runs: pd.DataFrame) -> pd.Series[float]:
    """Return each run's S; NaN for a variant whose S follows from the number of workers."""
    nowhere = pd.Series(float("nan"), runs.index)
    if _WAIT_FOR not in runs:
        return nowhere
    wait_for = runs[_WAIT_FOR].astype(float)
    n_workers = runs["n_workers"] if "n_workers" in runs else nowhere.fillna(0)
    varies = wait_for.groupby(runs["method"]).transform("nunique") > 1
    varies_with_equally_many = wait_for.groupby([runs["method"], n_workers]).transform("nunique") > 1
    follows = varies & ~varies_with_equally_many.groupby(runs["method"]).transform("any")
    return wait_for.where(~follows)


def _names(method: str, variants: pd.Series[str], wait_for: pd.Series[float]) -> pd.Series[str]:
    """Return the name of each run's line, for the runs of one method."""
    pairs = pd.DataFrame({"variant": variants, "wait_for": wait_for}).drop_duplicates()
    label = style.method_name(method)
    told = ", S = " + wait_for.map("{:g}".format)
    if len(pairs) == 1:
        return pd.Series(label, variants.index)
    if pairs["wait_for"].notna().all() and pairs["wait_for"].is_unique:
        return label + told
    # A variant called after its method, such as `asyndbt_half`, is written as the method is.
    rest = variants.str.removeprefix(method).str.removeprefix("_").str.replace("_", " ")
    named_after = variants.str.startswith(method + "_")
    own = (label + ", " + rest).where(named_after, variants.map(style.method_name).str.replace("_", " "))
    return own + told.where(wait_for.groupby(variants).transform("nunique") > 1, "")


def _listed(names: Sequence[str] | pd.Series[str]) -> str:
    return ", ".join(dict.fromkeys(map(str, names)))
