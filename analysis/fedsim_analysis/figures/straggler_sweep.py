"""What AsynDBT saves against SDBT in simulated time: against the stragglers' factor and their number.

One column of panels per number of stragglers. Above: the saving for equal work, in time per worker update;
below, where runs have a target: the saving in time until it is first reached. The line of SDBT itself is at
zero; below it a method is slower. A point is the mean over runs paired by seed, a whisker its 95 % t
interval. A hollow point leaves out pairs of which one run never reached the target; the table has their
number.

Source: ours; the paper reports one straggler setting only.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from fedsim.errors import InputError
from fedsim_analysis import style, sweeps, trials
from fedsim_analysis.bootstrap import probability_of_improvement
from fedsim_analysis.frames import named, require
from fedsim_analysis.statistics import estimate, saving_percent
from fedsim_analysis.survival import resolution_s, resolutions
from fedsim_analysis.varied import check_averaged, check_compared

if TYPE_CHECKING:
    from matplotlib.axes import Axes

NEEDS: tuple[str, ...] = ("runs",)

_FACTOR = r"workers\.\d+\.slow_down"
_UNTOLD = 0
_PLACE = ["stragglers", "straggler_factor"]
_MEASURES = {
    "time_per_update_s": "Saving in time\nfor equal work (%)",
    "time_to_target_s": "Saving in time\nto the target (%)",
}


def table(runs: pd.DataFrame) -> pd.DataFrame:
    """Return one row per measure, line, number of stragglers and factor: the saving and its interval.

    Args:
        runs: one row per run; `workers.<group>.slow_down` varies, and perhaps `workers.<group>.count`.

    Returns:
        `measure, method, line, stragglers` (missing where their number does not vary, so that results do not
        tell it), `straggler_factor, saving_percent, saving_percent_low, saving_percent_high, pairs,
        left_out`, `resolution_s` (within how many seconds times to the target are known), and how likely a
        run is faster than SDBT's with the same seed: `probability_faster, probability_faster_low,
        probability_faster_high`.

    Raises:
        InputError: the factor does not vary, or that of several groups does; there is no run of SDBT; two
            runs share a place and a seed; or runs of a place differ in more than method and seed.
    """
    needed = "a straggler factor that varies (workers.<group>.slow_down)"
    runs = sweeps.only_scenario(runs, lambda group: bool(sweeps.varying(group, _FACTOR)), needed)
    require(runs, "runs", ["simulated_time_s", "worker_updates", "time_to_target_s"])
    runs = sweeps.with_lines(_placed(runs))
    check_averaged(runs, [*_PLACE, "line"])
    check_compared(runs, _PLACE)
    is_baseline = runs["algorithm"] == sweeps.BASELINE
    theirs = runs[is_baseline]
    if theirs.empty:
        raise InputError(f"found {', '.join(runs['line'].unique())}, expected runs of SDBT to compare with")
    check_averaged(theirs, _PLACE)
    ours = runs[~is_baseline]
    if ours.empty:
        raise InputError("found runs of SDBT alone, expected runs of AsynDBT to compare with it")
    measures = [name for name in _MEASURES if runs[name].notna().any()]
    found = pd.DataFrame([row for measure in measures for row in _rows(ours, theirs, measure)])
    return found.assign(stragglers=found["stragglers"].mask(found["stragglers"] == _UNTOLD))


def figure(runs: pd.DataFrame) -> Figure:
    """Draw the rows of `table`."""
    rows = table(runs)
    rows["stragglers"] = rows["stragglers"].fillna(_UNTOLD)
    counts, measures = sorted(rows["stragglers"].unique()), list(dict.fromkeys(rows["measure"]))
    factors = sorted(rows["straggler_factor"].unique())
    looks = sweeps.looks(rows, runs)
    width = style.COLUMN_IN if len(counts) <= 3 else style.PAGE_IN
    with style.look():
        picture = Figure(figsize=(width, 0.75 + 1.2 * len(measures)), layout="constrained")
        panels = picture.subplots(len(measures), len(counts), squeeze=False, sharex=True, sharey="row")
        for line, measure in zip(panels, measures, strict=True):
            of_measure = rows[rows["measure"] == measure]
            for panel, count in zip(line, counts, strict=True):
                _panel(panel, of_measure[of_measure["stragglers"] == count], factors, looks)
            line[0].set_ylabel(_MEASURES[measure])
        for panel, count in zip(panels[0], counts, strict=True):
            if count != _UNTOLD:
                panel.set_title(f"{count:g} straggler{'s' if count > 1 else ''}")
        known = resolutions(named(runs), width) if "time_to_target_s" in measures else ""
        picture.supxlabel("\n".join(filter(None, ("Straggler factor (times slower)", known))), fontsize=7)
        _legend(picture, looks, hollow=bool((rows["left_out"] > 0).any()))
    return picture


def _placed(runs: pd.DataFrame) -> pd.DataFrame:
    """Return the runs with the columns of `_PLACE`, and the time of a worker update."""
    names = sweeps.varying(runs, _FACTOR)
    if len(names) > 1:
        raise InputError(f"the factors of several groups vary ({', '.join(names)}), expected that of one")
    count = names[0].replace("slow_down", "count")
    return runs.assign(
        straggler_factor=runs[names[0]].astype(float),
        stragglers=runs[count].astype(int) if count in runs else _UNTOLD,
        time_per_update_s=runs["simulated_time_s"] / runs["worker_updates"],
    )


def _rows(ours: pd.DataFrame, theirs: pd.DataFrame, measure: str) -> Iterator[dict[str, Any]]:
    for (method, line, stragglers, factor), group in ours.groupby(["method", "line", *_PLACE], sort=False):
        place = {"stragglers": stragglers, "straggler_factor": factor}
        both = theirs[(theirs[_PLACE] == pd.Series(place)).all(axis=1)]
        partners = both.set_index("seed")[measure]
        timed = measure == "time_to_target_s"
        mine = group.set_index("seed")[measure]
        found = _saving(mine, partners)
        sooner = probability_of_improvement(partners.dropna(), mine.dropna(), pair=True)
        yield (
            {"measure": measure, "method": method, "line": line}
            | place
            | found
            | {"resolution_s": resolution_s(pd.concat([group, both])) if timed else math.nan}
            | sooner.columns("probability_faster")
        )


def _saving(mine: pd.Series[float], theirs: pd.Series[float]) -> dict[str, float]:
    percent = saving_percent(mine, theirs).dropna()
    found = estimate(percent)
    seeds = mine.index.union(theirs.index)
    return found.columns("saving_percent") | {"pairs": found.count, "left_out": len(seeds) - found.count}


def _panel(axes: Axes, rows: pd.DataFrame, factors: list[float], looks: dict[str, style.Mark]) -> None:
    baseline = style.method(sweeps.BASELINE)
    axes.axhline(0, color=baseline.colour, linestyle=baseline.line, linewidth=1.0)
    for name, look in looks.items():
        points = rows[(rows["line"] == name) & (rows["pairs"] > 0)].sort_values("straggler_factor")
        places = points["straggler_factor"].map(factors.index).astype(float)
        points = points.rename(columns=lambda column: column.replace("saving_percent", "mean"))
        sweeps.draw_points(axes, places, points, look, points["left_out"] > 0)
    axes.set_xticks(range(len(factors)), [f"{factor:g}" for factor in factors])
    axes.set_xlim(-0.4, len(factors) - 0.6)
    axes.grid(axis="y")


def _legend(picture: Figure, looks: dict[str, style.Mark], hollow: bool) -> None:
    baseline = style.method(sweeps.BASELINE)
    entries = [Line2D([], [], color=baseline.colour, linestyle=baseline.line, label=baseline.label)]
    entries += trials.handles(looks.values())
    if hollow:
        mark: dict[str, Any] = {
            "marker": "o",
            "markersize": 4,
            "markerfacecolor": "white",
            "color": "#555555",
        }
        entries.append(Line2D([], [], linestyle="", label="some runs never\nreach the target", **mark))
    columns = trials.columns(len(entries), most=3)
    picture.legend(handles=entries, loc="outside upper center", ncols=columns)
