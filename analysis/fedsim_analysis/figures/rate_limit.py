"""Time against the requests that an LLM service lets in per minute: where adding workers stops helping.

One column of panels per method. Above: the simulated time until the budget is spent, against the limit,
one line per number of workers; below that, where runs have a target, the time until it is first reached. The
thin dotted lines are what the limit alone imposes, the calls that the server has counted over the limit: a
bound, worked out from both and not fitted to anything. A service that lets a burst in when it starts can pass
it by the seconds that the burst stands for (`llm.burst_s`). Lowest row: worker updates per minute against the
number of workers, one line per limit, with the same bound. Lines that lie on each other are workers that do
not help. Points are means over seeds, whiskers their 95 % intervals; where a run never reached its target,
its point has no mean and is left out. A service without a limit stands at the right end.

Source: ours; the bound is the conservation law of a token bucket (Turner, "New directions in communications",
IEEE Communications Magazine, 1986).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from matplotlib import colormaps
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter, NullLocator

from fedsim.errors import InputError
from fedsim_analysis import style, trials
from fedsim_analysis.frames import named, require
from fedsim_analysis.survival import resolutions
from fedsim_analysis.varied import check_averaged, check_compared

if TYPE_CHECKING:
    from matplotlib.axes import Axes

NEEDS: tuple[str, ...] = ("runs",)

_LIMIT = "llm.requests_per_minute"
_KEYS = ("method", "requests_per_minute", "n_workers")
_LIMIT_ALONG = ("requests_per_minute", "n_workers")
_WORKERS_ALONG = ("n_workers", "requests_per_minute")
_TIMES = {"time_s": "Time to spend the budget", "time_to_target_s": "Time to target"}
_RATE = "updates_per_minute"
_BOUNDS = {"time_s": "bound_s", _RATE: "bound_updates_per_minute"}
_MARKERS = "osD^vPX"
_BOUND_LOOK: dict[str, Any] = {"linestyle": (0, (1, 2)), "linewidth": 0.8, "zorder": 1.5}


def table(runs: pd.DataFrame) -> pd.DataFrame:
    """Return one row per method, limit, number of workers and measure: the mean over seeds and its interval.

    Args:
        runs: one row per run, with `llm.requests_per_minute` (null: no limit) and `n_workers`.

    Returns:
        `method, requests_per_minute, n_workers, measure, mean, mean_low, mean_high, runs, runs_measured`.
        Measures: `time_s`, `time_to_target_s` where a run has one, `updates_per_minute`, and the bounds by
        the limit alone, `bound_s` (of the time) and `bound_updates_per_minute`. A limit is infinite where
        there is none.

    Raises:
        InputError: a column is missing, the runs are of several scenarios, or two share method, limit, number
            of workers and seed.
    """
    runs = named(runs)
    counted = ["simulated_time_s", "time_to_target_s", "worker_updates", "llm_calls", "n_workers"]
    require(runs, "runs", [_LIMIT, *counted])
    scenarios = sorted(runs["scenario"].unique())
    if len(scenarios) > 1:
        raise InputError(f"these runs are of {', '.join(scenarios)}: give the folder of one scenario")
    limit = runs[_LIMIT].astype(float).fillna(math.inf)
    minutes = runs["simulated_time_s"] / 60
    values = runs[["method", "n_workers", "seed"]].assign(
        requests_per_minute=limit,
        time_s=runs["simulated_time_s"],
        time_to_target_s=runs["time_to_target_s"].astype(float),
        updates_per_minute=runs["worker_updates"] / minutes,
        bound_s=60 * runs["llm_calls"] / limit,
        bound_updates_per_minute=limit.replace(math.inf, math.nan)
        * runs["worker_updates"]
        / runs["llm_calls"],
    )
    placed = runs.assign(requests_per_minute=limit)
    check_averaged(placed, _KEYS)
    check_compared(placed, _LIMIT_ALONG)
    if values["time_to_target_s"].isna().all():
        values = values.drop(columns="time_to_target_s")
    long = values.melt(id_vars=[*_KEYS, "seed"], var_name="measure")
    order = style.methods_in_order(long["method"])
    long = long.sort_values(
        ["method", *_KEYS[1:]],
        key=lambda column: column.map(order.index) if column.name == "method" else column,
        kind="stable",
    )
    return trials.estimates(long, [*_KEYS, "measure"])


def figure(runs: pd.DataFrame) -> Figure:
    """Draw the rows of `table`."""
    rows = table(runs)
    methods = list(dict.fromkeys(rows["method"]))
    looks = style.methods(methods)
    times = [measure for measure in _TIMES if (rows["measure"] == measure).any()]
    with style.look():
        size = (min(style.PAGE_IN, 1.2 + 2.9 * len(methods)), 0.4 + 2.1 * (len(times) + 1))
        picture = Figure(figsize=size, layout="constrained")
        panels = picture.subplots(len(times) + 1, len(methods), squeeze=False, sharey="row")
        for line, measure in zip(panels, times, strict=False):
            of_measure = rows[rows["measure"] == measure]
            unit, symbol = style.time_unit(of_measure["mean"].max())
            for panel, method in zip(line, methods, strict=True):
                _lines(panel, rows[rows["method"] == method], measure, _LIMIT_ALONG, unit)
                _limits_below(panel, rows["requests_per_minute"])
            line[0].set_ylabel(f"{_TIMES[measure]} ({symbol})")
            _legend(line[-1], "workers", bounded=measure in _BOUNDS)
        for panel, method in zip(panels[-1], methods, strict=True):
            _lines(panel, rows[rows["method"] == method], _RATE, _WORKERS_ALONG, 1.0)
            n_workers = sorted(rows["n_workers"].unique())
            _ticks(panel, n_workers, n_workers)
            panel.set_xlabel("Workers ($R$)")
        panels[-1, 0].set_ylabel("Worker updates per minute")
        _legend(panels[-1, -1], "requests\na minute", bounded=True)
        if "time_to_target_s" in times:
            picture.supxlabel(resolutions(named(runs), size[0]), fontsize=6.5)
        for panel, method in zip(panels[0], methods, strict=True):
            panel.set_title(looks[method].label, loc="left", fontweight="bold")
    return picture


def _lines(axes: Axes, rows: pd.DataFrame, measure: str, keys: Sequence[str], unit: float) -> None:
    """Draw a measure against the first of two keys, a line each value of the second."""
    along, across = keys
    values = sorted(rows[across].unique())
    shades = colormaps["viridis" if across == "n_workers" else "plasma"](np.linspace(0, 0.85, len(values)))
    for number, (value, shade) in enumerate(zip(values, shades, strict=True)):
        mine = rows[rows[across] == value].sort_values(along)
        points = mine[mine["measure"] == measure]
        bound = mine[mine["measure"] == _BOUNDS.get(measure)]
        axes.errorbar(
            _places(points[along], rows[along]),
            points["mean"] / unit,
            [reach / unit for reach in trials.whiskers(points)],
            color=shade,
            marker=_MARKERS[number % len(_MARKERS)],
            markersize=3.5,
            elinewidth=0.7,
            capsize=1.5,
            label=_written(value),
        )
        bound = bound[np.isfinite(bound["mean"]) & (bound["mean"] > 0)]
        axes.plot(_places(bound[along], rows[along]), bound["mean"] / unit, color=shade, **_BOUND_LOOK)
    everywhere = _places(rows[along], rows[along])
    axes.set_xlim(min(everywhere) / 1.25, max(everywhere) * 1.25)
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_major_formatter("{x:g}")
    axes.yaxis.set_minor_formatter(NullFormatter())
    axes.grid()


def _places(values: pd.Series[float], all_values: pd.Series[float]) -> list[float]:
    """Return places on a logarithmic axis; no limit stands as far right as the others are apart."""
    finite = sorted(value for value in all_values.unique() if math.isfinite(value))
    beyond = finite[-1] * (finite[-1] / finite[-2] if len(finite) > 1 else 4) if finite else 1.0
    return [value if math.isfinite(value) else beyond for value in values]


def _limits_below(axes: Axes, limits: pd.Series[float]) -> None:
    ordered = pd.Series(sorted(limits.unique()))
    _ticks(axes, _places(ordered, ordered), ordered)
    axes.set_xlabel("Requests per minute")


def _ticks(axes: Axes, places: Sequence[float], values: Iterable[float]) -> None:
    axes.set_xticks(places, [_written(value) for value in values])
    axes.xaxis.set_minor_locator(NullLocator())


def _written(value: float) -> str:
    return f"{value:,.12g}" if math.isfinite(value) else "no limit"


def _legend(axes: Axes, title: str, bounded: bool) -> None:
    if bounded:
        axes.plot([], [], color="#555555", label="bound", **_BOUND_LOOK)
    handles, labels = axes.get_legend_handles_labels()
    last = [place for place, label in enumerate(labels) if label == "bound"]
    order = [place for place in range(len(labels)) if place not in last] + last
    axes.legend(
        [handles[place] for place in order],
        [labels[place] for place in order],
        title=title,
        loc="center left",
        bbox_to_anchor=(1.02, 0.5),
    )
