"""What it takes for asynchrony to pay: SDBT, AsynDBT and its extensions, as stragglers get slower.

One column of panels per scenario; over it stands in how many of its runs cuts constrain (`constraint_met`).
From above: the simulated time until the target is reached; the same in shares of SDBT's time, paired by seed;
and what is learned with equally many worker updates, as accuracy less that of SDBT, paired by seed. SDBT
itself is a line in the lower two. Points are means over seeds (of times and their ratios geometric ones,
because some runs take much longer than others), whiskers their 95 % t intervals. The values of the straggler
factor stand at equal distances; 1: all workers are alike.

A run that never reaches the target counts with its end, so that a mean with it is a lower bound: it is hollow
and has no whisker. The table tells the cuts too: h / epsilon at the end, whether the constraint was met, and
how often the polyhedron was updated.

Source: ours; the paper has no extension, and one straggler setting.
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
from fedsim_analysis import style, sweeps, trials
from fedsim_analysis.frames import named, require
from fedsim_analysis.statistics import estimate, paired_differences
from fedsim_analysis.survival import RESOLUTION
from fedsim_analysis.varied import check_averaged, check_compared

if TYPE_CHECKING:
    from matplotlib.axes import Axes

NEEDS: tuple[str, ...] = ("runs",)

_FACTOR = r"workers\.\d+\.slow_down"
_PLACE = ["scenario", "straggler_factor"]
_TIME, _SHARE, _ACCURACY = "time_to_target_s", "time_share", "accuracy_points"
_MEANS = ("h_over_epsilon", "constraint_met", "cut_updates", "skipped_cut_updates", RESOLUTION)
"""In the table alone, where runs have them."""
_COLUMNS = [
    "scenario",
    "measure",
    "method",
    "straggler_factor",
    "mean",
    "mean_low",
    "mean_high",
    "runs",
    "late",
]
_DODGE = 0.07
"""The distance between neighbouring methods at one factor, which are one apart."""


def table(runs: pd.DataFrame) -> pd.DataFrame:
    """Return one row per scenario, measure, method and straggler factor.

    Args:
        runs: one row per run; `workers.<group>.slow_down` varies, and there is a target.

    Returns:
        `scenario, measure, method, straggler_factor, mean, mean_low, mean_high, runs, late`. The measures are
        ``time_to_target_s`` and ``time_share`` of SDBT's, both with geometric means, and with no interval
        where `late` of the `runs` never got there and count with their end; ``accuracy_points`` more than
        SDBT; and, where runs have them, `h_over_epsilon`, `constraint_met`, `cut_updates` and
        `skipped_cut_updates` at the end, and within how many seconds times to the target are known.

    Raises:
        InputError: a column is missing; the factor does not vary, or that of several groups does; there is no
            run of SDBT, or none beside it; two runs share a place and a seed; or runs of a place differ in
            more than method and seed.
    """
    require(runs, "runs", ["simulated_time_s", _TIME, "accuracy"])
    runs = _placed(named(runs))
    check_averaged(runs, [*_PLACE, "method"])
    check_compared(runs, _PLACE)
    methods = style.methods_in_order(runs["method"])
    if sweeps.BASELINE not in methods or len(methods) < 2:
        found = ", ".join(style.method_name(method) for method in methods)
        raise InputError(f"found runs of {found}, expected runs of SDBT and of others to compare with it")
    rows: list[dict[str, Any]] = [
        {"scenario": scenario, "method": method, "straggler_factor": factor} | measure
        for (scenario, factor), group in runs.groupby(_PLACE)
        for method in style.methods_in_order(group["method"])
        for measure in _measures(group, method)
    ]
    order = {name: number for number, name in enumerate((_TIME, _SHARE, _ACCURACY, *_MEANS))}

    def place(row: dict[str, Any]) -> tuple[Any, ...]:
        numbers = order[row["measure"]], methods.index(row["method"]), row["straggler_factor"]
        return row["scenario"], *numbers

    rows.sort(key=place)
    return pd.DataFrame(rows, columns=_COLUMNS)


def figure(runs: pd.DataFrame) -> Figure:
    """Draw the first three measures of `table`."""
    rows = table(runs)
    scenarios = list(dict.fromkeys(rows["scenario"]))
    factors = sorted(rows["straggler_factor"].unique())
    looks = _looks(rows)
    unit, symbol = style.time_unit(rows.loc[rows["measure"] == _TIME, "mean"].max())
    titles = {
        _TIME: f"Time to the target ({symbol})",
        _SHARE: "Time to the target,\nSDBT = 1",
        _ACCURACY: "Accuracy less SDBT's,\nfor equal work (points)",
    }
    with style.look():
        picture = Figure(figsize=(style.PAGE_IN, 5.6), layout="constrained")
        panels = picture.subplots(len(titles), len(scenarios), squeeze=False, sharex=True)
        for column, scenario in zip(panels.T, scenarios, strict=True):
            column[0].set_title(f"{style.task_name(scenario)}: {_constrained(runs, scenario)}")
            for axes, measure in zip(column, titles, strict=True):
                points = rows[(rows["scenario"] == scenario) & (rows["measure"] == measure)]
                _panel(axes, points, factors, looks, unit if measure == _TIME else 1.0)
            for axes, subs in zip(column, ((1, 2, 5), (1, 1.5, 2, 3, 4, 5, 6, 8)), strict=False):
                axes.set_yscale("log")
                axes.yaxis.set_major_locator(LogLocator(subs=subs))
                axes.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
                axes.yaxis.set_minor_formatter(NullFormatter())
        for axes, title in zip(panels[:, 0], titles.values(), strict=True):
            axes.set_ylabel(title)
        picture.supxlabel("Straggler factor (times slower)", fontsize=7)
        entries = trials.handles(looks.values())
        if (rows["late"] > 0).any():
            hollow: dict[str, Any] = {"marker": "o", "markersize": 4, "markerfacecolor": "white"}
            label = "at least: some runs never get there"
            entries.append(Line2D([], [], color="#555555", linestyle="", label=label, **hollow))
        picture.legend(
            handles=entries, loc="outside upper center", ncols=trials.columns(len(entries), most=3)
        )
    return picture


def _placed(runs: pd.DataFrame) -> pd.DataFrame:
    """Return the runs with the factor of their stragglers."""
    names = sweeps.varying(runs, _FACTOR)
    if len(names) != 1:
        found = f"vary in {', '.join(names)}" if names else "do not vary"
        raise InputError(f"found runs whose straggler factors {found}, expected that of one group to vary")
    return runs.assign(straggler_factor=runs[names[0]].astype(float))


def _measures(group: pd.DataFrame, method: str) -> Iterator[dict[str, Any]]:
    """Yield the measures of a method at one place, whose runs are given."""
    ours, theirs = _of(group, method), _of(group, sweeps.BASELINE)
    yield {"measure": _TIME} | _geometric(ours["until_s"], ours["late"])
    if method != sweeps.BASELINE:
        # Where SDBT never got there, nothing is known of the share.
        known = theirs.loc[~theirs["late"], "until_s"]
        both = ours.index.intersection(known.index)
        yield {"measure": _SHARE} | _geometric(
            ours.loc[both, "until_s"] / known[both], ours.loc[both, "late"]
        )
        gained = paired_differences(ours["accuracy_percent"], theirs["accuracy_percent"])
        yield {"measure": _ACCURACY} | gained.columns("mean") | {"runs": gained.pairs, "late": 0}
    for name in _MEANS:
        if name in ours and ours[name].notna().any():
            found = estimate(ours[name].astype(float))
            yield {"measure": name} | found.columns("mean") | {"runs": found.count, "late": 0}


def _of(group: pd.DataFrame, method: str) -> pd.DataFrame:
    """Return the runs of a method by seed, with how long each took to the target or, `late`, to its end."""
    runs = group[group["method"] == method].set_index("seed")
    times_s = runs[_TIME].astype(float)
    return runs.assign(
        late=times_s.isna(),
        until_s=times_s.fillna(runs["simulated_time_s"].astype(float)),
        accuracy_percent=100 * runs["accuracy"].astype(float),
    )


def _geometric(values: pd.Series[float], late: pd.Series[bool]) -> dict[str, Any]:
    """Return the geometric mean of positive values, with its interval unless some are lower bounds."""
    found = {name: math.exp(value) for name, value in estimate(values.map(math.log)).columns("mean").items()}
    if late.any():
        found |= {"mean_low": math.nan, "mean_high": math.nan}
    return found | {"runs": len(values), "late": int(late.sum())}


def _constrained(runs: pd.DataFrame, scenario: str) -> str:
    """Say in how many runs of a scenario cuts constrain."""
    if "constraint_met" not in runs:
        return "no cuts"
    met = runs.loc[runs["scenario"] == scenario, "constraint_met"].astype(float).dropna()
    return f"constraint met in {met.sum():.0f} of {len(met)} runs" if len(met) else "no cuts"


def _looks(rows: pd.DataFrame) -> dict[str, style.Mark]:
    """Return the look of each method, in the order of the legend."""
    methods = style.methods(rows["method"])
    markers = {name: form.marker for name, form in style.FORMS.items()}
    return {
        name: style.Mark(look.label, look.colour, look.line, markers.get(name, "o"))
        for name, look in methods.items()
    }


def _panel(
    axes: Axes, rows: pd.DataFrame, factors: list[float], looks: dict[str, style.Mark], unit: float
) -> None:
    if (rows["measure"] != _TIME).all():
        baseline = looks[sweeps.BASELINE]
        axes.axhline(
            1 if (rows["measure"] == _SHARE).all() else 0,
            color=baseline.colour,
            linestyle=baseline.line,
            linewidth=1.0,
        )
    for number, (name, look) in enumerate(looks.items()):
        points = rows[rows["method"] == name].sort_values("straggler_factor")
        points = points.assign(**{end: points[end] / unit for end in ("mean", "mean_low", "mean_high")})
        shift = _DODGE * (number - (len(looks) - 1) / 2)
        places = points["straggler_factor"].map(factors.index) + shift
        sweeps.draw_points(axes, places, points, look, points["late"] > 0)
    axes.set_xticks(range(len(factors)), [f"{factor:g}" for factor in factors])
    axes.set_xlim(-0.4, len(factors) - 0.6)
    axes.grid(axis="y")
