"""Calls that wait at the LLM service, over simulated time.

One panel per method and setting (and a service, where groups of workers have one each): how many calls wait
for a place there, and thinner how many are being answered; a call that was refused waits at its worker and
stands in no queue. With one seed a line is the exact number at every instant. With several it is the median
over seeds, and the band reaches from the lowest of them to the highest; each seed is averaged over short
stretches of time first, the same for all, which keeps the area below its line. One seed with thousands of
changes is averaged so, too. A panel ends where the first of its seeds does. Mean and 95th percentile are
those of the number waiting over the whole time of a run, each instant counting alike, averaged over seeds.
Outages that the results tell of are shaded.

Source: ours; percentiles over time as in Law, "Simulation modeling and analysis", 5th edition, 2015,
section 1.4 (time-average number in queue).
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from numpy.typing import NDArray

from fedsim.errors import InputError
from fedsim_analysis import style
from fedsim_analysis.frames import require
from fedsim_analysis.levels import COUNTED, Levels
from fedsim_analysis.panels import of_seed, panel_name, told_apart
from fedsim_analysis.varied import check_averaged

if TYPE_CHECKING:
    from matplotlib.axes import Axes

NEEDS: tuple[str, ...] = ("runs", "queue")

_PANEL = ("scenario", "method", "setting", "service")
_COLUMNS = (*_PANEL, "label")
_MAX_PANELS = 6
_STRETCHES = 300
_MOST_CHANGES = 3000  # of one seed; more cannot be told apart on paper
_DRAWN = {"serving": "calling", "queued": "queueing"}
"""Column: the activity of a worker whose calls it counts, which lends its colour."""
_LABELS = {"queued": "waiting", "serving": "being answered"}
_WIDTHS = {"queued": 1.2, "serving": 0.5}
_OUTAGE_LOOK: dict[str, Any] = {
    "facecolor": "#F0F0F0",
    "edgecolor": "#C0C0C0",
    "hatch": "////",
    "linewidth": 0,
    "zorder": 0.5,
}
_OUTAGE = re.compile(r"llm\.outages\.(\d+)\.start_s")


def table(runs: pd.DataFrame, queue: pd.DataFrame, seed: int | None = None) -> pd.DataFrame:
    """Return the lines: one row per panel and stretch of time (one seed: one row per change).

    Args:
        runs: one row per run, with `simulated_time_s`.
        queue: one row per change: `run_id, service, time_s, queued, serving`.
        seed: the only one to draw; None draws all.

    Returns:
        `scenario, method, setting, service, label, start_s, end_s, queued, queued_low, queued_high,
        serving, serving_low, serving_high, seeds, queued_mean, queued_percentile_95`; the last two are those
        of the whole panel.

    Raises:
        InputError: no queue was recorded, no run has the seed, or there are more panels than fit.
    """
    if queue.empty:
        raise InputError(
            'no queue was recorded: it takes an LLM service of kind "shared" and `record.spans = true`'
        )
    require(queue, "queue", ["run_id", "service", "time_s", "queued", "serving"])
    panels = [
        _lines(of_panel).assign(
            scenario=scenario, method=method, setting=setting, service=service, label=label
        )
        for (scenario, method, setting, service, label), of_panel in _panels(
            told_apart(runs), queue, seed
        ).items()
    ]
    lines = pd.concat(panels, ignore_index=True)
    return lines[[*_COLUMNS, *(name for name in lines.columns if name not in _COLUMNS)]]


def figure(runs: pd.DataFrame, queue: pd.DataFrame, seed: int | None = None) -> Figure:
    """Draw the lines of `table`."""
    lines = table(runs, queue, seed)
    panels = [rows for _, rows in lines.groupby(list(_PANEL), sort=False)]
    unit, symbol = style.time_unit(lines["end_s"].max())
    with style.look():
        height = 0.6 + 1.35 * len(panels)
        picture = Figure(figsize=(style.PAGE_IN, height), layout="constrained")
        places = picture.subplots(len(panels), 1, squeeze=False, sharex=True)[:, 0]
        shaded = False
        for axes, rows in zip(places, panels, strict=True):
            _panel(axes, rows, unit)
            axes.set_title(_title(rows, lines), loc="left")
            outages = _outages(told_apart(runs), rows)
            shaded = shaded or bool(outages)
            for start_s, stop_s in outages:
                axes.axvspan(start_s / unit, stop_s / unit, **_OUTAGE_LOOK)
        places[-1].set_xlabel(f"Simulated time ({symbol})")
        places[-1].set_xlim(0, lines["end_s"].max() / unit)
        picture.supylabel("Calls at the LLM service", fontsize=7)
        _legend(picture, shaded, banded=bool((lines["seeds"] > 1).any()))
    return picture


def _panels(
    runs: pd.DataFrame, queue: pd.DataFrame, seed: int | None
) -> dict[tuple[str, str, str, int, str], list[Levels]]:
    """Return the runs of each panel."""
    runs = runs[runs["run_id"].isin(queue["run_id"])]
    runs = of_seed(runs, seed)
    check_averaged(runs, ["scenario", "method", "setting"])
    found: dict[tuple[str, str, str, int, str], list[Levels]] = {}
    for run in runs.to_dict("records"):
        mine = queue[queue["run_id"] == run["run_id"]]
        for service in sorted(mine["service"].unique()):
            levels = Levels(mine[mine["service"] == service], run["simulated_time_s"])
            place = run["scenario"], run["method"], run["setting"], int(service), run["label"]
            found.setdefault(place, []).append(levels)
    if len(found) > _MAX_PANELS:
        raise InputError(
            f"these results hold {len(found)} queues, of methods, settings and services, and at most "
            f"{_MAX_PANELS} fit in one picture: give the folder of one scenario or of one run"
        )
    return found


def _lines(runs: list[Levels]) -> pd.DataFrame:
    end_s = min(run.end_s for run in runs)
    exact = len(runs) == 1 and len(runs[0].start_s) <= _MOST_CHANGES
    edges_s = np.append(runs[0].start_s, end_s) if exact else np.linspace(0, end_s, _STRETCHES + 1)
    columns: dict[str, NDArray[np.float64]] = {"start_s": edges_s[:-1], "end_s": edges_s[1:]}
    for name in COUNTED:
        levels = np.array([run.values[name] if exact else run.averages(name, edges_s) for run in runs])
        columns |= {name: np.median(levels, 0), f"{name}_low": levels.min(0), f"{name}_high": levels.max(0)}
    means = [run.mean() for run in runs]
    percentiles = [run.percentile() for run in runs]
    return pd.DataFrame(columns).assign(
        seeds=len(runs), queued_mean=math.fsum(means) / len(runs), queued_percentile_95=np.mean(percentiles)
    )


def _panel(axes: Axes, rows: pd.DataFrame, unit: float) -> None:
    edges = [*(rows["start_s"] / unit), rows["end_s"].iloc[-1] / unit]
    for name, activity in _DRAWN.items():
        colour = style.activity(activity).colour
        axes.stairs(rows[name], edges, color=colour, linewidth=_WIDTHS[name], baseline=None)
        if rows["seeds"].iloc[0] > 1:
            low, high = rows[f"{name}_low"], rows[f"{name}_high"]
            axes.stairs(high, edges, baseline=low, fill=True, color=colour, alpha=0.3, linewidth=0)
    found = rows.iloc[0]
    mean, percentile = found["queued_mean"], found["queued_percentile_95"]
    text = f"waiting: mean {mean:.3g}, 95 % of the time at most {percentile:.3g}"
    axes.annotate(text, (1, 1.03), xycoords="axes fraction", ha="right", va="bottom", fontsize=6)
    axes.set_ylim(bottom=0)
    axes.grid(axis="y")


def _title(rows: pd.DataFrame, lines: pd.DataFrame) -> str:
    first = rows.iloc[0]
    seeds = f" ({first['seeds']} seeds)" if first["seeds"] > 1 else ""
    service = f", service {first['service']}" if lines["service"].nunique() > 1 else ""
    alone = lines["scenario"].nunique() == 1
    return panel_name(first["scenario"], first["label"], alone, first["setting"]) + service + seeds


def _outages(runs: pd.DataFrame, rows: pd.DataFrame) -> list[tuple[float, float]]:
    """Return the outages of a panel's scenario, as far as the results tell of them."""
    names = list(_PANEL[:-1])
    mine = runs[(runs[names] == rows[names].iloc[0]).all(axis=1)]
    return list(_stated(mine.iloc[0]))


def _stated(run: pd.Series[float]) -> Iterator[tuple[float, float]]:
    for name in run.index:
        if found := _OUTAGE.fullmatch(str(name)):
            start_s, stop_s = run[name], run.get(f"llm.outages.{found[1]}.stop_s", math.nan)
            if math.isfinite(start_s) and math.isfinite(stop_s):
                yield float(start_s), float(stop_s)


def _legend(picture: Figure, shaded: bool, banded: bool) -> None:
    entries: list[Line2D | Patch] = [
        Line2D([], [], color=style.activity(_DRAWN[name]).colour, linewidth=_WIDTHS[name], label=label)
        for name, label in _LABELS.items()
    ]
    if banded:
        colour = style.activity(_DRAWN["queued"]).colour
        entries.append(Patch(facecolor=colour, alpha=0.4, label="lowest to highest seed"))
    if shaded:
        entries.append(Patch(**_OUTAGE_LOOK, label="outage"))
    picture.legend(handles=entries, loc="outside lower center", ncols=len(entries))
