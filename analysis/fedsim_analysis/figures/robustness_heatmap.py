"""Attack against defence: the damage done, and the worst of all attacks in the last column.

One panel per task, one row per defence that it has, one column per attack of any task. A cell holds the mean
over seeds of what the attack costs against the same defence without it, and the half-width of its 95 %
interval; more is worse. The first column, without colour, is the measure without attack: what the defence
itself costs. The last column repeats the attack with the largest mean. Where one cell explodes the colours
end at a cap, which the scale states; ``div.`` stands where a run diverged.

Source: ours; the paper shows no experiment with malicious workers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from fedsim_analysis import style, trials

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.image import AxesImage

NEEDS: tuple[str, ...] = ("attacked",)

_KEYS = ("task", "attack", "defence")
_WORST = "worst"
_EXPLODES = 4.0
"""A cell so many times above the upper quartile of all would leave the others without a colour."""


def table(attacked: pd.DataFrame, measure: str = trials.DEFAULT) -> pd.DataFrame:
    """Return one row per task, defence, column of the picture and measure.

    Args:
        attacked: one row per trial; those of one attack have one fraction.
        measure: the one that is drawn, of `trials.MEASURES`.

    Returns:
        `task, attack, defence, measure, drawn, quantity, mean, mean_low, mean_high, runs, runs_measured,
        worst_attack`: `quantity` is ``value`` where `attack` is ``none`` and ``damage`` elsewhere; accuracies
        are in percent. Where `attack` is ``worst`` the numbers are those of `worst_attack`: the one with the
        largest mean, or one with a run that diverged.

    Raises:
        InputError: a column is missing, the measure is unknown, two trials share place and seed, or an
            attacked run has no partner without attack.
    """
    values = trials.measured(attacked, _KEYS, measure)
    groups = [*_KEYS, "measure", "drawn"]
    clean = trials.estimates(values[values["attack"] == style.CLEAN], groups).assign(quantity="value")
    damage = trials.estimates(trials.damaged(values, _KEYS), groups).assign(quantity="damage")
    badness = damage["mean"].fillna(np.inf)
    at = badness.groupby([damage[key] for key in ("task", "defence", "measure")], sort=False).idxmax()
    worst = damage.loc[at].assign(worst_attack=lambda rows: rows["attack"], attack=_WORST)
    return pd.concat([clean, damage, worst], ignore_index=True)


def figure(attacked: pd.DataFrame, measure: str = trials.DEFAULT) -> Figure:
    """Draw the rows of `table` for one measure."""
    rows = table(attacked, measure)
    rows = rows[rows["drawn"]]
    tasks = style.in_order(rows["task"], style.TASKS)
    defences = {
        task: style.in_order(rows.loc[rows["task"] == task, "defence"], style.DEFENCES) for task in tasks
    }
    attacks = [*dict.fromkeys(rows["attack"])]
    cap, capped = _cap(rows.loc[~rows["attack"].isin([style.CLEAN, _WORST]), "mean"])
    with style.look():
        lines = [len(defences[task]) for task in tasks]
        height = 0.75 + 0.3 * len(tasks) + 0.27 * sum(lines)
        picture = Figure(figsize=(style.PAGE_IN, height), layout="constrained")
        panels = picture.subplots(len(tasks), 1, squeeze=False, sharex=True, height_ratios=lines)[:, 0]
        for panel, task in zip(panels, tasks, strict=True):
            image = _panel(panel, rows[rows["task"] == task], defences[task], attacks, cap)
            panel.set_title(style.task_name(task), loc="left", fontweight="bold")
        scale = picture.colorbar(
            image, ax=list(panels), fraction=0.03, pad=0.01, extend="max" if capped else "neither"
        )
        label = trials.MEASURES[measure].damage
        scale.set_label(f"{label} (colours end at {cap:.2g})" if capped else label)
    return picture


def _cap(damage: pd.Series[float]) -> tuple[float, bool]:
    """Return the damage at which the colours end, and whether some cell lies beyond."""
    finite = damage[np.isfinite(damage) & (damage > 0)]
    if finite.empty:
        return 1.0, False
    most, usual = float(finite.max()), float(finite.quantile(0.75))
    return (_EXPLODES * usual, True) if most > _EXPLODES * usual else (most, False)


def _panel(axes: Axes, rows: pd.DataFrame, defences: list[str], attacks: list[str], cap: float) -> AxesImage:
    by_place = rows.set_index(["defence", "attack"])
    mean, low = (
        by_place[column].unstack("attack").reindex(index=defences, columns=attacks).to_numpy(float)
        for column in ("mean", "mean_low")
    )
    there = np.array([[(name, attack) in by_place.index for attack in attacks] for name in defences])
    there[:, attacks.index(style.CLEAN)] = False
    coloured = np.ma.array(np.where(np.isnan(mean), cap, mean), mask=~there)
    image = axes.imshow(coloured, cmap="cividis_r", vmin=0, vmax=cap, aspect="auto")
    for (row, column), value in np.ndenumerate(mean):
        if (defences[row], attacks[column]) not in by_place.index:
            continue
        dark = there[row, column] and coloured[row, column] > 0.55 * cap
        text = _cell(value, value - low[row, column])
        axes.text(
            column,
            row,
            text,
            ha="center",
            va="center",
            fontsize=5.5,
            linespacing=0.95,
            color="white" if dark else "black",
        )
    axes.set_yticks(range(len(defences)), [style.defence(name).label for name in defences])
    axes.set_xticks(range(len(attacks)), [_column(name) for name in attacks])
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    # Apart from the attacks: a number of another kind before them, one of them again after them.
    for edge in (attacks.index(style.CLEAN) + 0.5, len(attacks) - 1.5):
        axes.axvline(edge, color="white", linewidth=4)
    return image


def _column(attack: str) -> str:
    return "worst" if attack == _WORST else style.attack_name(attack).replace(" ", "\n", 1)


def _cell(mean: float, half_width: float) -> str:
    if np.isnan(mean):
        return "div."
    size = max(abs(mean), 1e-12)
    digits = 1 if size >= 10 else 2 if size >= 1 else 3
    spread = "" if np.isnan(half_width) else f"\n±{half_width:.{digits}f}"
    return f"{round(mean, digits) + 0.0:.{digits}f}{spread}"  # adding 0 makes -0.0 a plain one
