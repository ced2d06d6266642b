"""What AsynDBT gains over SDBT as one setting varies: time saved on equal work, and time to a target.

One column of panels per varied setting. Above: what a method saves against SDBT in simulated time for the
same number of worker updates; the line of SDBT itself is at zero, and a method below it is slower. These runs
are of the clock alone, which no learned value moves, so that there may be very many workers. Below: the
simulated time until the scenario's target is first reached, from runs that learn; where there are more
workers than can learn in a short study, only the upper point is there. A point is the mean over seeds, above
of runs paired by seed, and a whisker its 95 % interval. The values of a setting stand at equal distances,
whatever their size.

Runs that never reach the target are not left out: the mean then counts the time for which they were tried, a
lower bound of the true mean, and stands as a hollow triangle without a whisker, with the number of runs that
did reach it written above.

The figure `sensitivity` shows savings alone, against two baselines and with the paper's three workers; this
one shows times beside savings, and settings that only more workers bring out.

Source: ours; the paper reports one setting only.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

from fedsim.errors import InputError
from fedsim_analysis import style, trials
from fedsim_analysis.frames import named, require
from fedsim_analysis.statistics import estimate, saving_percent
from fedsim_analysis.survival import resolutions
from fedsim_analysis.varied import check_averaged

if TYPE_CHECKING:
    from matplotlib.axes import Axes

NEEDS: tuple[str, ...] = ("timed", "tuned")

_BASELINE = "sdbt"
_SAVING, _TIME = "saving_percent", "time_to_target_s"
_PLACE = ["study", "value", "method"]
_STUDIES = {
    "straggler_factor": "straggler factor",
    "wait_for": "active workers $S$",
    "tau": "staleness bound $\\tau$",
    "n_workers": "workers $R$",
}
_LINE: dict[str, Any] = {"markersize": 3.5, "elinewidth": 0.7, "capsize": 1.5}
_BOUND: dict[str, Any] = {"linestyle": "", "marker": "^", "markersize": 4.5, "markerfacecolor": "white"}


def table(timed: pd.DataFrame, tuned: pd.DataFrame) -> pd.DataFrame:
    """Return one row per study, value, measure and method: the mean over seeds and its interval.

    Args:
        timed: one row per run of the clock alone, with `study` (the name of a panel), `value` (its place in
            the panel), `simulated_time_s` and `worker_updates`.
        tuned: one row per run that learned, with `study`, `value`, `simulated_time_s` and `time_to_target_s`
            (null where the target was not reached).

    Returns:
        `study, value, measure, method, mean, mean_low, mean_high, runs, reached`. By ``saving_percent`` a
        method is compared with SDBT, in time per worker update: a run ends with a whole step, and so up to a
        step's updates after the last that it was asked for. By ``time_to_target_s`` `reached` of `runs` runs
        got to the target; where some did not, `mean` is a lower bound and has no interval.

    Raises:
        InputError: a column is missing, two runs share study, value, method and seed, or a timed run has no
            partner of SDBT.
    """
    rows: list[dict[str, Any]] = [*_savings(_checked(timed, "timed")), *_times(_checked(tuned, "tuned"))]
    studies = style.in_order((row["study"] for row in rows), _STUDIES)
    methods = style.methods_in_order(row["method"] for row in rows)
    measures = (_SAVING, _TIME)

    def place(row: dict[str, Any]) -> tuple[float, ...]:
        names = studies.index(row["study"]), measures.index(row["measure"]), methods.index(row["method"])
        return *names, row["value"]

    rows.sort(key=place)
    return pd.DataFrame(rows)


def figure(timed: pd.DataFrame, tuned: pd.DataFrame) -> Figure:
    """Draw the rows of `table`."""
    rows = table(timed, tuned)
    studies = list(dict.fromkeys(rows["study"]))
    unit, symbol = style.time_unit(rows.loc[rows["measure"] == _TIME, "mean"].max())
    with style.look():
        picture = Figure(figsize=(style.PAGE_IN, 3.6), layout="constrained")
        panels = picture.subplots(2, len(studies), squeeze=False, sharey="row", sharex="col")
        for (above, below), study in zip(panels.T, studies, strict=True):
            of_study = rows[rows["study"] == study]
            values = sorted(of_study["value"].unique())
            _draw_savings(above, of_study[of_study["measure"] == _SAVING], values)
            _draw_times(below, of_study[of_study["measure"] == _TIME], values, unit)
            below.set_xticks(range(len(values)), [f"{value:g}" for value in values])
            below.set_xlim(-0.4, len(values) - 0.6)
            below.set_xlabel(_STUDIES.get(study, study.replace("_", " ")))
        panels[0, 0].set_ylabel(f"Saving in time over {style.method_name(_BASELINE)},\nfor equal work (%)")
        panels[1, 0].set_ylabel(f"Time to the target ({symbol})")
        picture.supxlabel(resolutions(named(tuned), style.PAGE_IN), fontsize=6.5)
        entries = _entries(rows)
        picture.legend(handles=entries, loc="outside upper center", ncols=len(entries))
    return picture


def _checked(runs: pd.DataFrame, name: str) -> pd.DataFrame:
    measured = {"timed": "worker_updates", "tuned": _TIME}[name]
    require(runs, name, ["study", "value", "seed", "simulated_time_s", measured])
    runs = named(runs)
    check_averaged(runs, _PLACE)
    return runs


def _savings(timed: pd.DataFrame) -> Iterator[dict[str, Any]]:
    pair = ["study", "value", "seed"]
    timed = timed.assign(each_s=timed["simulated_time_s"] / timed["worker_updates"])
    theirs = timed[timed["method"] == _BASELINE].set_index(pair)["each_s"]
    for labels, group in _points(timed[timed["method"] != _BASELINE]):
        ours = group.set_index(pair)["each_s"]
        if len(alone := ours.index.difference(theirs.index)):
            where = ", ".join(f"{name} {found}" for name, found in zip(pair, alone[0], strict=True))
            us, them = (style.method_name(name) for name in (labels["method"], _BASELINE))
            raise InputError(f"{where}: there is no timed run of {them} to compare {us} with")
        found = estimate(saving_percent(ours, theirs))
        yield (
            labels
            | {"measure": _SAVING}
            | found.columns("mean")
            | {"runs": found.count, "reached": found.count}
        )


def _times(tuned: pd.DataFrame) -> Iterator[dict[str, Any]]:
    for labels, group in _points(tuned):
        found = estimate(group[_TIME].astype(float).fillna(group["simulated_time_s"]))
        reached = int(group[_TIME].notna().sum())
        columns = found.columns("mean")
        if reached < found.count:
            columns |= {"mean_low": math.nan, "mean_high": math.nan}
        yield labels | {"measure": _TIME} | columns | {"runs": found.count, "reached": reached}


def _points(runs: pd.DataFrame) -> Iterator[tuple[dict[str, Any], pd.DataFrame]]:
    for names, group in runs.groupby(_PLACE):
        yield dict(zip(_PLACE, names, strict=True)), group


def _draw_savings(axes: Axes, rows: pd.DataFrame, values: list[float]) -> None:
    baseline = style.method(_BASELINE)
    axes.axhline(0, color=baseline.colour, linestyle=baseline.line)
    for method, points in rows.groupby("method", sort=False):
        look = style.method(str(method))
        places = [values.index(value) for value in points["value"]]
        axes.errorbar(
            places,
            points["mean"],
            trials.whiskers(points),
            color=look.colour,
            linestyle=look.line,
            marker="o",
            **_LINE,
        )
    axes.grid(axis="y")


def _draw_times(axes: Axes, rows: pd.DataFrame, values: list[float], unit: float) -> None:
    for method, points in rows.groupby("method", sort=False):
        look = style.method(str(method))
        points = points.assign(**{name: points[name] / unit for name in ("mean", "mean_low", "mean_high")})
        places = pd.Series([values.index(value) for value in points["value"]], points.index)
        whole = points["reached"] == points["runs"]
        axes.plot(places, points["mean"], color=look.colour, linestyle=look.line)
        axes.errorbar(
            places[whole],
            points["mean"][whole],
            trials.whiskers(points[whole]),
            color=look.colour,
            linestyle="",
            marker="o",
            **_LINE,
        )
        axes.plot(places[~whole], points["mean"][~whole], color=look.colour, **_BOUND)
        for place, point in zip(places[~whole], points[~whole].to_dict("records"), strict=True):
            axes.annotate(
                f"{point['reached']}/{point['runs']}",
                (place, point["mean"]),
                xytext=(0, 4),
                textcoords="offset points",
                ha="center",
                va="bottom",
                fontsize=5.5,
                color=look.colour,
            )
    axes.set_yscale("log")
    axes.margins(y=0.12)  # room for the counts
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axes.yaxis.set_minor_formatter(NullFormatter())
    axes.grid(axis="y")


def _entries(rows: pd.DataFrame) -> list[Line2D]:
    looks = style.methods([*rows["method"], _BASELINE]).values()
    entries = [
        Line2D([], [], color=look.colour, linestyle=look.line, marker="o", markersize=3.5, label=look.label)
        for look in looks
    ]
    if (rows["reached"] < rows["runs"]).any():
        label = "at least; only so many of the runs got there"
        entries.append(Line2D([], [], color="#555555", label=label, **_BOUND))
    return entries
