"""Heat maps of a sweep: a number at each place of two settings."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from matplotlib.colors import to_rgb

from fedsim_analysis.grids.choice import Placing
from fedsim_analysis.grids.telling import ticks_told
from fedsim_analysis.varied import distinct
from fedsim_analysis.words import setting, spoken, uncertain

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_MOST_TOLD = 120
"""Cells of a panel in which a number fits."""


def draw_maps(
    picture: Figure, places: dict[Any, tuple[Axes, pd.DataFrame]], chosen: Placing, words: str
) -> None:
    """Draw a map in each panel: values at equal distances, colours of one scale, zero in the middle of it.

    A cell says its mean and half the width of its interval, and how many runs have a value where some have
    none. In bold: a difference whose interval leaves zero out.
    """
    rows = pd.concat([points for _, points in places.values()])
    across, up = distinct(rows[chosen.x]), distinct(rows[chosen.heat])
    known = rows["mean"].dropna()
    low, high = (float(known.min()), float(known.max())) if len(known) else (0.0, 1.0)
    if chosen.baseline:
        high = max(abs(low), abs(high)) or 1.0
        low = -high
    image: Any = None
    for axes, points in places.values():
        cells = np.full((len(up), len(across)), np.nan)
        told: dict[tuple[int, int], dict[Any, Any]] = {}
        for point in points.to_dict("records"):
            row = [setting(value) for value in up].index(setting(point[chosen.heat]))
            column = [setting(value) for value in across].index(setting(point[chosen.x]))
            cells[row, column] = point["mean"]
            told[row, column] = point
        cmap = "PuOr" if chosen.baseline else "cividis"
        image = axes.imshow(cells, cmap=cmap, vmin=low, vmax=high, origin="lower", aspect="auto")
        axes.set_facecolor("#E8E8E8")
        if cells.size <= _MOST_TOLD:
            for (row, column), point in told.items():
                _tell(axes, row, column, point, image, chosen)
        axes.set_xticks(range(len(across)), ticks_told(chosen.x, across, len(places)))
        axes.set_yticks(range(len(up)), ticks_told(chosen.heat, up, 1))
        axes.tick_params(length=0)
        axes.spines[:].set_visible(False)
    picture.supxlabel(spoken(chosen.x), fontsize=7)
    picture.supylabel(spoken(chosen.heat), fontsize=7)
    scale = picture.colorbar(image, ax=[axes for axes, _ in places.values()], fraction=0.05, pad=0.02)
    scale.set_label(words + ("\n(bold: the interval leaves zero out)" if chosen.baseline else ""))


def _tell(axes: Axes, row: int, column: int, point: dict[Any, Any], image: Any, chosen: Placing) -> None:
    mean, low, high = (float(point[name]) for name in ("mean", "mean_low", "mean_high"))
    if math.isnan(mean):
        text, dark = "no value", False
    else:
        text = uncertain(mean, (high - low) / 2).replace(" ± ", "\n±")
        red, green, blue = to_rgb(image.to_rgba(mean))
        dark = 0.299 * red + 0.587 * green + 0.114 * blue < 0.5
    if point["without"]:
        text += f"\n{point['runs'] - point['without']}/{point['runs']}"
    sure = bool(chosen.baseline) and (low > 0 or high < 0)
    axes.text(
        column,
        row,
        text,
        ha="center",
        va="center",
        fontsize=5.5,
        linespacing=0.95,
        color="white" if dark else "black",
        fontweight="bold" if sure else "normal",
    )
