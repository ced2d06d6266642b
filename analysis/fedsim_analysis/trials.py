"""What the figures of the robustness study share: its measures, means over seeds, and the damage done.

A *trial* is a run at a place of the study: a row of its summary with the columns `task`, `attack` (``none``:
nobody attacks), `defence` and `fraction` (of malicious workers). One run may be several trials.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pandas as pd

from fedsim.errors import InputError, nearest
from fedsim_analysis import style
from fedsim_analysis.frames import require
from fedsim_analysis.statistics import estimate
from fedsim_analysis.varied import check_averaged

if TYPE_CHECKING:
    from matplotlib.lines import Line2D

IDENTITY = ("task", "attack", "defence", "fraction", "seed")


@dataclass(frozen=True)
class Measure:
    """A number of a run's summary: how it is written on an axis, and which way it gets worse."""

    label: str
    damage: str
    """What an axis calls the difference to the run without attack, counted so that more is worse."""
    factor: float = 1.0
    """From the summary's unit to that of the figures."""
    worse: int = 1
    """1 where larger is worse, -1 where smaller is."""


MEASURES = {
    "loss_consensus": Measure("Test loss, consensus prompt", "Rise in test loss"),
    "accuracy_consensus": Measure(
        "Test accuracy, consensus prompt (%)", "Loss of accuracy (points)", 100, -1
    ),
    "loss": Measure("Test loss, own prompts", "Rise in test loss"),
    "accuracy": Measure("Test accuracy, own prompts (%)", "Loss of accuracy (points)", 100, -1),
    "consensus_gap": Measure("Distance of honest p from z (l1 a word)", "Rise in distance (l1 a word)"),
}
"""The consensus prompt is made from z, which messages act on; own prompts from each honest worker's p. The
distance, from 0 to 2, tells how far z was carried off even where a task's words hardly matter."""
DEFAULT = "accuracy_consensus"


def measured(trials: pd.DataFrame, keys: Sequence[str], measure: str) -> pd.DataFrame:
    """Return one row per trial and measure: `keys`, `seed`, `measure`, `value`, and whether it is `drawn`.

    Args:
        trials: one row per trial.
        keys: the columns that say at which place of the study a trial is.
        measure: the one that is drawn.

    Raises:
        InputError: a column is missing, the measure is unknown, or two trials share place and seed.
    """
    if measure not in MEASURES:
        known = ", ".join(MEASURES)
        raise InputError(f"unknown measure {measure!r}{nearest(measure, MEASURES)} (known: {known})")
    require(trials, "attacked", dict.fromkeys([*IDENTITY, *keys, *MEASURES]))
    check_averaged(trials, keys)
    values = trials[[*keys, "seed"]].assign(
        **{name: trials[name].astype(float) * one.factor for name, one in MEASURES.items()}
    )
    table = values.melt(id_vars=[*keys, "seed"], var_name="measure")
    return table.assign(drawn=table["measure"] == measure)


def damaged(values: pd.DataFrame, keys: Sequence[str]) -> pd.DataFrame:
    """Return the attacked rows of `measured`, with the `value` that is lost against the run without attack.

    The two are paired by seed and all `keys` but `attack` and `fraction`; more is worse for every measure.

    Raises:
        InputError: some attacked run has no such partner.
    """
    pair = [key for key in (*keys, "seed", "measure") if key not in ("attack", "fraction")]
    clean = values.loc[values["attack"] == style.CLEAN, [*pair, "value"]]
    attacked = values[values["attack"] != style.CLEAN]
    both = attacked.merge(clean, how="left", on=pair, suffixes=("", "_clean"), indicator=True)
    alone = both[both["_merge"] == "left_only"]
    if len(alone):
        where = ", ".join(f"{key} {alone.iloc[0][key]}" for key in pair if key != "measure")
        raise InputError(f"{where}: there is no run without attack to compare with")
    worse = both["measure"].map({name: one.worse for name, one in MEASURES.items()})
    return both.assign(value=worse * (both["value"] - both["value_clean"]))[values.columns]


def estimates(values: pd.DataFrame, keys: Sequence[str]) -> pd.DataFrame:
    """Return one row per group of `keys`: `mean, mean_low, mean_high` of `value`, and how many `runs`.

    The bounds are those of the 95 % interval over seeds. Where a run diverged, so that it has no value, all
    three are NaN: leaving it out would hide the worst; `runs_measured` have one.
    """
    rows = []
    for names, group in values.groupby(list(keys), sort=False):
        found = estimate(group["value"])
        counts = {"runs": found.count, "runs_measured": int(group["value"].count())}
        rows.append(dict(zip(keys, names, strict=True)) | found.columns("mean") | counts)
    return pd.DataFrame(rows)


def whiskers(rows: pd.DataFrame) -> list[pd.Series[float]]:
    """Return how far the interval reaches below and above the mean, as matplotlib's error bars need it."""
    return [rows["mean"] - rows["mean_low"], rows["mean_high"] - rows["mean"]]


def columns(entries: int, most: int) -> int:
    """Return how many columns of a legend, at most `most`, make its rows equally long.

    >>> columns(8, most=7)
    4
    """
    return math.ceil(entries / math.ceil(entries / most))


def handles(looks: Iterable[style.Mark]) -> list[Line2D]:
    """Return the entries of a legend."""
    from matplotlib.lines import Line2D

    return [Line2D([], [], markersize=4, **look.settings) for look in looks]
