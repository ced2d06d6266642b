"""Loss or accuracy of honest workers against the share of malicious ones: one panel per attack.

A line is a defence, a point the mean over seeds, a whisker its 95 % t interval; the lines stand a little
apart, so that the whiskers do not hide each other. A hollow point marks where a rule was told fewer malicious
workers than there are (`f`). Runs without attacks stand at zero in every panel. Where a run diverged, the
point is missing.

The figure `robustness` shows the same of a study of its own; this one is of any sweep over
`attacks.0.fraction`.

Source: ours; the paper shows no experiment with malicious workers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd
from matplotlib.figure import Figure

from fedsim.errors import InputError, nearest
from fedsim_analysis import style, sweeps, trials
from fedsim_analysis.frames import named, require
from fedsim_analysis.varied import check_averaged

if TYPE_CHECKING:
    from matplotlib.axes import Axes

NEEDS: tuple[str, ...] = ("runs",)

_FRACTION = r"attacks\.\d+\.fraction"
_TOLD = "algorithm.aggregation.outer.f"
_KEYS = ("attack", "defence", "fraction", "understated")
_MOST_ACROSS = 3
_APART = 1.8
"""Percent of workers over which the lines of one fraction are spread."""


def table(runs: pd.DataFrame, measure: str = "") -> pd.DataFrame:
    """Return one row per attack, defence, fraction and measure: the mean over seeds and its interval.

    Args:
        runs: one row per run; `attacks.<place>.fraction` varies; variants are defences.
        measure: the one that is drawn, of `trials.MEASURES`; the first that the runs have if not given.

    Returns:
        `attack, defence, fraction, understated, measure, mean, mean_low, mean_high, runs, runs_measured,
        drawn`; accuracies in percent. Runs without any attack are in the rows of every attack.

    Raises:
        InputError: the fraction does not vary, the measure is unknown, or two runs share a place and a seed.
    """
    needed = "a share of malicious workers that varies (attacks.<place>.fraction)"
    runs = _placed(sweeps.only_scenario(runs, lambda group: bool(sweeps.varying(group, _FRACTION)), needed))
    check_averaged(runs, _KEYS[:3])
    measures = [name for name in trials.MEASURES if name in runs and runs[name].notna().any()]
    require(runs, "runs", [*(measures or ["loss"]), "n_workers"])
    measure = measure or measures[0]
    if measure not in measures:
        raise InputError(
            f"found measure {measure!r}, expected one of {', '.join(measures)}" + nearest(measure, measures)
        )
    values = runs[[*_KEYS, "seed"]].assign(
        **{name: runs[name].astype(float) * trials.MEASURES[name].factor for name in measures}
    )
    found = trials.estimates(values.melt(id_vars=[*_KEYS, "seed"], var_name="measure"), [*_KEYS, "measure"])
    return found.assign(drawn=found["measure"] == measure)


def figure(runs: pd.DataFrame, measure: str = "") -> Figure:
    """Draw the rows of `table` for one measure."""
    rows = table(runs, measure)
    rows = rows[rows["drawn"]]
    attacks = list(dict.fromkeys(rows["attack"]))
    marks = style.marks(named(runs)["method"])
    looks = {name: marks[name] for name in style.in_order(rows["defence"], style.DEFENCES)}
    across = trials.columns(len(attacks), most=_MOST_ACROSS)
    down = -(-len(attacks) // across)
    with style.look():
        picture = Figure(figsize=(style.COLUMN_IN, 0.95 + 1.45 * down), layout="constrained")
        panels = picture.subplots(down, across, squeeze=False, sharex=True, sharey=True).ravel()
        for panel in panels[len(attacks) :]:
            panel.set_axis_off()
        for panel, attack in zip(panels, attacks, strict=False):
            _panel(panel, rows[rows["attack"] == attack], looks)
            panel.set_title(style.attack_name(attack))
        picture.supxlabel("Malicious workers (%)", fontsize=7)
        picture.supylabel(trials.MEASURES[rows["measure"].iloc[0]].label, fontsize=7)
        columns = trials.columns(len(looks), most=3)
        picture.legend(handles=trials.handles(looks.values()), loc="outside upper center", ncols=columns)
    return picture


def _placed(runs: pd.DataFrame) -> pd.DataFrame:
    """Return the runs with `attack`, `defence`, `fraction`, `understated`; clean ones in every attack."""
    fractions = sweeps.matching(runs, _FRACTION)
    fraction = runs[fractions].astype(float).max(axis=1).fillna(0.0)
    malicious = (fraction * runs["n_workers"]).round()
    told = runs[_TOLD].astype(float) if _TOLD in runs else pd.Series(float("nan"), runs.index)
    placed = runs.assign(
        attack=_attacks(runs), defence=runs["method"], fraction=fraction, understated=told < malicious
    )
    # Who is attacked by nobody stands in every panel.
    return sweeps.in_every(placed, "attack", placed["attack"] == style.CLEAN, [*_KEYS[1:], "seed"])


def _attacks(runs: pd.DataFrame) -> pd.Series[str]:
    """Return the kinds of a run's attacks, joined by ``+``; ``attack`` where all runs have the same ones."""
    kinds = sweeps.matching(runs, r"attacks\.\d+\.kind")
    if not kinds:
        return pd.Series("attack", runs.index)
    told = runs[kinds].apply(lambda row: "+".join(row.dropna()), axis=1)
    return told.where(told != "", style.CLEAN)


def _panel(axes: Axes, rows: pd.DataFrame, looks: dict[str, style.Mark]) -> None:
    for number, (name, look) in enumerate(looks.items()):
        points = rows[rows["defence"] == name].sort_values("fraction")
        places = 100 * points["fraction"] + _APART * (number / max(len(looks) - 1, 1) - 0.5)
        sweeps.draw_points(axes, places, points, look, points["understated"].astype(bool))
    axes.set_xticks(sorted(100 * rows["fraction"].unique()))
    axes.grid()
