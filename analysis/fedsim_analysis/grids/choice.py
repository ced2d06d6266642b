"""What stands on which axis of a picture of a sweep: settings by name, and no setting that is not named."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from numbers import Number
from typing import Any

import numpy as np
import pandas as pd

from fedsim.errors import InputError
from fedsim_analysis.compare.choosing import axes_of, default_metrics, is_decision, metric_named
from fedsim_analysis.frames import named
from fedsim_analysis.sweeps import in_every
from fedsim_analysis.varied import distinct, setting_named, settings_of, short_names, told_by_none
from fedsim_analysis.words import setting, short_list

METHOD = "method"
MOST_PANELS = 8
"""In a row or a column."""
_PLAIN = ("scenario", METHOD, "n_workers")
"""What may tell runs apart besides their settings."""
_OF_ATTACK = re.compile(r"attacks\.\d+\..+")
_FRACTION = re.compile(r"attacks\.\d+\.fraction")


@dataclass(frozen=True)
class Placing:
    """Which column stands where; an empty name where none does."""

    x: str
    y: str
    group: tuple[str, ...] = ()
    """What tells lines, bars or maps apart."""
    facet: str = ""
    facet_row: str = ""
    heat: str = ""
    """Up the side of a heat map, whose colour is `y`."""
    baseline: str = ""
    """What paired differences are drawn to; empty where means are drawn."""

    @property
    def names(self) -> list[str]:
        """The columns that say where a run stands, each once: panels first."""
        found = (self.facet_row, self.facet, *self.group, self.heat, self.x)
        return [name for name in dict.fromkeys(found) if name]


def choose(
    runs: pd.DataFrame,
    x: str = "",
    y: str = "",
    group: str = "",
    facet: str = "",
    facet_row: str = "",
    heat: str = "",
    baseline: str = "",
) -> tuple[Placing, pd.DataFrame]:
    """Return what stands where, and the runs as they stand there.

    A run without a setting of a panel (SDBT has no `algorithm.wait_for`, and where nobody attacks there is no
    kind of attack) stands in every panel.

    Args:
        runs: as `fedsim.load_results` gives them.
        x: a setting; if not given, the settings that vary get their places by themselves.
        y: a measurement; the first of the usual ones if not given.
        group: settings with commas between, or ``variant``, which is taken if methods vary and nothing is
            given.
        facet: a setting with a column of panels for each value.
        facet_row: one with a row of panels for each value.
        heat: a setting up the side of a heat map.
        baseline: as in `fedsim_analysis.compare.compare`.

    Raises:
        InputError: a name is unknown or stands twice, or a setting varies that is not named.
    """
    runs = named(runs)
    measure = metric_named(runs, y, "--y") if y else next(iter(default_metrics(runs)), "simulated_time_s")
    groups = [_column(runs, name.strip(), "group") for name in group.split(",") if name.strip()]
    given = {
        option: _column(runs, name, option)
        for option, name in {"facet_row": facet_row, "facet": facet, "heat": heat, "x": x}.items()
        if name
    }
    _check_once([*groups, *given.values()])
    if heat and groups:
        raise InputError("--group: a heat map has no lines; name it by --facet or --facet-row, a map each")
    if not x:
        given |= _by_themselves(runs, given, groups)
    if not groups and runs[METHOD].nunique() > 1 and METHOD not in given.values():
        if not heat:
            groups = [METHOD]
        elif free := [place for place in ("facet", "facet_row") if place not in given]:
            given[free[0]] = METHOD
    chosen = Placing(y=measure, group=tuple(groups), baseline=baseline, **given)
    placed = _placed(runs, chosen)
    _check_all_named(placed, chosen)
    for option, name in (("facet", chosen.facet), ("facet_row", chosen.facet_row)):
        if name and (count := placed[name].map(setting).nunique()) > MOST_PANELS:
            raise InputError(
                f"--{option.replace('_', '-')} {name}: found {count} values, expected at most {MOST_PANELS} "
                "for a panel each; keep some of the runs by --where"
            )
    return chosen, placed


def _column(runs: pd.DataFrame, name: str, option: str) -> str:
    """Return the column of a setting, of the variant, or of the scenario.

    Raises:
        InputError: no setting of this name varies.
    """
    if name == "variant":
        return METHOD
    return setting_named(runs, name, f"--{option.replace('_', '-')}", ("variant", *_PLAIN))


def _check_once(names: Sequence[str]) -> None:
    """Raise an InputError where a column stands at two places."""
    for name in names:
        if names.count(name) > 1:
            raise InputError(f"{name} is named for two places of the picture; expected one")


def _by_themselves(runs: pd.DataFrame, given: dict[str, str], groups: Sequence[str]) -> dict[str, str]:
    """Return a place for each setting that varies and has none: the one with most numbers goes to x.

    Raises:
        InputError: nothing varies, or more does than a picture has places.
    """
    taken = {*given.values(), *groups}
    # Of settings that follow from each other the first one counts: numbers before names.
    names = {name for name in settings_of(runs) if not is_numeric(runs[name])}
    columns = sorted(map(str, runs), key=names.__contains__)
    free: list[str] = [name for name in axes_of(runs[columns], ()) if name not in taken]
    if runs["scenario"].nunique() > 1 and "scenario" not in taken:
        free.append("scenario")
    if not free and METHOD not in taken and runs[METHOD].nunique() > 1:
        free = [METHOD]
    if not free:
        raise InputError("--x: no setting varies among these runs that has no place yet")
    counts: dict[str, int] = {name: runs[name].dropna().map(setting).nunique() for name in free}
    # What a method chooses is looked at before what it meets.
    numeric = {name: is_numeric(runs[name]) for name in free}
    free.sort(key=lambda name: (numeric[name], counts[name], is_decision(name)), reverse=True)
    places = [place for place in ("x", "facet", "facet_row") if place not in given]
    if len(free) > len(places):
        raise InputError(_too_many(runs, free[len(places) :], places))
    return dict(zip(places, free, strict=False))


def _placed(runs: pd.DataFrame, chosen: Placing) -> pd.DataFrame:
    """Return the runs with a value at every place that all runs stand at."""
    runs = runs.copy(deep=False)
    nobody = nobody_attacks(runs)
    for name in (name for name in map(str, runs) if _OF_ATTACK.fullmatch(name)):
        if name not in chosen.names:
            runs[name] = runs[name].mask(nobody)  # whatever is said of an attack on nobody
        elif _FRACTION.fullmatch(name):
            runs[name] = runs[name].mask(nobody, 0.0).astype(float)
    along = [chosen.heat, chosen.x] if chosen.heat else []
    of_attacks = [name for name in chosen.group if _OF_ATTACK.fullmatch(name)]
    for name in filter(None, [chosen.facet_row, chosen.facet, *along, *of_attacks]):
        lent = runs[name].isna()
        if _OF_ATTACK.fullmatch(name) and not _FRACTION.fullmatch(name):
            lent |= nobody_attacks(runs)
        others = [other for other in chosen.names if other != name]
        runs = in_every(runs, name, lent, [*others, "seed"])
    return runs


def nobody_attacks(runs: pd.DataFrame) -> pd.Series[bool]:
    """Return of each run whether none of its workers is malicious."""
    fractions = [name for name in map(str, runs) if _FRACTION.fullmatch(name)]
    shares = runs[fractions].astype(float).fillna(0.0)
    return (shares == 0).all(axis=1) & bool(fractions)


def _check_all_named(runs: pd.DataFrame, chosen: Placing) -> None:
    """Check that the runs of each point differ in their seed alone.

    Raises:
        InputError: they do not.
    """
    # As texts, for whole groups have no such setting.
    placed = runs.assign(**{name: runs[name].map(setting) for name in chosen.names})
    places = placed.groupby(chosen.names)
    differing = [name for name in _PLAIN[:2] if (places[name].nunique() > 1).any()]
    differing += told_by_none(placed, [*chosen.names, *differing])
    if differing:
        options = [("facet", chosen.facet), ("facet_row", chosen.facet_row), ("group", chosen.group)]
        free = [option for option, name in options if not name]
        raise InputError(_too_many(runs, differing, free))
    twice = placed.duplicated([*chosen.names, "seed"], keep=False)
    if twice.any():
        seed = runs.loc[twice, "seed"].iloc[0]
        raise InputError(f"several runs of seed {seed} stand at one point; give the folder of a single study")


def _too_many(runs: pd.DataFrame, names: Sequence[str], free: Iterable[str]) -> str:
    """Return what to do with settings that vary and have no place."""
    known = ["variant" if name == METHOD else name for name in names]
    short = list(short_names(known))
    value = distinct(runs[names[0]])[0]
    written = repr(value) if isinstance(value, str) else setting(value)
    options = " or ".join(f"--{option.replace('_', '-')}" for option in free)
    place = f"name {'it' if len(names) == 1 else 'one of them'} by {options}, or " if options else ""
    return (
        f"the runs of one point differ in {short_list(known, 6)} as well: {place}keep some of the runs, "
        f'as in --where "{known[0]} == {written}"' + (" and so on" if len(short) > 1 else "")
    )


def is_numeric(column: pd.Series[Any]) -> bool:
    """Whether all values that are set are numbers, and no switches."""
    known = column.dropna()
    return bool(len(known)) and all(
        isinstance(value, Number) and not isinstance(value, bool | np.bool_) for value in known
    )
