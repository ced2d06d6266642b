"""How runs of one scenario differ: the settings that vary among them, in words, and what may be averaged."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from itertools import pairwise
from numbers import Integral
from typing import Any

import pandas as pd

from fedsim.errors import InputError, nearest
from fedsim_analysis.style import METHODS, TASKS, in_order, origin_of
from fedsim_analysis.words import setting, short_list

SURROUNDINGS = ("attacks.", "budget.", "llm.", "network.", "server.", "target.", "workers.", "versions.")
"""What a method meets, and the program that ran it. Where these differ between two methods, the method is not
all that differs."""
_KEPT_ALONE = "record."
"""What a run writes besides its tables changes none of its numbers."""


def settings_of(runs: pd.DataFrame) -> list[str]:
    """Return the columns that hold settings."""
    return [name for name in map(str, runs) if "." in name and not name.startswith(_KEPT_ALONE)]


def setting_named(runs: pd.DataFrame, name: str, place: str, others: Sequence[str] = ()) -> str:
    """Return the column of a setting; its last words are enough where no other setting has them.

    Args:
        runs: columns with a dot in their name are settings.
        name: as a person writes it.
        place: where it was stated, for error messages.
        others: columns that are taken like settings.

    Raises:
        InputError: no setting of this name varies, or several have it.
    """
    settings = settings_of(runs)
    if name in settings or (name in others and name in runs):
        return name
    ending = [one for one in settings if one.endswith(f".{name}")]
    if len(ending) == 1:
        return ending[0]
    if ending:
        raise InputError(f"{place} {name!r}: may be {', '.join(ending)}; expected the name of one")
    varying = [one for one in settings if runs[one].map(setting).nunique() > 1]
    hint = nearest(name, [*others, *settings, *short_names(settings)])
    these = short_list(["variant", *varying])
    raise InputError(
        f"{place} {name!r}: no setting of this name varies among these runs{hint or f' (these do: {these})'}"
    )


def varied(runs: pd.DataFrame, line: str = "method") -> list[str]:
    """Return the settings of one scenario's runs that must be named where these stand side by side.

    They vary among the runs of one method, or are surroundings in which one method differs from another: a
    name that is a method's promises that nothing else does. A variant of any other name says what it changes.

    Args:
        runs: with `method`.
        line: the column by which a figure tells runs apart already.
    """
    return [name for name in settings_of(runs) if _varies(runs, name, line) or unlike(runs, name)]


def told_by_none(runs: pd.DataFrame, homes: Sequence[str]) -> list[str]:
    """Return the settings that vary within each home, without those that another of them tells.

    A setting is told by another one if it has one value for each value of that one: `attacks.0.scale`, which
    one kind of attack alone has, by `attacks.0.kind`. Of two that tell each other the one stays that is less
    deep, or comes first. A number tells only numbers that rise or fall with it: of points that were drawn at
    random, each has a number of its own, which therefore seems to tell all else.

    Args:
        runs: one row per run; columns with a dot in their name are settings.
        homes: the columns that tell runs apart already, such as the scenario and the method.
    """
    texts = {name: runs[name].map(setting) for name in settings_of(runs)}
    of_home = [runs[home] for home in homes]
    names = [name for name, text in texts.items() if (text.groupby(of_home).nunique() > 1).any()]
    partly = {name for name in names if _partly(runs[name], texts[name])}
    # Of those that some runs alone have the shortest names come first, by alphabet.
    names.sort(key=lambda name: (name.count("."), name if name in partly else ""))
    told = {
        name
        for place, name in enumerate(names)
        for rank, other in enumerate(names)
        if other != name
        and _tells(runs, texts, other, name)
        and (rank < place or not _tells(runs, texts, name, other))
    }
    return [name for name in texts if name in names and name not in told]


def _partly(column: pd.Series[Any], texts: pd.Series[str]) -> bool:
    """Whether some runs alone have a setting, all with one value: it is there or not."""
    return bool(column.isna().any()) and texts.nunique() == 2


def _tells(runs: pd.DataFrame, texts: Mapping[str, pd.Series[str]], one: str, other: str) -> bool:
    """Whether the value of one setting tells that of another."""
    if (texts[other].groupby(texts[one]).nunique() > 1).any():
        return False
    if _partly(runs[other], texts[other]):
        return True
    numbers = [
        pd.api.types.is_numeric_dtype(runs[name]) and runs[name].dtype != bool for name in (one, other)
    ]
    if all(numbers):
        along = runs[[one, other]].dropna().sort_values([one, other])[other]
        return bool(along.is_monotonic_increasing or along.is_monotonic_decreasing)
    if numbers[0]:
        return False
    # Two names that go with each other were put side by side by somebody, unless one is about the other.
    back = not (texts[one].groupby(texts[other]).nunique() > 1).any()
    return not back or other.startswith(one.rpartition(".")[0] + ".")


def with_settings(runs: pd.DataFrame, line: str = "method") -> pd.DataFrame:
    """Return the runs with a column `setting`, so that scenario, method, seed and it name one run each.

    It is empty where nothing but the method and the seed varies among the runs of a scenario; where what
    varies has no column of its own, it holds the address of the run.

    Args:
        runs: one row per run, with `method`; columns with a dot in their name are settings.
        line: the column by which a figure tells runs apart already.

    Returns:
        The runs in order of scenario, and of the values of the settings that vary.
    """
    parts = []
    for scenario in in_order(runs["scenario"], TASKS):
        of_one = runs[runs["scenario"] == scenario]
        names = varied(of_one, line)
        if names:
            of_one = of_one.sort_values(names, key=_sortable, kind="stable")
        short = of_one[names].set_axis(list(short_names(names)), axis=1)
        # of no columns pandas makes no records before its version 3.1
        told = [_told(row) for row in short.to_dict("records")] if names else [""] * len(short)
        parts.append(of_one.assign(setting=pd.Series(told, of_one.index, dtype=object)))
    runs = pd.concat(parts, ignore_index=True)
    alike = runs.duplicated(["scenario", "setting", line, "seed"], keep=False)
    runs.loc[alike, "setting"] = (runs["setting"] + " run " + runs["run_id"]).str.strip()
    return runs


def check_averaged(runs: pd.DataFrame, keys: Sequence[str]) -> None:
    """Check that the runs of each place differ in their seed alone, so that a mean over them is one.

    Args:
        runs: one row per run, with `seed`.
        keys: the columns that say at which place of a figure or table a run is.

    Raises:
        InputError: two runs of a place share a seed, or differ in a setting.
    """
    twice = runs[runs.duplicated([*keys, "seed"], keep=False)]
    for place, same in twice.groupby([*keys, "seed"], dropna=False, sort=False):
        where = ", ".join(f"{key} {word}" for key, word in zip((*keys, "seed"), place, strict=True))
        raise InputError(
            f"{where}: there are {len(same)} runs{_differing(same)}; expected one per seed, so give the "
            "folder of a single study"
        )
    names = settings_of(runs)
    if not names:
        return
    of_place = [runs[key] for key in keys]
    several = runs[names].map(_written).groupby(of_place, dropna=False, sort=False).transform("nunique") > 1
    for place, group in runs[several.any(axis=1)].groupby(list(keys), dropna=False, sort=False):
        where = ", ".join(f"{key} {word}" for key, word in zip(keys, place, strict=True))
        raise InputError(
            f"{where}: there are {len(group)} runs{_differing(group)}; a mean over seeds needs runs that "
            "differ in their seed alone, so give the folder of a single study"
        )


def check_compared(runs: pd.DataFrame, keys: Sequence[str] = ("scenario",)) -> None:
    """Check that methods that are compared at a place differ in themselves alone.

    Args:
        runs: with `method`.
        keys: the columns that say at which place of a figure or table a comparison is.

    Raises:
        InputError: their surroundings differ.
    """
    for place, of_one in runs.groupby(list(keys), dropna=False, sort=False):
        if differing := [name for name in settings_of(of_one) if unlike(of_one, name)]:
            where = ", ".join(f"{key} {word}" for key, word in zip(keys, place, strict=True))
            raise InputError(
                f"{where}: the methods differ in more than themselves, in {', '.join(differing)}; a "
                "comparison needs equal surroundings, so give the folder of a single study"
            )


def _differing(runs: pd.DataFrame) -> str:
    names = [name for name in settings_of(runs) if _distinct(runs[name]) > 1]
    return f", which differ in {', '.join(names)}" if names else ""


def _varies(runs: pd.DataFrame, setting: str, line: str) -> bool:
    return bool((runs[setting].map(_written).groupby(runs[line]).nunique() > 1).any())


def unlike(runs: pd.DataFrame, setting: str) -> bool:
    """Whether methods that have a setting of the surroundings have different values of it.

    Args:
        runs: of one scenario, or of one place of a figure; with `method`.
        setting: its dotted name.
    """
    if not setting.startswith(SURROUNDINGS):
        return False
    methods = runs["method"].map(lambda name: name in METHODS or bool(origin_of(name)))
    return _distinct(runs.loc[methods & runs[setting].notna(), setting]) > 1


def _distinct(column: pd.Series[Any]) -> int:
    return column.map(_written).nunique()


def _written(value: Any) -> str:
    """Return a cell as a text that only equal cells share: a whole number equals itself with a point."""
    return str(float(value)) if isinstance(value, Integral) and not isinstance(value, bool) else str(value)


def shortened(texts: Sequence[str], longest: int) -> list[str]:
    """Return labels of a length that fits, in which what tells them apart is kept.

    A label that is cut keeps its beginning and the place at which it first differs from the one most like it.

    >>> shortened([f"size = 10, file = /a/very/long/path/{name}.csv" for name in ("one", "two")], 30)
    ['size = ... /long/path/one.csv', 'size = ... /long/path/two.csv']
    """
    if all(len(text) <= longest for text in texts):
        return list(texts)
    different = sorted(set(texts))
    shared = [_alike(*pair) for pair in pairwise(different)]
    apart = dict(zip(different, map(max, [0, *shared], [*shared, 0]), strict=True))
    found = [_cut(text, apart[text], longest) for text in texts]
    return found if len(set(found)) == len(different) else list(texts)


def _alike(one: str, other: str) -> int:
    """Return how many letters two texts have in common from their beginning."""
    return next((place for place, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), len(one))


def _cut(text: str, apart: int, longest: int) -> str:
    """Leave out parts of a text, but neither its beginning nor what stands around `apart`."""
    if len(text) <= longest:
        return text
    gap, most_after = " ... ", longest // 3
    if apart + most_after <= longest:
        return text[: longest - len(gap)].rstrip() + gap.rstrip()
    head = longest // 4
    room = longest - head - 2 * len(gap)
    start = min(apart - room // 2, len(text) - room - len(gap))
    end = start + room if len(text) - start - room > len(gap) else len(text)
    return text[:head].rstrip() + gap + text[start:end].strip() + (gap.rstrip() if end < len(text) else "")


def short_names(names: list[str]) -> dict[str, str]:
    """Return dotted names by their last words, where these tell them apart.

    >>> short_names(["workers.1.slow_down", "attacks.0.kind", "problem.kind"])
    {'slow_down': 'workers.1.slow_down', 'attacks.0.kind': 'attacks.0.kind', 'problem.kind': 'problem.kind'}
    """
    last = [name.rpartition(".")[2] for name in names]
    return {(word if last.count(word) == 1 else name): name for word, name in zip(last, names, strict=True)}


def distinct(column: pd.Series[Any]) -> list[Any]:
    """Return the distinct values of a column: numbers by size, the rest by alphabet, what is not set last."""
    values = {setting(value): value for value in column}
    return sorted(values.values(), key=_rank)


def _rank(value: Any) -> tuple[int, float, str]:
    if isinstance(value, bool | str | list):
        return 1, 0.0, setting(value)
    return (2, 0.0, "") if pd.isna(value) else (0, float(value), "")


def _sortable(column: pd.Series[Any]) -> pd.Series[Any]:
    if pd.api.types.is_numeric_dtype(column):
        return column
    # A missing value stays one, and so the last: `astype(str)` would write it out before pandas 3.
    return column.map(str, na_action="ignore")


def _told(settings: Mapping[Hashable, Any]) -> str:
    """Return settings as a person writes them; a method without a setting has none."""
    return ", ".join(
        f"{name} = {value:g}" if isinstance(value, float) else f"{name} = {value}"
        for name, value in settings.items()
        if not _missing(value)
    )


def _missing(value: Any) -> bool:
    return bool(pd.api.types.is_scalar(value) and pd.isna(value))
