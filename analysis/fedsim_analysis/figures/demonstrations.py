"""What wrong labels of demonstrations cost, against their number: on a real model, and by three readers.

Left: the real model, means over draws of demonstrations with their 95 % intervals. The other panels: readers
of the surrogate, means over the six calibrated tasks; bars reach from the least to the most of the tasks. The
dotted line is the accuracy without demonstrations, the grey one chance.

Source: the changes are those of Min et al., EMNLP 2022, section 4, and Wei et al., 2023, section 3.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from fedsim_analysis import style
from fedsim_analysis.frames import require
from fedsim_analysis.statistics import estimate

if TYPE_CHECKING:
    from matplotlib.axes import Axes

NEEDS: tuple[str, ...] = ("measured", "simulated")

_PANELS = {
    "measured": "real model",
    "small": "reader small",
    "large": "reader large",
    "very_large": "reader very large",
}
_SIMULATED_CLASSES = 2  # all calibrated tasks have two
_RIGHT = style.Mark("right labels", "#000000", "-", "^")
_KEYS = ["change", "per_class", "order", "accuracy"]


def table(measured: pd.DataFrame, simulated: pd.DataFrame) -> pd.DataFrame:
    """Return everything that is drawn: `panel, change, per_class, percent, low, high`.

    Args:
        measured: one row per draw and kind of prompt: `change, per_class, order, accuracy` (a fraction), and
            `classes`, their number.
        simulated: one row per task, reader and kind: the same with `reader`, in percent, of two classes.

    Returns:
        `change` is "none" (`per_class` 0), "right", "random_labels" or "flipped_labels". `low` and `high` are
        the bounds of the 95 % interval over draws, or the least and most of the tasks.

    Raises:
        InputError: a table is empty or lacks a column.
    """
    require(measured, "measured", [*_KEYS, "classes"])
    require(simulated, "simulated", [*_KEYS, "reader"])
    wanted = ["none", "right", "random_labels", "flipped_labels"]
    rows = []
    for panel, found in {"measured": measured, **dict(iter(simulated.groupby("reader")))}.items():
        shown = found[found["change"].isin(wanted) & (found["order"] == "shuffled")]
        for (change, per_class), group in shown.groupby(["change", "per_class"]):
            percent = group["accuracy"] * (100 if panel == "measured" else 1)
            of_draws = estimate(percent)
            low, high = (
                (of_draws.low, of_draws.high) if panel == "measured" else (percent.min(), percent.max())
            )
            row = {"panel": panel, "change": change, "per_class": per_class}
            rows.append(row | {"percent": of_draws.mean, "low": low, "high": high})
    return pd.DataFrame(rows)


def figure(measured: pd.DataFrame, simulated: pd.DataFrame) -> Figure:
    """Draw `table`: a panel for the real model and one for each reader."""
    rows = table(measured, simulated)
    with style.look():
        picture = Figure(figsize=(style.PAGE_IN, 2.3), layout="constrained")
        panels = picture.subplots(1, len(_PANELS), sharey=True)
        for axes, (name, title) in zip(panels, _PANELS.items(), strict=True):
            n_classes = int(measured["classes"].iloc[0]) if name == "measured" else _SIMULATED_CLASSES
            _panel(axes, rows[rows["panel"] == name], 100 / n_classes)
            axes.set_title(title)
            axes.set_xlabel("Demonstrations per class")
        panels[0].set_ylabel("Accuracy (%)")
        panels[0].set_ylim(0, 100)
        handles, labels = panels[0].get_legend_handles_labels()
        picture.legend(handles, labels, loc="outside lower center", ncols=len(labels))
    return picture


def _panel(axes: Axes, rows: pd.DataFrame, chance_percent: float) -> None:
    axes.axhline(chance_percent, color="#BBBBBB", linewidth=0.8, label="chance")
    bare = rows.loc[rows["change"] == "none", "percent"]
    axes.axhline(
        bare.iloc[0] if len(bare) else float("nan"), color="#000000", linestyle=":", label="no demonstrations"
    )
    for number, change in enumerate(("right", "random_labels", "flipped_labels")):
        mark = _RIGHT if change == "right" else style.POISONS[change]
        part = rows[rows["change"] == change].sort_values("per_class")
        ends = [(part["percent"] - part["low"]).fillna(0), (part["high"] - part["percent"]).fillna(0)]
        axes.errorbar(
            part["per_class"] * (1 + 0.06 * (number - 1)),
            part["percent"],
            yerr=ends,
            color=mark.colour,
            linestyle=mark.line,
            marker=mark.marker,
            markersize=3,
            elinewidth=0.6,
            label=mark.label,
        )
    axes.set_xscale("log", base=2)
    numbers = sorted({*rows.loc[rows["per_class"] > 0, "per_class"]})
    axes.set_xticks(numbers, [f"{number:g}" for number in numbers])
    axes.xaxis.set_minor_locator(NullLocator())
