"""Any sweep as a picture: a measurement against a setting, with a line or a bar for each method or variant.

A setting with numbers makes lines, one with names makes bars, and two settings (`x` and `heat`) a heat map;
further settings make columns and rows of panels. A point is the mean over seeds and a whisker its 95 % t
interval; points of one value stand a little apart, so that they do not hide each other. With a baseline a
point is the difference to it, paired by seed, and a line stands at zero. What has no value on the x axis
(SDBT has no `algorithm.wait_for`) is a line across, with its interval as a band. A hollow point has runs that
never reached the target, so that it is a bound, or that have no value; a cross stands where nothing is known.

Source: ours.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fedsim_analysis import grids
from fedsim_analysis.style import all_methods

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

NEEDS: tuple[str, ...] = ("runs",)


def table(
    runs: pd.DataFrame,
    x: str = "",
    y: str = "",
    group: str = "",
    facet: str = "",
    facet_row: str = "",
    heat: str = "",
    baseline: str = "",
) -> pd.DataFrame:
    """Return one row per point: its settings, `metric`, `baseline`, `mean, mean_low, mean_high`, `runs`, ...

    Args:
        runs: one row per run.
        x: a setting; where none is named the settings that vary get their places by themselves.
        y: a measurement; the first of the usual ones (time, accuracy, time to the target) if not given.
        group: settings with commas between, or ``variant``, which is meant if methods vary.
        facet: the setting with a column of panels for each value.
        facet_row: the setting with a row of panels for each value.
        heat: the setting up the side of a heat map, whose colour is `y`.
        baseline: a method or variant, or a setting with its value (``algorithm.wait_for=10``).

    Raises:
        InputError: a name is unknown, or a setting varies that is not named.
    """
    chosen, placed = grids.choose(runs, x, y, group, facet, facet_row, heat, baseline)
    return grids.numbers(placed, chosen)


def figure(
    runs: pd.DataFrame,
    x: str = "",
    y: str = "",
    group: str = "",
    facet: str = "",
    facet_row: str = "",
    heat: str = "",
    baseline: str = "",
) -> Figure:
    """Draw the rows of `table`."""
    chosen, placed = grids.choose(runs, x, y, group, facet, facet_row, heat, baseline)
    with all_methods(placed["method"]):  # a baseline is none of the rows
        return grids.drawn(grids.numbers(placed, chosen), chosen)
