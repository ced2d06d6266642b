"""The panels of a picture of a sweep: lines or bars with their intervals."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import NullFormatter, NullLocator

from fedsim_analysis import style, trials
from fedsim_analysis.compare.target import TARGET
from fedsim_analysis.grids.choice import METHOD, Placing, is_numeric
from fedsim_analysis.grids.maps import draw_maps
from fedsim_analysis.grids.scales import Scale, scale_of
from fedsim_analysis.grids.telling import baseline_told, key_of, looks_of, measured, titles
from fedsim_analysis.sweeps import draw_points
from fedsim_analysis.words import setting, spoken

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_MOST_ACROSS = 2
"""Columns of panels that fit in one column of a page."""
_HATCHES = {"-": "", "--": "////", "-.": "....", ":": "xxxx"}
_GREY = "#555555"


def drawn(rows: pd.DataFrame, chosen: Placing) -> Figure:
    """Draw the rows of `numbers`: numbers on the x axis make lines, names make bars, two axes a heat map."""
    divisor, words = measured(rows, chosen)
    rows = rows.assign(**{name: rows[name] / divisor for name in ("mean", "mean_low", "mean_high")})
    across, down = titles(rows, chosen.facet, chosen), titles(rows, chosen.facet_row, chosen)
    fits = len(across) <= (1 if chosen.heat else _MOST_ACROSS)
    width = style.COLUMN_IN if fits else style.PAGE_IN
    with style.look():
        picture = Figure(figsize=(width, 0.85 + 1.5 * len(down)), layout="constrained")
        panels = picture.subplots(len(down), len(across), squeeze=False, sharex=True, sharey=True)
        at = {
            (row, column): _at(_at(rows, chosen.facet_row, row), chosen.facet, column)
            for row in down
            for column in across
        }
        for line, row in zip(panels, down, strict=True):
            for panel, column in zip(line, across, strict=True):
                if column and row == next(iter(down)):
                    panel.set_title(across[column])
            if row:
                line[-1].annotate(
                    down[row],
                    (1.02, 0.5),
                    xycoords="axes fraction",
                    rotation=270,
                    va="center",
                    fontsize=7.5,
                )
        places = dict(zip(at, panels.ravel(), strict=True))
        if chosen.heat:
            draw_maps(picture, {place: (places[place], at[place]) for place in at}, chosen, words)
        else:
            _draw_points(picture, {place: (places[place], at[place]) for place in at}, rows, chosen)
            picture.supylabel(words, fontsize=7)
    return picture


def _at(rows: pd.DataFrame, name: str, value: str) -> pd.DataFrame:
    return rows[rows[name].map(setting) == value] if name else rows


def _draw_points(
    picture: Figure, places: dict[Any, tuple[Axes, pd.DataFrame]], rows: pd.DataFrame, chosen: Placing
) -> None:
    alone = METHOD in chosen.names and not chosen.group  # a bar or a panel is a method, and looks like one
    looks = style.marks(rows[METHOD]) if alone else looks_of(rows, chosen)
    numeric = is_numeric(rows[chosen.x])
    across = len({column for _, column in places})
    # Half of the columns of a page stand in one column of it.
    scale = scale_of(
        rows[chosen.x].dropna(),
        chosen,
        bars=not numeric,
        panels=2 * across if across <= _MOST_ACROSS else across,
    )
    known = rows[rows[chosen.x].notna()]
    standing = set(known[METHOD] if alone else _keys(known, chosen))
    order = [""] if alone else [key for key in looks if key in standing]
    for axes, points in places.values():
        if chosen.baseline:
            axes.axhline(0, color="black", linewidth=0.8, zorder=1)
        keys = points[METHOD] if alone else _keys(points, chosen)
        for key, look in looks.items():
            of_group = points[keys == key]
            _draw_everywhere(axes, of_group[of_group[chosen.x].isna()], look)
            own = of_group[of_group[chosen.x].notna()]
            if len(own):
                place = 0 if alone else order.index(key)
                (_draw_line if numeric else _draw_bars)(axes, own, look, scale, place, len(order))
        _dress(axes, scale)
    picture.supxlabel(spoken(chosen.x), fontsize=7)
    entries = _legend(rows, looks, chosen, bars=not numeric)
    if entries:
        longest = max(len(str(entry.get_label())) for entry in entries)
        fitting = max(1, int(picture.get_size_inches()[0] * 17.5 / (longest + 5)))
        picture.legend(
            handles=entries,
            loc="outside upper center",
            ncols=trials.columns(len(entries), most=min(4, fitting)),
        )


def _keys(rows: pd.DataFrame, chosen: Placing) -> pd.Series[Any]:
    """Return the values of what tells groups apart, as one text."""
    return pd.Series([key_of(row, chosen) for row in rows.to_dict("records")], rows.index, dtype=object)


def _draw_everywhere(axes: Axes, rows: pd.DataFrame, look: style.Mark) -> None:
    """Draw what has no place on the x axis as a line across, with its interval as a band."""
    for row in rows.to_dict("records"):
        axes.axhline(row["mean"], color=look.colour, linestyle=look.line, linewidth=1.0, zorder=1.5)
        if not math.isnan(row["mean_low"]):
            axes.axhspan(row["mean_low"], row["mean_high"], color=look.colour, alpha=0.13, linewidth=0)


def _draw_line(
    axes: Axes, rows: pd.DataFrame, look: style.Mark, scale: Scale, place: int, among: int
) -> None:
    places = pd.Series(scale.dodged(rows[scale.column], place, among), rows.index)
    draw_points(axes, places, rows, look, rows["without"] > 0)
    _cross(axes, places[rows["mean"].isna()], look)


def _draw_bars(
    axes: Axes, rows: pd.DataFrame, look: style.Mark, scale: Scale, place: int, among: int
) -> None:
    width = 0.8 / among
    places = pd.Series(scale.dodged(rows[scale.column], place, among, 0.8 - width), rows.index)
    for hollow in (False, True):
        some = (rows["without"] > 0) == hollow
        axes.bar(
            places[some],
            rows["mean"][some],
            0.92 * width,
            color="white" if hollow else style.tinted(look.colour, 0.35),
            edgecolor=look.colour,
            hatch=_HATCHES[look.line],
            linewidth=0.6,
        )
    axes.errorbar(places, rows["mean"], trials.whiskers(rows), color="#222222", linestyle="", elinewidth=0.7)
    _cross(axes, places[rows["mean"].isna()], look)


def _cross(axes: Axes, places: pd.Series[float], look: style.Mark) -> None:
    """Mark at the foot of a panel where there is nothing to draw."""
    across = axes.get_xaxis_transform()
    axes.plot(places, [0.03] * len(places), "x", color=look.colour, markersize=3.5, transform=across)


def _dress(axes: Axes, scale: Scale) -> None:
    if scale.kind == "log":
        axes.set_xscale("log")
    if scale.ticks:
        axes.set_xticks([place for place, _ in scale.ticks], [words for _, words in scale.ticks])
        axes.xaxis.set_minor_locator(NullLocator())
    elif scale.kind == "log":
        axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set_xlim(*scale.ends)
    axes.grid(axis="y")


def _legend(rows: pd.DataFrame, looks: dict[str, style.Mark], chosen: Placing, bars: bool) -> list[Any]:
    entries: list[Any] = []
    standing = set(_keys(rows[rows[chosen.x].notna()], chosen))
    for key, look in looks.items() if chosen.group else ():
        face = style.tinted(look.colour, 0.35)
        if key not in standing:
            entries.append(Line2D([], [], color=look.colour, linestyle=look.line, label=look.label))
        elif bars:
            hatch = _HATCHES[look.line] * 2
            entries.append(Patch(facecolor=face, edgecolor=look.colour, hatch=hatch, label=look.label))
        else:
            entries += trials.handles([look])
    if chosen.baseline:
        label = f"{baseline_told(str(rows['baseline'].iloc[0]))} (baseline)"
        entries.append(Line2D([], [], color="black", linewidth=0.8, label=label))
    marks: dict[str, Any] = {"color": _GREY, "linestyle": "", "markersize": 4}
    if (rows["without"].gt(0) & rows["mean"].notna()).any():
        why = "some never reached the target" if chosen.y == TARGET else "some runs have no value"
        entries.append(Line2D([], [], marker="o", markerfacecolor="white", label=why, **marks))
    if rows["mean"].isna().any():
        why = "nothing to compare" if chosen.baseline else "no run has a value"
        entries.append(Line2D([], [], marker="x", label=why, **marks))
    return entries
