"""The rows of a comparison: runs that differ in their seed alone, and those of the baseline beside them."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import pandas as pd

from fedsim.errors import InputError
from fedsim_analysis.compare.choosing import Reference
from fedsim_analysis.style import TASKS, in_order, methods_in_order
from fedsim_analysis.varied import distinct, settings_of
from fedsim_analysis.words import NOT_SET, setting, short_list


@dataclass(frozen=True)
class RunsOfRow:
    """The runs of one row, by seed."""

    place: tuple[Hashable, ...]
    """Scenario and method."""
    values: dict[str, Any]
    """Of the settings that make rows."""
    runs: pd.DataFrame
    of_baseline: bool
    partner: pd.DataFrame = field(default_factory=pd.DataFrame)
    """The baseline's runs, by seed."""


def groups_of(
    runs: pd.DataFrame, axes: Sequence[str], baseline: Reference | None = None
) -> Iterator[RunsOfRow]:
    """Yield the rows in the order of scenario, settings and method, of which the baseline is the first.

    Args:
        runs: with `method`.
        axes: settings that make rows.
        baseline: None where rows stand for themselves.

    Raises:
        InputError: the runs of a row differ in more than their seed, or several of the baseline's share one.
    """
    texts = {name: runs[name].map(setting) for name in axes}
    levels = {name: [setting(value) for value in distinct(runs[name])] for name in axes}
    scenarios = in_order(runs["scenario"], TASKS)
    methods = sorted(
        methods_in_order(runs["method"]), key=lambda name: baseline is None or name != baseline.name
    )
    keys = [runs["scenario"], *(texts[name] for name in axes), runs["method"]]
    found = dict(iter(runs.groupby(keys, sort=False)))

    def place(key: tuple[Any, ...]) -> list[int]:
        # What a method does not have stands before all values of those that do.
        settings = [
            -1 if text == NOT_SET else levels[name].index(text)
            for name, text in zip(axes, key[1:-1], strict=True)
        ]
        return [scenarios.index(key[0]), *settings, methods.index(key[-1])]

    for key in sorted(found, key=place):
        group = found[key]
        _check(group, axes, key)
        values = {name: group[name].iloc[0] for name in axes}
        of_baseline = baseline is not None and bool(baseline.holds[group.index].all())
        one = RunsOfRow((key[0], key[-1]), values, group.set_index("seed").sort_index(), of_baseline)
        if baseline is not None and not of_baseline:
            one = replace(one, partner=_partner(one, runs, texts, axes, baseline))
        yield one


def _check(group: pd.DataFrame, axes: Sequence[str], key: tuple[Hashable, ...]) -> None:
    """Check that the runs of a row differ in their seed alone.

    Raises:
        InputError: they do not.
    """
    texts = {name: group[name].map(setting) for name in settings_of(group) if name not in axes}
    differing = [name for name, column in texts.items() if column.nunique() > 1]
    where = ", ".join(
        map(str, (key[0], key[-1], *(f"{n} = {t}" for n, t in zip(axes, key[1:-1], strict=True))))
    )
    if differing:
        raise InputError(
            f"{where}: these {len(group)} runs differ in {short_list(differing, 6)} as well; "
            "name that in --by, or keep some of the runs by --where"
        )
    if group["seed"].duplicated().any():
        seed = group.loc[group["seed"].duplicated(), "seed"].iloc[0]
        raise InputError(f"{where}: there are several runs of seed {seed}; give the folder of a single study")


def _partner(
    group: RunsOfRow,
    runs: pd.DataFrame,
    texts: dict[str, pd.Series[str]],
    axes: Sequence[str],
    baseline: Reference,
) -> pd.DataFrame:
    """Return the runs of the baseline that a row is compared with, by seed; none where there are none."""
    scenario, method = group.place
    holds = baseline.holds & (runs["scenario"] == scenario)
    if baseline.column != "method":
        holds &= runs["method"] == method
    for name in axes:
        if name == baseline.column:
            continue
        same = holds & (texts[name] == setting(group.values[name]))
        holds = same if same.any() else holds & runs[name].isna()
    found = runs[holds]
    if found["seed"].duplicated().any():
        differing = [name for name in settings_of(found) if found[name].map(setting).nunique() > 1]
        raise InputError(
            f"the baseline {baseline.name} has several runs of one seed, which differ in "
            f"{short_list(differing, 6) or 'nothing'}; name that in --by, or keep some by --where"
        )
    return found.set_index("seed").sort_index()
