"""What the server and the workers did when: a Gantt picture of the recorded spans.

One panel per method, one row per entity, one coloured bar per span; black lines mark the server's steps, and
its row is blank where it waits. Of runs that differ in their seed alone the one with the lowest seed is
shown, if possible a seed that all methods have. Where settings vary, the methods of one setting stand below
each other and each panel names its setting; where there are more settings than fit, the first are shown, and
the picture says so. Where there are more entities than fit, the server and the first workers are shown, and
the panel says so.
"""

from __future__ import annotations

from itertools import accumulate, takewhile
from typing import TYPE_CHECKING

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from fedsim.errors import InputError
from fedsim_analysis import style
from fedsim_analysis.frames import named, require
from fedsim_analysis.varied import shortened, with_settings

if TYPE_CHECKING:
    from matplotlib.axes import Axes

NEEDS: tuple[str, ...] = ("runs", "steps", "spans")

_MAX_PANELS = 4
_LONGEST_SETTING = 60
_MAX_ENTITIES = 30  # over all panels
_STEPS_TRACED = 60  # more lines across the workers' rows would only hide them
_SPANS_SHOWN = 40  # of the busiest worker, where no window is asked for: about eight jobs


def table(
    runs: pd.DataFrame, steps: pd.DataFrame, spans: pd.DataFrame, window: tuple[float, float] | None = None
) -> pd.DataFrame:
    """Return the spans in the picture, cut off at the edges of the window.

    Args:
        runs: one row per run; says which method a run belongs to.
        steps: one row per server step, with `step` and `time_s`.
        spans: one row per span: `run_id, entity, activity, start_s, end_s`.
        window: first and last second to show; None shows the beginning, as far as it stays readable.

    Returns:
        `task, setting, method, seed, run_id, entity, activity, start_s, end_s`; a server step is a row that
        starts and ends at the time of the step, and the server's waiting is left out. `setting` is empty
        where runs differ in method and seed alone.

    Raises:
        InputError: no spans were recorded, there are too many methods, or the window is empty.
    """
    if spans.empty:
        raise InputError("no spans were recorded: set `record.spans = true` in the scenario and run it again")
    require(spans, "spans", ["run_id", "entity", "activity", "start_s", "end_s"])
    require(steps, "steps", ["run_id", "step", "time_s"])
    shown, _ = _shown(runs, spans)
    spans = shown.merge(
        _with_steps(spans, steps)[["run_id", "entity", "activity", "start_s", "end_s"]], on="run_id"
    )
    start_s, end_s = window or _readable_window(spans)
    # A step takes no time: it belongs to the window that it starts in.
    inside = spans[(spans["start_s"] < end_s) & ((spans["end_s"] > start_s) | (spans["start_s"] >= start_s))]
    if inside.empty:
        raise InputError(f"no span lies between {start_s:g} s and {end_s:g} s")
    return inside.assign(
        start_s=inside["start_s"].clip(lower=start_s), end_s=inside["end_s"].clip(upper=end_s)
    )


