"""How the effects of a fragment's words add up on a real model, under several templates.

An effect's size is its standard deviation over fragments, here in units of that of single words. Top left:
random fragments against their length; the grey line is that of words that add up with both exponents 1/2, the
dotted one that of their mean. Top right: one word repeated, where both forms are level. Bottom left: a word
at the first, a middle and the last place of eight. Bottom right: the share of the variance of fragments that
a sum over their words explains, cross-validated. Bars and bands are 95 % bootstrap intervals.

Source: ours.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from fedsim_analysis import style
from fedsim_analysis.frames import require

if TYPE_CHECKING:
    from matplotlib.axes import Axes

NEEDS: tuple[str, ...] = ("sizes", "shares")

_LOOKS = [("#117733", "o"), ("#AA4499", "s"), ("#6699CC", "^"), ("#999933", "D")]
_FORMS = {"mean": "mean", "count": "$c / M^l$", "sublinear": "$c^r / M^l$"}
_PANELS = {"length": ("random", "wide"), "repeats": ("repeat",), "place": ("position",)}
_COMPONENT = "each"


def table(sizes: pd.DataFrame, shares: pd.DataFrame) -> pd.DataFrame:
    """Return everything that is drawn: `panel, condition, x, y, low, high, count`.

    Args:
        sizes: one row per condition, component, design and length, with `value`, `value_low`, `value_high`.
        shares: the same per condition, component, form and what predicts.

    Returns:
        In panel "length" `x` is the number of words, in "repeats" how often one is repeated, in "place" where
        it stands, and `y` the size over that of single words; in "share" `x` is the form. `count` is 1.

    Raises:
        InputError: a table is empty or lacks a column.
    """
    numbers = ["value", "value_low", "value_high"]
    require(sizes, "sizes", ["condition", "component", "design", "length", *numbers])
    require(shares, "shares", ["condition", "component", "form", "predicted_from", *numbers])
    parts = []
    for condition, group in sizes[sizes["component"] == _COMPONENT].groupby("condition", sort=False):
        unit = float(group.loc[group["design"] == "single", "value"].iloc[0])
        for panel, designs in _PANELS.items():
            rows = group[group["design"].isin(designs)]
            if panel == "length":  # longer ones of few words hold all of them about as often
                longest = rows.loc[rows["design"] == "wide", "length"].min()
                rows = rows[(rows["design"] == "wide") | ~(rows["length"] >= longest)]
            first = {"x": [1.0], "y": [1.0], "low": [1.0], "high": [1.0]} if panel != "place" else {}
            part = pd.DataFrame(
                {
                    "x": rows["length"].astype(float),
                    "y": rows["value"] / unit,
                    "low": rows["value_low"] / unit,
                    "high": rows["value_high"] / unit,
                }
            )
            part = pd.concat([pd.DataFrame(first), part]) if first else part
            parts.append(part.assign(panel=panel, condition=condition))
    drawn = shares[(shares["component"] == _COMPONENT) & (shares["predicted_from"] == "fragments")]
    parts.append(
        pd.DataFrame(
            {
                "x": drawn["form"].map(list(_FORMS).index).astype(float),
                "y": drawn["value"],
                "low": drawn["value_low"],
                "high": drawn["value_high"],
                "condition": drawn["condition"],
            }
        ).assign(panel="share")
    )
    found = pd.concat(parts, ignore_index=True).assign(count=1)
    return found[["panel", "condition", "x", "y", "low", "high", "count"]]


def figure(sizes: pd.DataFrame, shares: pd.DataFrame) -> Figure:
    """Draw `table`: two panels above two."""
    rows = table(sizes, shares)
    looks = dict(zip(rows["condition"].unique(), _LOOKS, strict=False))
    parts = dict(iter(rows.groupby("panel")))
    with style.look():
        picture = Figure(figsize=(style.PAGE_IN, 4.6), layout="constrained")
        (length, repeats), (place, share) = picture.subplots(2, 2)
        for axes, name in ((length, "length"), (repeats, "repeats"), (place, "place")):
            _lines(axes, parts[name], looks)
            axes.set_ylabel("Effect's size / a single word's")
        ends = np.array([1.0, parts["length"]["x"].max()])
        length.plot(ends, [1, 1], color="#777777", linewidth=0.8, label="both exponents 1/2")
        length.plot(ends, ends**-0.5, color="#777777", linewidth=0.8, linestyle=":", label="mean of words")
        repeats.axhline(1, color="#777777", linewidth=0.8)
        for axes in (length, repeats):
            axes.set_xscale("log", base=2)
            axes.set_yscale("log", base=2)
            for axis in (axes.xaxis, axes.yaxis):
                axis.set_major_formatter(lambda value, _: f"{value:g}")
        length.set_xlabel("Words of a random fragment")
        repeats.set_xlabel("Times that one word is repeated")
        place.set_xlabel("Place of the word among eight (first is 0)")
        place.set_ylim(bottom=0)
        _shares(share, parts["share"], looks)
        handles, labels = length.get_legend_handles_labels()
        picture.legend(handles, labels, loc="outside upper center", ncols=3)
    return picture


def _lines(axes: Axes, rows: pd.DataFrame, looks: dict[str, tuple[str, str]]) -> None:
    for condition, points in rows.groupby("condition", sort=False):
        colour, marker = looks[str(condition)]
        axes.errorbar(
            points["x"],
            points["y"],
            yerr=_bars(points),
            color=colour,
            marker=marker,
            markersize=4,
            linewidth=1,
            elinewidth=0.7,
            label=str(condition),
        )
    axes.grid()


def _shares(axes: Axes, rows: pd.DataFrame, looks: dict[str, tuple[str, str]]) -> None:
    width = 0.8 / len(looks)
    for place, (condition, (colour, marker)) in enumerate(looks.items()):
        points = rows[rows["condition"] == condition]
        at = points["x"] + (place - (len(looks) - 1) / 2) * width
        axes.errorbar(
            at,
            points["y"],
            yerr=_bars(points),
            color=colour,
            marker=marker,
            markersize=4,
            linestyle="none",
            elinewidth=0.7,
        )
    axes.set_xticks(range(len(_FORMS)), list(_FORMS.values()))
    axes.set_xlabel("What a word that stands $c$ times among $M$ adds")
    axes.set_ylabel("Share of the variance\nthat the sum explains")
    axes.axhline(0, color="#777777", linewidth=0.8)
    axes.set_ylim(top=1)
    axes.grid(axis="y")


def _bars(points: pd.DataFrame) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    """Return how far each interval reaches below and above its value, (2, n)."""
    reach = np.stack([points["y"] - points["low"], points["high"] - points["y"]])
    return np.maximum(reach, 0.0)
