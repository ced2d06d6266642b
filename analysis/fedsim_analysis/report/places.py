"""Which runs belong together: those of one scenario, method and setting, which differ in their seed alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd

from fedsim_analysis import style
from fedsim_analysis.report.differences import settings, varies_within
from fedsim_analysis.varied import distinct, short_names, unlike
from fedsim_analysis.words import plain, setting


def telling(runs: pd.DataFrame) -> list[str]:
    """Return the settings that tell runs of one method apart, and surroundings in which methods differ.

    What not every run has, such as the factor that only one kind of attack knows, is among them only where
    the others do not tell everything already.

    Args:
        runs: one row per run, with `scenario` and `method`.
    """
    scenarios = [of_one for _, of_one in runs.groupby("scenario")]
    apart = {name for name in settings(runs) if any(unlike(of_one, name) for of_one in scenarios)}
    varied = [name for name in settings(runs) if name in apart or varies_within(runs, name)]
    chosen = [name for name in varied if name in apart or runs[name].notna().all()]
    for name in varied:
        if name not in chosen and varies_within(runs, name, given=chosen):
            chosen.append(name)
    return [name for name in varied if name in chosen]


def in_places(runs: pd.DataFrame) -> pd.DataFrame:
    """Return the runs with `setting`, the telling settings in words, and `place`, the number of the place.

    They are in order of scenario, setting (numbers by size), method (as in all figures) and seed. Runs that
    share all that, seed included, are places of their own, told apart by their address.

    Args:
        runs: one row per run, with `scenario`, `method`, `seed` and `run_id`.
    """
    names = telling(runs)
    runs = runs.assign(setting="")
    for of_one in runs.groupby("scenario").groups.values():
        runs.loc[of_one, "setting"] = _told(runs.loc[of_one])
    alike = runs.duplicated(["scenario", "setting", "method", "seed"], keep=False)
    runs.loc[alike, "setting"] = (runs["setting"] + " run " + runs["run_id"]).str.strip()
    turns = pd.DataFrame({name: _turns(runs[name], distinct(runs[name])) for name in names}, index=runs.index)
    turns.insert(0, "scenario", _turns(runs["scenario"], style.in_order(runs["scenario"], style.TASKS)))
    turns["method"] = _turns(runs["method"], style.methods_in_order(runs["method"]))
    turns["seed"] = runs["seed"]
    runs = runs.loc[turns.sort_values(["scenario", *names, "method", "seed"]).index].reset_index(drop=True)
    return runs.assign(place=runs.groupby(["scenario", "method", "setting"], sort=False).ngroup())


def _told(runs: pd.DataFrame) -> list[str]:
    """Return the telling settings of each run of one scenario, those that it has, in words."""
    short = short_names(telling(runs))
    return [
        ", ".join(
            f"{word} = {setting(run[name])}" for word, name in short.items() if plain(run[name]) is not None
        )
        for _, run in runs.iterrows()
    ]


def _turns(column: pd.Series[Any], values: Sequence[Any]) -> list[int]:
    """Return the place of every cell among the values."""
    places = {setting(value): place for place, value in enumerate(values)}
    return [places[setting(value)] for value in column]
