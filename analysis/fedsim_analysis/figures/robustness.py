"""Loss and accuracy of honest workers against the share of malicious ones: one line per defence.

One row of panels per task, one column per attack in one setting. A point is the mean over seeds, a whisker
its 95 % interval; the lines stand a little apart, so that the whiskers do not hide each other. At zero stand
the runs without attack, the same for all attacks of a setting. A rule with a setting `f` is told the true
number of malicious workers; a hollow point marks where it cannot be told so many.

Source: ours; the paper shows no experiment with malicious workers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd
from matplotlib.figure import Figure

from fedsim_analysis import style, trials

if TYPE_CHECKING:
    from matplotlib.axes import Axes

NEEDS: tuple[str, ...] = ("attacked",)

_KEYS = ("task", "setting", "attack", "defence", "fraction", "understated")
_APART = 1.6
"""Percent of workers over which the lines of one fraction are spread."""


def table(attacked: pd.DataFrame, measure: str = trials.DEFAULT) -> pd.DataFrame:
    """Return one row per task, attack, defence, fraction and measure: the mean over seeds and its interval.

    Args:
        attacked: one row per trial, with `setting`, what else was varied, and `understated`: whether the rule
            was told fewer malicious workers than there are.
        measure: the one that is drawn, of `trials.MEASURES`.

    Returns:
        `task, setting, attack, defence, fraction, understated, measure, drawn, mean, mean_low, mean_high,
        runs, runs_measured`; accuracies in percent. The runs without attack are in the rows of every attack.

    Raises:
        InputError: a column is missing, the measure is unknown, or two trials share place and seed.
    """
    values = trials.measured(attacked, _KEYS, measure)
    clean = values[values["attack"] == style.CLEAN]
    of_attacks = []
    for name, attacked_alike in values[values["attack"] != style.CLEAN].groupby("attack", sort=False):
        partners = clean[clean["setting"].isin(attacked_alike["setting"])]
        of_attacks += [partners.assign(attack=name), attacked_alike]
    return trials.estimates(pd.concat(of_attacks or [clean]), [*_KEYS, "measure", "drawn"])


def figure(attacked: pd.DataFrame, measure: str = trials.DEFAULT) -> Figure:
    """Draw the rows of `table` for one measure."""
    rows = table(attacked, measure)
    rows = rows[rows["drawn"]]
    tasks = style.in_order(rows["task"], style.TASKS)
    places = rows[["setting", "attack"]].drop_duplicates().to_dict("records")
    defences = style.in_order(rows["defence"], style.DEFENCES)
    with style.look():
        picture = Figure(figsize=(style.PAGE_IN, 0.6 + 1.9 * len(tasks)), layout="constrained")
        panels = picture.subplots(len(tasks), len(places), squeeze=False, sharex=True, sharey="row")
        for line, task in zip(panels, tasks, strict=True):
            for panel, place in zip(line, places, strict=True):
                mine = (rows[list(place)] == pd.Series(place)).all(axis=1)
                _panel(panel, rows[mine & (rows["task"] == task)], defences)
            if len(tasks) > 1:  # one needs no name, and its place is taken by that of the attack
                line[0].set_title(style.task_name(task), loc="left", fontweight="bold")
            if trials.MEASURES[measure].factor == 100:  # no interval of a share needs room beyond it
                line[0].set_ylim(0, 104)
        for panel, place in zip(panels[0], places, strict=True):
            panel.set_title(", ".join(filter(None, (style.attack_name(place["attack"]), place["setting"]))))
        picture.supxlabel("Malicious workers (%)", fontsize=7)
        picture.supylabel(trials.MEASURES[measure].label, fontsize=7)
        looks = [style.defence(name) for name in defences]
        columns = trials.columns(len(looks), most=7)
        picture.legend(handles=trials.handles(looks), loc="outside upper center", ncols=columns)
    return picture


def _panel(axes: Axes, rows: pd.DataFrame, defences: list[str]) -> None:
    for number, name in enumerate(defences):
        points = rows[rows["defence"] == name].sort_values("fraction")
        look = style.defence(name)
        shift = _APART * (number / max(len(defences) - 1, 1) - 0.5)
        places = 100 * points["fraction"] + shift
        axes.errorbar(
            places, points["mean"], trials.whiskers(points), **look.settings, markersize=3.5, elinewidth=0.7
        )
        hollow = points["understated"].astype(bool)
        axes.plot(
            places[hollow],
            points["mean"][hollow],
            color=look.colour,
            linestyle="",
            marker=look.marker,
            markersize=3.5,
            markerfacecolor="white",
            zorder=3,
        )
    axes.set_xticks(sorted(100 * rows["fraction"].unique()))
    axes.grid()
