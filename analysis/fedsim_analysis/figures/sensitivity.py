"""Where AsynDBT saves time and where it loses: its saving over cenDBT and SDBT, one setting varied at a time.

One column of panels per varied setting. The upper row shows the saving in simulated time for the whole run,
the lower row the saving in the time until the target loss is first reached; below zero AsynDBT is the slower
one. A point is the mean over pairs of runs that share scenario and seed, a whisker its 95 % interval. Runs
that never reach the target have no such time, and a baseline that stands at the target when it starts leaves
nothing to save: where pairs are missing for such a reason, the number of pairs left is written below the
point. A whisker longer than the panel leaves it (the table has its end). The values of a setting stand at
equal distances, whatever their size.

Source: ours; the paper reports one setting only.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from fedsim_analysis import style
from fedsim_analysis.frames import named, require
from fedsim_analysis.statistics import estimate, saving_percent
from fedsim_analysis.survival import resolutions
from fedsim_analysis.varied import check_averaged

if TYPE_CHECKING:
    from matplotlib.axes import Axes

NEEDS: tuple[str, ...] = ("runs",)

_METHOD = "asyndbt"
_BASELINES = ("cendbt", "sdbt")
_DRAWN = {
    "time_s": "Saving in\ntraining time (%)",
    "time_to_target_s": "Saving in time\nto target loss (%)",
}
_MEASURES = (*_DRAWN, "time_per_server_step_s", "time_per_worker_update_s")
_REACH = 160.0
"""Percent below zero that a panel shows: a few seeds can make a whisker many times as long."""
_STUDIES = {
    "wait_for": "active workers $S$",
    "cut_interval": "cut interval (steps)",
    "inner_rounds": "inner rounds $K$",
    "straggler_factor": "straggler factor",
    "latency_sigma": "latency spread ($\\sigma$)",
}


def table(runs: pd.DataFrame) -> pd.DataFrame:
    """Return one row per study, value, measure and baseline: AsynDBT's saving in percent and its interval.

    Args:
        runs: one row per run, with `study` (the name of a panel) and `value` (its place in the panel).

    Returns:
        `study, value, measure, baseline, saving_percent, saving_percent_low, saving_percent_high, pairs,
        pairs_compared, reached, baseline_reached`: `pairs` runs of both methods share scenario and seed, and
        in `pairs_compared` of them both have the measure; `reached` of AsynDBT's runs and `baseline_reached`
        of the baseline's have it.

    Raises:
        InputError: a column is missing, or two runs share study, value, scenario, method and seed.
    """
    needed = ["study", "value", "simulated_time_s", "time_to_target_s", "server_steps", "worker_updates"]
    require(runs, "runs", needed)
    runs = named(runs).rename(columns={"simulated_time_s": "time_s"})
    runs["time_per_server_step_s"] = runs["time_s"] / runs["server_steps"]
    runs["time_per_worker_update_s"] = runs["time_s"] / runs["worker_updates"]
    check_averaged(runs, ["study", "value", "scenario", "method"])
    studies = style.in_order(runs["study"], _STUDIES)
    return pd.DataFrame(
        [
            {"study": study, "value": value, "measure": measure, "baseline": baseline}
            | _compared(point, measure, baseline)
            for study in studies
            for value, point in runs[runs["study"] == study].groupby("value")
            for measure in _MEASURES
            for baseline in _BASELINES
        ]
    )


def figure(runs: pd.DataFrame) -> Figure:
    """Draw the first two measures of `table`."""
    rows = table(runs)
    studies = list(dict.fromkeys(rows["study"]))
    with style.look():
        picture = Figure(figsize=(style.PAGE_IN, 3.6), layout="constrained")
        panels = picture.subplots(len(_DRAWN), len(studies), squeeze=False, sharey="row", sharex="col")
        for line, measure in zip(panels, _DRAWN, strict=True):
            for panel, study in zip(line, studies, strict=True):
                _panel(panel, rows[(rows["study"] == study) & (rows["measure"] == measure)])
            line[0].set_ylabel(_DRAWN[measure])
            _shade_losses(line)
        panels[0, 0].annotate("AsynDBT is slower", (0.04, 0.04), xycoords="axes fraction", fontsize=6)
        for panel, study in zip(panels[-1], studies, strict=True):
            panel.set_xlabel(_STUDIES.get(study, study.replace("_", " ")))
        picture.supxlabel(resolutions(named(runs), style.PAGE_IN), fontsize=6.5)
        picture.legend(handles=_handles(), loc="outside upper center", ncols=len(_BASELINES))
    return picture


def _compared(point: pd.DataFrame, measure: str, baseline: str) -> dict[str, float]:
    ours, theirs = (
        point[point["method"] == method].set_index(["scenario", "seed"])[measure]
        for method in (_METHOD, baseline)
    )
    savings = saving_percent(ours, theirs)
    found = estimate(savings.dropna())
    return found.columns("saving_percent") | {
        "pairs": len(savings),
        "pairs_compared": found.count,
        "reached": int(ours.notna().sum()),
        "baseline_reached": int(theirs.notna().sum()),
    }


def _panel(axes: Axes, rows: pd.DataFrame) -> None:
    values = sorted(rows["value"].unique())
    for number, baseline in enumerate(_BASELINES):
        points = rows[rows["baseline"] == baseline].set_index("value").loc[values]
        look = style.method(baseline)
        places = [place + 0.12 * (number - 0.5) for place in range(len(values))]
        mean = points["saving_percent"]
        reach = [mean - points["saving_percent_low"], points["saving_percent_high"] - mean]
        axes.errorbar(
            places, mean, reach, color=look.colour, linestyle=look.line, marker="o", markersize=3, capsize=1.5
        )
        _write_missing(axes, points, number, look.colour)
    axes.axhline(0, color="black", linewidth=0.8)
    axes.set_xticks(range(len(values)), [f"{value:g}" for value in values])
    axes.set_xlim(-0.5, len(values) - 0.5)
    axes.grid(axis="y")


def _write_missing(axes: Axes, points: pd.DataFrame, line: int, colour: str) -> None:
    for place, (pairs, compared) in enumerate(zip(points["pairs"], points["pairs_compared"], strict=True)):
        if compared < pairs:
            above_axis = (place, 0.1 - 0.08 * line)
            axes.annotate(
                f"{compared}/{pairs}",
                above_axis,
                xycoords=("data", "axes fraction"),
                ha="center",
                va="bottom",
                fontsize=5.5,
                color=colour,
            )


def _shade_losses(panels: list[Axes]) -> None:
    """Leave room below zero in a row of panels, and shade it: there AsynDBT loses."""
    low, high = panels[0].get_ylim()
    low, high = max(min(low, -10), -_REACH), min(max(high, 10), 1.1 * 100)
    panels[0].set_ylim(low - 0.2 * (high - low), high)
    for panel in panels:
        panel.axhspan(panel.get_ylim()[0], 0, color="#F3F3F3", zorder=0)


def _handles() -> list[Line2D]:
    looks = [style.method(name) for name in _BASELINES]
    return [
        Line2D(
            [],
            [],
            color=look.colour,
            linestyle=look.line,
            marker="o",
            markersize=3,
            label=f"{style.method_name(_METHOD)} against {look.label}",
        )
        for look in looks
    ]
