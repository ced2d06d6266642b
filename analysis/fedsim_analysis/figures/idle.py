"""Where each worker's time goes: its activities as shares of the run, the methods side by side.

One row of panels per scenario (and a setting, where one is varied in it), one column per method, one bar per
worker. On the left stand the activities in which a worker is busy with a job, on the right those in which it
is idle: it queues at the LLM service, waits for the server, holds an answer back, or is down. Shares are
means over the seeds; the whisker is the 95 % interval of the border between busy and idle. The title of a
panel tells the mean length of a run: equal shares of a shorter run are fewer seconds.

Where there are too many workers, a bar is the mean of a group of them; where there are too many groups or
scenarios, it is the mean of all workers of a scenario. Malicious workers of a group have a bar of their own.
In the centralised form the only worker holds everybody's data.

Source: ours; the paper's Figure 1 shows times by task and method, not by worker.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from fedsim.errors import InputError
from fedsim_analysis import style
from fedsim_analysis.frames import named, require
from fedsim_analysis.statistics import estimate
from fedsim_analysis.varied import check_averaged, shortened, with_settings

if TYPE_CHECKING:
    from matplotlib.axes import Axes

NEEDS: tuple[str, ...] = ("runs", "workers")

_BUSY = ("calling", "computing", "uploading", "downloading", "cutting")
_LEVELS = ("worker", "group", "all")
_MOST_BARS = 20  # in a panel
_MOST_ROWS = 60  # of bars on a page
_MOST_SETTINGS = 40  # where each of them is one bar of every method
_MOST_PANEL_ROWS = 15
_MOST_COLUMNS = 4
_LONGEST_TITLE, _LONGEST_LABEL = 110, 60
_LINE = ["scenario", "setting"]
Looks = dict[str, style.Method]
_PANEL = [*_LINE, "method"]


def table(runs: pd.DataFrame, workers: pd.DataFrame) -> pd.DataFrame:
    """Return the bars: one row per scenario, setting, method and bar.

    Args:
        runs: one row per run, with `simulated_time_s`.
        workers: one row per worker of a run: `run_id, worker, group, malicious` and `seconds_<activity>`.

    Returns:
        `scenario, setting, method, bar, level, workers` (how many the bar stands for), `runs`, `time_s` (mean
        length of a run), `<activity>_percent` (mean over runs), and the part of them that is idle:
        `idle_percent, idle_percent_low, idle_percent_high`. `setting` says what was varied within a scenario
        and method; `level` is ``worker``, ``group`` or ``all``.

    Raises:
        InputError: a column is missing, or the seconds of a worker do not add up to its run.
    """
    require(runs, "runs", ["simulated_time_s"])
    require(workers, "workers", ["run_id", "worker", "group", "malicious", "seconds_waiting"])
    runs = with_settings(named(runs))
    check_averaged(runs, _PANEL)
    runs["time_s"] = runs.groupby(_PANEL)["simulated_time_s"].transform("mean")
    parts = ["run_id", "worker", "group", "malicious", *_columns(workers)]
    spent = runs[[*_PANEL, "run_id", "simulated_time_s", "time_s"]].merge(workers[parts], on="run_id")
    _check_sums(spent)
    for level in _LEVELS:
        barred = spent.assign(bar=_bars(spent, level))
        if level == _LEVELS[-1] or _fits(barred):
            break
    return pd.DataFrame(
        dict(zip([*_PANEL, "bar"], names, strict=True)) | {"level": level} | _shares(group)
        for names, group in barred.groupby([*_PANEL, "bar"], sort=False)
    )


def figure(runs: pd.DataFrame, workers: pd.DataFrame) -> Figure:
    """Draw the bars of `table`.

    Raises:
        InputError: as `table`, or there are more settings than fit in one picture.
    """
    rows = table(runs, workers)
    if rows["level"].iloc[0] == "all":
        # A scenario is one bar here, so all of them share a panel.
        titles = [_title(*names) for names in rows[_LINE].itertuples(index=False)]
        if (count := len(set(titles))) > _MOST_SETTINGS:
            raise InputError(
                f"these results hold {count} settings, and at most {_MOST_SETTINGS} fit in one picture: give "
                "the folder of one scenario, or of fewer settings"
            )
        rows = rows.assign(scenario="", setting="", bar=titles)
    else:
        rows = rows.assign(bar=rows["bar"].map(style.literal))
    looks = style.methods(named(runs)["method"])
    groups = list(rows.groupby(_LINE, sort=False))
    titles = shortened([_title(*map(str, names)) for names, _ in groups], _LONGEST_TITLE)
    lines = [(title, of_line) for title, (_, of_line) in zip(titles, groups, strict=True)]
    heights = [bars + 2 for _, of_line in lines for bars in _bars_of_rows(of_line, rows)]
    columns = max(len(_methods(of_line, rows)[0]) for _, of_line in lines)
    with style.look():
        size = (style.PAGE_IN, 0.7 + 0.15 * sum(heights))
        picture = Figure(figsize=size, layout="constrained")
        panels = picture.subplots(len(heights), columns, squeeze=False, sharex=True, height_ratios=heights)
        unused = iter(panels)
        for title, of_line in lines:
            for number, methods in enumerate(_methods(of_line, rows)):
                _panels(next(unused), of_line, methods, looks, "" if number else title)
        for column in panels.T:
            lowest = [panel for panel in column if panel.axison][-1]
            lowest.tick_params(labelbottom=True)
        picture.supxlabel("Share of the run (%)", fontsize=7)
        shown = [name for name in _order(rows) if (rows[f"{name}_percent"] > 0).any()]
        parts = [Patch(**style.bar(name), label=style.activity(name).label) for name in shown]
        picture.legend(handles=parts, loc="outside upper center", ncols=min(len(parts), 5))
    return picture


def _columns(workers: pd.DataFrame) -> list[str]:
    return [name for name in map(str, workers) if name.startswith("seconds_")]


def _check_sums(spent: pd.DataFrame) -> None:
    parts_s = spent[_columns(spent)].sum(axis=1)
    wrong = ~np.isclose(parts_s, spent["simulated_time_s"], rtol=1e-3)
    if wrong.any():
        one = spent[wrong].iloc[0]
        raise InputError(
            f"run {one['run_id']}, worker {one['worker']}: its seconds by activity add up to "
            f"{parts_s[wrong].iloc[0]:.6g} s, but the run took {one['simulated_time_s']:.6g} s; "
            "`fedsim verify` says more"
        )


def _bars(spent: pd.DataFrame, level: str) -> pd.Series[str]:
    """Return the bar that each worker belongs to."""
    if level == "all":
        return pd.Series("all workers", spent.index)
    marks = spent["malicious"].map({True: ", malicious", False: ""})
    if level == "group":
        sizes = spent.assign(mark=marks).groupby(["run_id", "group", "mark"])["worker"].transform("size")
        most = sizes.groupby([*(spent[name] for name in _LINE), spent["group"], marks]).transform("max")
        return spent["group"] + " (" + most.astype(str) + ")" + marks
    groups = spent.groupby(_LINE)["group"].transform("nunique")
    names = (" (" + spent["group"] + ")").where(groups > 1, "")
    return "worker " + spent["worker"].astype(str) + names + marks


def _fits(barred: pd.DataFrame) -> bool:
    """Whether this many bars can be read on one page."""
    lines = [of_line for _, of_line in barred.groupby(_LINE)]
    if len(lines) > _MOST_PANEL_ROWS:
        return False
    rows = [bars for of_line in lines for bars in _bars_of_rows(of_line, barred)]
    return max(rows) <= _MOST_BARS and sum(rows) <= _MOST_ROWS and len(rows) <= _MOST_PANEL_ROWS


def _methods(of_line: pd.DataFrame, rows: pd.DataFrame) -> list[list[str]]:
    """Return the methods of a scenario, as many together as there are columns."""
    methods = style.methods_in_order(rows["method"])
    if len(methods) > _MOST_COLUMNS:  # too many for a column each
        methods = style.methods_in_order(of_line["method"])
    chunks = math.ceil(len(methods) / _MOST_COLUMNS)
    each = math.ceil(len(methods) / chunks)
    return [methods[first : first + each] for first in range(0, len(methods), each)]


def _bars_of_rows(of_line: pd.DataFrame, rows: pd.DataFrame) -> list[int]:
    """Return how many bars stand below each other in each row of panels of a scenario."""
    return [of_line["bar"].nunique()] * len(_methods(of_line, rows))


def _shares(group: pd.DataFrame) -> dict[str, Any]:
    """Return the cells of a bar: sums over its workers in each run, then means over runs."""
    seconds = group.groupby("run_id")[_columns(group)].sum()
    percent = 100 * seconds.div(seconds.sum(axis=1), axis=0)
    percent.columns = percent.columns.str.removeprefix("seconds_")
    idle = percent[[name for name in percent if name not in _BUSY]].sum(axis=1, skipna=False)
    counts = {"workers": group.groupby("run_id").size().max(), "runs": len(seconds)}
    means = {f"{name}_percent": mean for name, mean in percent.mean().items()}
    return counts | {"time_s": group["time_s"].iloc[0]} | means | estimate(idle).columns("idle_percent")


def _order(rows: pd.DataFrame) -> list[str]:
    """Return the activities, those of a busy worker first."""
    names = [name.removesuffix("_percent") for name in map(str, rows) if name.endswith("_percent")]
    order = style.in_order(set(names) - {"idle"}, style.ACTIVITIES)
    return sorted(order, key=lambda name: name not in _BUSY)


def _title(scenario: str, setting: str) -> str:
    return ", ".join(filter(None, (style.task_name(scenario), style.literal(setting))))


def _panels(row: Sequence[Axes], of_line: pd.DataFrame, methods: list[str], looks: Looks, title: str) -> None:
    """Draw a row of panels."""
    for panel, method in zip(row, methods, strict=False):
        _panel(panel, of_line, method, looks)
    for panel in row[len(methods) :]:
        panel.set_axis_off()
    row[0].tick_params(labelleft=True)
    if title:
        row[0].set_title(f"{title}\n{row[0].get_title(loc='left')}", loc="left")


def _panel(axes: Axes, of_line: pd.DataFrame, method: str, looks: Looks) -> None:
    bars = list(dict.fromkeys(of_line["bar"]))
    rows = of_line[of_line["method"] == method].set_index("bar")
    left = pd.Series(0.0, rows.index)
    places = [bars.index(bar) for bar in rows.index]
    for name in _order(of_line):
        width = rows[f"{name}_percent"].fillna(0.0)
        if (width > 0).any():
            axes.barh(places, width, 0.8, left, **style.bar(name))
        left += width
    busy = 100 - rows["idle_percent"]
    reach = rows["idle_percent_high"] - rows["idle_percent"]
    axes.errorbar(busy, places, xerr=reach, linestyle="", color="black", elinewidth=0.8, capsize=1.5)
    axes.set_yticks(range(len(bars)), shortened(bars, _LONGEST_LABEL))
    axes.set_ylim(len(bars) - 0.5, -0.5)
    axes.set_xlim(0, 100)
    axes.tick_params(axis="y", length=0, labelleft=False)
    axes.set_title(_headed(looks[method].label, rows, of_line), loc="left")


def _headed(label: str, rows: pd.DataFrame, of_line: pd.DataFrame) -> str:
    """Return the title of a panel: the method and, where all bars are of the same runs, their mean length."""
    if rows.empty:
        return f"{label}: no runs"
    if (rows["level"] == "all").any():
        return label
    unit, symbol = style.time_unit(rows["time_s"].iloc[0])
    lone = rows["workers"].sum() == 1 < of_line.groupby("method")["workers"].sum().max()
    return f"{label}: {rows['time_s'].iloc[0] / unit:.3g} {symbol}{', one worker' if lone else ''}"
