"""All methods on several networks: accuracy against simulated time, and what they send and ask.

A row of panels for each set of texts, a column for each network. A point is a method at its end: the means
over seeds, with 95 % t intervals in both directions. Filled: all workers are equally fast; hollow: one of
them is slow, joined to the filled point by a line. A dotted line across stands for the model without a
demonstration and with nothing tuned. What is a model of costs alone has a time and no accuracy: a mark on
the axis of times.

Below: what a worker sends and is sent, its LLM calls, and the tokens that its own model reads, of which those
with a gradient count as three.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter

from fedsim_analysis import style
from fedsim_analysis.tables import comparison
from fedsim_analysis.trials import columns

if TYPE_CHECKING:
    from matplotlib.axes import Axes

NEEDS: tuple[str, ...] = ("joined",)

MARKERS = "osD^vPX<>ph*d8"
GRADIENT_FACTOR = 3
"""A token with gradient in tokens without: see `fedsim.timing.groups.OwnModel`."""
_COSTS = ("bytes_up", "bytes_down", "llm_calls", "own")
_SIZE = 4.5


def table(joined: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of `fedsim_analysis.tables.comparison.table`.

    Args:
        joined: one row per run: times and counts of the clock, and what was measured where it learned.
    """
    return comparison.table(joined)


def figure(joined: pd.DataFrame) -> Figure:
    """Draw the rows of `table`."""
    rows = table(joined)
    tasks, networks = (list(dict.fromkeys(rows[name])) for name in ("task", "network"))
    looks = _marks(rows)
    heights = [*[1.6] * len(tasks), 0.13 * len(looks) + 0.3]  # inches
    with style.look():
        picture = Figure(figsize=(style.PAGE_IN, 1.3 + sum(heights)), layout="constrained")
        grid = picture.add_gridspec(len(heights), 1, height_ratios=heights)
        first = None
        for number, task in enumerate(tasks):
            line = grid[number].subgridspec(1, len(networks))
            left = None
            for place, network in enumerate(networks):
                axes = picture.add_subplot(line[place], sharex=first, sharey=left)
                first, left = first or axes, left or axes
                here = rows[(rows["task"] == task) & (rows["network"] == network)]
                _accuracies(axes, here, looks)
                axes.tick_params(labelleft=axes is left, labelbottom=task == tasks[-1])
                if task == tasks[0]:
                    axes.set_title(comparison.network_name(network))
                if task == tasks[-1]:
                    axes.set_xlabel("Simulated time to the end (s)")
            assert left is not None
            left.set_ylabel(f"{style.task_name(task)}\nTest accuracy (%)")
        below = grid[-1].subgridspec(1, 3)
        _costs([picture.add_subplot(below[place]) for place in range(3)], rows, looks)
        picture.legend(
            handles=_handles(rows, looks),
            loc="outside upper center",
            ncols=columns(len(looks) + 2, most=7),
        )
    return picture


def _marks(rows: pd.DataFrame) -> dict[str, style.Mark]:
    """Return the look of each method, in order; markers say what colours say."""
    methods = style.methods(rows["method"])
    return {
        name: style.Mark(look.label, look.colour, look.line, MARKERS[number % len(MARKERS)])
        for number, (name, look) in enumerate(methods.items())
    }


def _accuracies(axes: Axes, rows: pd.DataFrame, looks: Mapping[str, style.Mark]) -> None:
    """Draw the methods of one set of texts on one network."""
    if not math.isnan(zero_shot := rows["accuracy_zero_shot_percent"].max()):
        axes.axhline(zero_shot, color="#999999", linestyle=":", linewidth=0.9, zorder=0)
    axes.set_xscale("log")
    axes.grid()
    for method, of_method in rows.groupby("method", sort=False):
        look = looks[str(method)]
        ends = of_method.sort_values("straggler")
        if ends["accuracy_percent"].isna().all():
            for time_s, straggler in zip(ends["time_s"], ends["straggler"], strict=True):
                _on_the_axis(axes, time_s, look, bool(straggler))
            continue
        axes.plot(ends["time_s"], ends["accuracy_percent"], color=look.colour, linewidth=0.6, zorder=1)
        for straggler, points in ends.groupby("straggler"):
            axes.errorbar(
                points["time_s"],
                points["accuracy_percent"],
                xerr=_whiskers(points, "time_s"),
                yerr=None if straggler else _whiskers(points, "accuracy_percent"),
                color=look.colour,
                marker=look.marker,
                markerfacecolor="white" if straggler else look.colour,
                markersize=_SIZE,
                elinewidth=0.7,
                linestyle="",
                zorder=3,
            )


