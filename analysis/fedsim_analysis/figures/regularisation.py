"""What psi buys and what it costs: the regularised options against their weight, with and without attack.

One row of panels per task; the first column without attack (the price), one column per attack (what it buys).
A line is an option: R1, sign terms in the outer steps alone, the inner loop as printed; R3, clipped
contributions in the inner loop alone; R4, signs in the inner loop alone; or R1 and R3 together. Points are
means over seeds, whiskers their 95 % intervals. The dashed line is the algorithm without psi, its interval
the grey band. The first column has a scale of its own: the price is small beside what attacks cost.

Source: ours; the weight is lambda of Li et al., "RSA", AAAI 2019, Theorems 1 and 2: too small does not bind
the workers to z, too large lets a minority pin z where honest workers disagree.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd
from matplotlib.figure import Figure

from fedsim_analysis import style, trials

if TYPE_CHECKING:
    from matplotlib.axes import Axes

NEEDS: tuple[str, ...] = ("attacked",)

_KEYS = ("task", "attack", "defence", "psi")
_WITHOUT = "none"
"""The defence whose runs have no psi: 0 in the table."""
_APART = 0.06
"""The distance between neighbouring lines, as a share of a decade."""


def table(attacked: pd.DataFrame, measure: str = trials.DEFAULT) -> pd.DataFrame:
    """Return one row per task, attack, option, psi and measure: the mean over seeds and its interval.

    Args:
        attacked: one row per trial, with `psi`; `defence` is the option, or ``none`` where psi is 0.
        measure: the one that is drawn, of `trials.MEASURES`.

    Returns:
        `task, attack, defence, psi, measure, drawn, mean, mean_low, mean_high, runs, runs_measured`;
        accuracies in percent.

    Raises:
        InputError: a column is missing, the measure is unknown, or two trials share place and seed.
    """
    values = trials.measured(attacked, _KEYS, measure)
    return trials.estimates(values, [*_KEYS, "measure", "drawn"])


def figure(attacked: pd.DataFrame, measure: str = trials.DEFAULT) -> Figure:
    """Draw the rows of `table` for one measure."""
    rows = table(attacked, measure)
    rows = rows[rows["drawn"]]
    tasks = style.in_order(rows["task"], style.TASKS)
    attacks = sorted(dict.fromkeys(rows["attack"]), key=lambda name: name != style.CLEAN)
    options = style.in_order(set(rows["defence"]) - {_WITHOUT}, style.DEFENCES)
    with style.look():
        width = min(style.PAGE_IN, 0.6 + 2.2 * len(attacks))
        picture = Figure(figsize=(width, 0.6 + 1.9 * len(tasks)), layout="constrained")
        panels = picture.subplots(len(tasks), len(attacks), squeeze=False, sharex=True)
        for line, task in zip(panels, tasks, strict=True):
            for panel in line[2:]:
                panel.sharey(line[1])
                panel.tick_params(labelleft=False)
            for panel, attack in zip(line, attacks, strict=True):
                _panel(panel, rows[(rows["task"] == task) & (rows["attack"] == attack)], options)
            line[0].set_ylabel(f"{style.task_name(task)}: {trials.MEASURES[measure].label}")
        for panel, attack in zip(panels[0], attacks, strict=True):
            panel.set_title(style.attack_name(attack))
        for panel in panels[-1]:
            panel.set_xlabel("Weight $\\psi$")
        looks = [style.defence(name) for name in options]
        without = style.Mark("without $\\psi$", style.defence(_WITHOUT).colour, "--", "")
        entries = trials.handles([*looks, without])
        picture.legend(handles=entries, loc="outside upper center", ncols=len(entries))
    return picture


def _panel(axes: Axes, rows: pd.DataFrame, options: list[str]) -> None:
    for without in rows[rows["defence"] == _WITHOUT].to_dict("records"):
        axes.axhline(without["mean"], color=style.defence(_WITHOUT).colour, linestyle="--", linewidth=0.9)
        axes.axhspan(without["mean_low"], without["mean_high"], color="#000000", alpha=0.08, linewidth=0)
    for number, name in enumerate(options):
        points = rows[rows["defence"] == name].sort_values("psi")
        apart = 10 ** (_APART * (number - 0.5 * (len(options) - 1)))
        look = style.defence(name)
        axes.errorbar(
            points["psi"] * apart,
            points["mean"],
            trials.whiskers(points),
            **look.settings,
            markersize=3.5,
            elinewidth=0.7,
            capsize=1.5,
        )
    axes.set_xscale("log")
    values = sorted(value for value in rows["psi"].unique() if value > 0)
    axes.set_xticks(values, [f"{value:g}" for value in values])
    axes.minorticks_off()
    axes.grid(axis="y")
