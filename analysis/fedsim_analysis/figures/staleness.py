"""How stale the messages are that the server steps with: a histogram for each S, with the bound tau.

One panel per line, a colour its method; where tau varies, a panel each. A bar is the share of the messages
used in server steps that were that many steps old, at the mean over seeds, with its 95 % t interval; shares
are between 0 and 100, which an interval is not held to. The dashed line is tau: a message is at most tau - 1
steps old. The number is the mean staleness with its interval. Needs runs with `record.spans = true`, which
keep every message.

Source: Ma et al., "AsynDBT", Scientific Reports 16:9381 (2026), Algorithm 1 (S and tau); the picture is ours.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from fedsim.errors import InputError
from fedsim_analysis import style, sweeps, trials
from fedsim_analysis.frames import require
from fedsim_analysis.statistics import estimate
from fedsim_analysis.varied import check_averaged

if TYPE_CHECKING:
    from matplotlib.axes import Axes

NEEDS: tuple[str, ...] = ("runs", "tickets")

_TAU = "algorithm.tau"
_KEYS = ["method", "line", "tau"]
_MOST_ACROSS = 2


def table(runs: pd.DataFrame, tickets: pd.DataFrame) -> pd.DataFrame:
    """Return one row per line, tau and staleness: the share of the messages used, and its interval.

    Args:
        runs: one row per run.
        tickets: one row per message that the server has taken, of the runs that kept them.

    Returns:
        `method, line, tau` (missing where it does not vary, so that results do not tell it, or where the
        method has none), `staleness`, `percent, percent_low, percent_high` and `runs`; and in every row of a
        line and tau `mean_staleness, mean_staleness_low, mean_staleness_high`.

    Raises:
        InputError: no run kept its messages, or two runs share line, tau and seed.
    """
    if tickets.empty:
        raise InputError("found no run that kept its messages, expected runs with record.spans = true")
    require(tickets, "tickets", ["run_id", "kind", "staleness"])
    used = tickets[tickets["kind"] == "active"]
    kept = runs[runs["run_id"].isin(used["run_id"])]
    runs = sweeps.with_lines(
        sweeps.only_scenario(kept, lambda group: True, "messages kept (record.spans = true)")
    )
    runs = runs.assign(tau=runs[_TAU].astype(float) if _TAU in runs else np.nan)
    check_averaged(runs, _KEYS[1:])
    counts = used.groupby(["run_id", "staleness"]).size().unstack(fill_value=0)
    counts = counts.reindex(columns=range(int(counts.columns.max()) + 1), fill_value=0)
    rows = [
        row
        for names, group in runs.groupby(_KEYS, sort=False, dropna=False)
        for row in _rows(dict(zip(_KEYS, names, strict=True)), counts.loc[group["run_id"]])
    ]
    found = pd.DataFrame(rows)
    order = list(dict.fromkeys(found["line"]))
    return found.sort_values(
        ["line", "tau"],
        key=lambda column: column.map(order.index) if column.name == "line" else column,
        kind="stable",
        ignore_index=True,
    )


def figure(runs: pd.DataFrame, tickets: pd.DataFrame) -> Figure:
    """Draw the rows of `table`."""
    rows = table(runs, tickets)
    looks = sweeps.looks(rows, runs)
    places = rows[["line", "tau"]].drop_duplicates().to_dict("records")
    across = min(_MOST_ACROSS, len(places))
    down = -(-len(places) // across)
    shown = rows.groupby("staleness")["percent"].max()
    most = max(shown.index[shown > 0].max(), rows["tau"].max() if rows["tau"].notna().any() else 0)
    with style.look():
        picture = Figure(figsize=(style.COLUMN_IN, 0.35 + 1.05 * down), layout="constrained")
        panels = picture.subplots(down, across, squeeze=False, sharex=True, sharey=True).ravel()
        for panel in panels[len(places) :]:
            panel.set_axis_off()
        for panel, place in zip(panels, places, strict=False):
            same_tau = (rows["tau"] == place["tau"]) | (rows["tau"].isna() & pd.isna(place["tau"]))
            _panel(panel, rows[(rows["line"] == place["line"]) & same_tau], looks[place["line"]])
        panels[0].set_xlim(-0.7, most + 0.7)
        panels[0].set_ylim(bottom=0)
        panels[0].xaxis.set_major_locator(MaxNLocator(6, integer=True))
        picture.supxlabel("Staleness of a message (server steps)", fontsize=7)
        picture.supylabel("Messages used (%)", fontsize=7)
    return picture


def _rows(place: dict[str, Any], counts: pd.DataFrame) -> list[dict[str, Any]]:
    """Return the rows of one line and tau; `counts` has one row per run and one column per staleness."""
    percent = 100 * counts.div(counts.sum(axis=1), axis=0)
    ages = (percent * percent.columns.to_numpy()).sum(axis=1) / 100
    mean = estimate(ages).columns("mean_staleness")
    last = int(percent.columns[(percent > 0).any()].max())
    return [
        place
        | {"staleness": staleness}
        | estimate(percent[staleness]).columns("percent")
        | {"runs": len(counts)}
        | mean
        for staleness in range(last + 1)
    ]


def _panel(axes: Axes, rows: pd.DataFrame, look: style.Mark) -> None:
    named = rows.rename(columns=lambda column: column.replace("percent", "mean"))
    axes.bar(rows["staleness"], rows["percent"], width=0.8, color=style.tinted(look.colour, 0.35))
    axes.errorbar(
        named["staleness"],
        named["mean"],
        trials.whiskers(named),
        color=style.shades(look.colour, 3)[0],
        linestyle="",
        elinewidth=0.8,
        capsize=1.2,
    )
    first = rows.iloc[0]
    title = look.label
    if not pd.isna(first["tau"]):
        axes.axvline(first["tau"], color="#333333", linestyle="--", linewidth=0.8)
        axes.annotate(
            f"$\\tau$ = {first['tau']:g}",
            (first["tau"], 1),
            xycoords=("data", "axes fraction"),
            xytext=(-2, -6),
            textcoords="offset points",
            ha="right",
            fontsize=6,
        )
    axes.set_title(title)
    mean, high = first["mean_staleness"], first["mean_staleness_high"]
    told = f"mean {mean:.2f}" + ("" if pd.isna(high) else f"\n$\\pm$ {high - mean:.2f}")
    axes.text(0.93, 0.42, told, transform=axes.transAxes, ha="right", fontsize=6)
    axes.grid(axis="y")