def _on_the_axis(axes: Axes, time_s: float, look: style.Mark, straggler: bool) -> None:
    axes.plot(
        [time_s],
        [0.03],
        transform=axes.get_xaxis_transform(),
        color=look.colour,
        marker=look.marker,
        markersize=_SIZE,
        markerfacecolor="white" if straggler else look.colour,
        linestyle="",
        clip_on=False,
    )


def _whiskers(rows: pd.DataFrame, name: str) -> Any:
    low, high = rows[name] - rows[f"{name}_low"], rows[f"{name}_high"] - rows[name]
    return [low.fillna(0).clip(lower=0), high.fillna(0).clip(lower=0)]


def _costs(panels: Sequence[Axes], rows: pd.DataFrame, looks: Mapping[str, style.Mark]) -> None:
    """Draw what a worker sends, asks and computes, the mean over sets of texts."""
    plain = rows.drop_duplicates(["task", "method"])
    own = plain["own_tokens"] + GRADIENT_FACTOR * plain["own_gradient_tokens"]
    numbers = plain.assign(own=own).groupby("method")[[*_COSTS, "workers"]].mean()
    each = numbers.div(numbers["workers"], axis=0).reindex(list(looks))
    drawn = (["bytes_up", "bytes_down"], ["llm_calls"], ["own"])
    titles = (
        "Bytes of a worker (filled: up, hollow: down)",
        "LLM calls of a worker",
        "Tokens of its own model",
    )
    for axes, names, title in zip(panels, drawn, titles, strict=True):
        there = each[names].to_numpy()
        least = there[there > 0].min() if (there > 0).any() else 1.0
        axes.set_xscale("symlog", linthresh=least, linscale=0.5)
        axes.set_xlim(-0.3 * least, 3 * there.max() if there.any() else 1.0)
        axes.set_xticks([0.0, *_decades(least, there.max())])
        axes.xaxis.set_major_formatter(FuncFormatter(_short))
        axes.set_xlabel(title)
        axes.set_yticks(range(len(looks)), [look.label for look in looks.values()])
        axes.tick_params(axis="y", labelleft=axes is panels[0], length=0)
        axes.set_ylim(len(looks) - 0.5, -0.5)
        axes.grid()
        for place, (method, look) in enumerate(looks.items()):
            for name in names:
                hollow = name == "bytes_down"
                point = {"markersize": 6.5, "markerfacecolor": "none"} if hollow else {"markersize": 4}
                axes.plot(
                    [float(each[name][method])],
                    [place],
                    look.marker,
                    color=look.colour,
                    clip_on=False,
                    **point,
                )


def _decades(least: float, most: float) -> list[float]:
    """Return the powers of ten between two numbers, at most four of them."""
    found = [
        10.0**power for power in range(math.ceil(math.log10(least)), math.ceil(math.log10(most or 1)) + 1)
    ]
    return found[:: -(-len(found) // 4)] if found else []


def _short(value: float, place: int) -> str:
    """Write a number as a person does: 20k, 3M."""
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= size:
            return f"{value / size:g}{letter}"
    return f"{value:g}"


def _handles(rows: pd.DataFrame, looks: Mapping[str, style.Mark]) -> list[Line2D]:
    size = _SIZE
    costs_only = rows.groupby("method")["accuracy_percent"].apply(lambda cells: bool(cells.isna().all()))
    found = [
        Line2D(
            [],
            [],
            color=look.colour,
            marker=look.marker,
            linestyle="",
            markersize=size,
            label=f"{look.label} (costs only)" if costs_only[name] else look.label,
        )
        for name, look in looks.items()
    ]
    hollow: dict[str, Any] = {
        "color": "#555555",
        "markerfacecolor": "white",
        "markersize": size,
        "linestyle": "",
    }
    if rows["straggler"].any():
        found.append(Line2D([], [], marker="o", label="hollow: one slow worker", **hollow))
    if rows["accuracy_zero_shot_percent"].notna().any():
        found.append(Line2D([], [], color="#999999", linestyle=":", label="nothing tuned, nothing shown"))
    return found