def figure(
    runs: pd.DataFrame, steps: pd.DataFrame, spans: pd.DataFrame, window: tuple[float, float] | None = None
) -> Figure:
    """Draw the spans of `table`."""
    shown = table(runs, steps, spans, window)
    looks = style.methods(named(runs)["method"])
    left_out = _shown(runs, spans)[1]
    start_s, end_s = window or (float(shown["start_s"].min()), float(shown["end_s"].max()))
    unit, symbol = style.time_unit(end_s - start_s)
    entities = {run: _entities(of_run) for run, of_run in shown.groupby("run_id", sort=False)}
    rows = {run: names[: _MAX_ENTITIES // len(entities)] for run, names in entities.items()}
    heights = [len(names) for names in rows.values()]
    with style.look():
        size = (style.PAGE_IN, 0.75 + 0.25 * len(heights) + 0.15 * sum(heights))
        picture = Figure(figsize=size, layout="constrained")
        settings = list(dict.fromkeys(shown["setting"]))
        told = dict(zip(settings, shortened(settings, _LONGEST_SETTING), strict=True))
        panels = picture.subplots(len(heights), 1, squeeze=False, sharex=True, height_ratios=heights)[:, 0]
        for panel, (run, names) in zip(panels, rows.items(), strict=True):
            of_run = shown[shown["run_id"] == run]
            _panel(panel, of_run, names, unit)
            panel.set_title(
                _title(
                    of_run.assign(setting=of_run["setting"].map(told)), looks, len(names), len(entities[run])
                ),
                loc="left",
            )
        panels[-1].set_xlabel(f"Simulated time ({symbol})" + left_out)
        panels[-1].set_xlim(start_s / unit, end_s / unit)
        _legend(picture, shown)
    return picture


def _with_steps(spans: pd.DataFrame, steps: pd.DataFrame) -> pd.DataFrame:
    """Put the server's steps into the place of what was recorded of its stepping and waiting."""
    steps = steps[steps["step"] > 0]  # the row of step 0 is the start of the run
    idle = (spans["entity"] == "server") & spans["activity"].isin(["stepping", "waiting"])
    marks = pd.DataFrame({"run_id": steps["run_id"], "start_s": steps["time_s"], "end_s": steps["time_s"]})
    marks = marks[marks["run_id"].isin(spans["run_id"])]
    return pd.concat([spans[~idle], marks.assign(entity="server", activity="stepping")])


def _shown(runs: pd.DataFrame, spans: pd.DataFrame) -> tuple[pd.DataFrame, str]:
    """Return one run per task, setting and method, as many settings as fit; and in words what does not fit.

    The columns are `task, setting, method, seed, run_id`.
    """
    runs = with_settings(named(runs[runs["run_id"].isin(spans["run_id"])]))
    order = style.methods_in_order(runs["method"])
    groups = [
        _of_one_seed(group).sort_values("method", key=lambda names: names.map(order.index), kind="stable")
        for _, group in runs.groupby(["scenario", "setting"], sort=False)
    ]
    if len(groups[0]) > _MAX_PANELS:
        raise InputError(
            f"these results hold timelines of {len(groups[0])} methods, and at most {_MAX_PANELS} fit in one "
            "picture: give the folder of fewer"
        )
    fitting = list(takewhile(lambda total: total <= _MAX_PANELS, accumulate(map(len, groups))))
    found = pd.concat(groups[: len(fitting)])[["scenario", "setting", "method", "seed", "run_id"]]
    more = len(groups) - len(fitting)
    what = "Settings" if runs["scenario"].nunique() == 1 else "Scenarios and settings"
    left_out = f"\n{what} left out: {more}" if more else ""
    return found.rename(columns={"scenario": "task"}), left_out


def _of_one_seed(runs: pd.DataFrame) -> pd.DataFrame:
    """Return one run per method: of the lowest seed that all methods have, else of the lowest of each."""
    methods_with = runs.groupby("seed")["method"].transform("nunique")
    shared = runs[methods_with == runs["method"].nunique()]
    among = shared if len(shared) else runs
    return among.loc[among.groupby("method")["seed"].idxmin()]


def _readable_window(spans: pd.DataFrame) -> tuple[float, float]:
    """Return the time from the start until the busiest worker has done as many spans as can be read."""
    workers = spans[spans["entity"] != "server"].sort_values("start_s")
    place = workers.groupby(["run_id", "entity"]).cumcount()
    last_shown = workers[place == _SPANS_SHOWN - 1]
    start_s = float(spans["start_s"].min())
    return start_s, float(last_shown["end_s"].min() if len(last_shown) else spans["end_s"].max())


def _entities(spans: pd.DataFrame) -> list[str]:
    """Return the entities of a run: the server, then the workers by number."""
    names = spans["entity"].unique()
    return sorted(names, key=lambda name: (name != "server", len(name), name))


def _title(spans: pd.DataFrame, looks: dict[str, style.Method], shown: int, present: int) -> str:
    first = spans.iloc[0]
    names = [style.task_name(first["task"]), looks[first["method"]].label, style.literal(first["setting"])]
    title = ", ".join([*filter(None, names), f"seed {first['seed']}"])
    return title if shown == present else f"{title} (the first {shown} of {present} rows)"


def _panel(axes: Axes, spans: pd.DataFrame, names: list[str], unit: float) -> None:
    for (entity, activity), group in spans[spans["entity"].isin(names)].groupby(["entity", "activity"]):
        row = names.index(str(entity))
        if activity == "stepping":
            # A step takes too little time to be seen as a bar.
            axes.vlines(group["start_s"] / unit, row - 0.4, row + 0.4, color="black", linewidth=0.8)
            if len(group) <= _STEPS_TRACED:
                axes.vlines(
                    group["start_s"] / unit, row, len(names), color="black", linewidth=0.25, zorder=0.5
                )
            continue
        bars = list(zip(group["start_s"] / unit, (group["end_s"] - group["start_s"]) / unit, strict=True))
        axes.broken_barh(bars, (row - 0.36, 0.72), **style.bar(str(activity)))
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.tick_params(axis="y", length=0)


def _legend(picture: Figure, spans: pd.DataFrame) -> None:
    handles: list[Patch | Line2D] = []
    for name in style.in_order(spans["activity"], style.ACTIVITIES):
        label = style.activity(name).label
        if name == "stepping":
            handles.append(Line2D([], [], color="black", linewidth=0.8, label=label))
        else:
            handles.append(Patch(**style.bar(name), label=label))
    columns = len(handles) if len(handles) <= 7 else 4  # as many as fit the page
    picture.legend(handles=handles, loc="outside lower center", ncols=columns)
