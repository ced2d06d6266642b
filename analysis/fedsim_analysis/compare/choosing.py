"""What is compared: which metrics, along which settings, and which runs are the baseline."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import pandas as pd

from fedsim.errors import InputError, nearest
from fedsim_analysis.style import METHODS, method_name
from fedsim_analysis.varied import distinct, setting_named, told_by_none
from fedsim_analysis.words import setting, short_list

DEFAULT_METRICS = ("simulated_time_s", "accuracy", "time_to_target_s")
ROWS = ("scenario", "variant", "method")
"""What makes rows anyway."""
OTHERS = ("n_workers",)
"""Columns besides the settings that may make rows."""
BASELINES = ("sdbt", "cendbt")
"""Methods that others are compared with if nobody says which, the first that is there."""


class Reference(NamedTuple):
    """Which runs the others are compared with."""

    name: str
    """A method, or a setting with its value: ``algorithm.wait_for=10``."""
    column: str
    """``method``, or the setting."""
    holds: pd.Series[bool]
    """Of each run, whether it is one of them."""


def metric_named(runs: pd.DataFrame, name: str, place: str = "metric") -> str:
    """Return the column of a metric; a part of its name is enough where no other has it.

    Raises:
        InputError: no column has it, or several have, or its values are no numbers.
    """
    numbers = [str(column) for column in runs.select_dtypes("number") if "." not in str(column)]
    numbers = [column for column in numbers if column != "seed"]
    found = [name] if name in numbers else [column for column in numbers if column.endswith(f"_{name}")]
    if not found:
        found = [column for column in numbers if name in column]
    if len(found) == 1 and runs[found[0]].notna().any():
        return found[0]
    if len(found) == 1:
        raise InputError(f"{place} {name!r}: no run has a value of it{_why_without(runs, found[0])}")
    if found:
        raise InputError(f"{place} {name!r}: may be {', '.join(found)}; expected the name of one")
    what = "no such column" if name not in runs else "a column that is no measurement"
    measured = short_list([column for column in numbers if runs[column].notna().any()], 20)
    raise InputError(f"{place} {name!r}: {what}{nearest(name, numbers) or f' (known: {measured})'}")


def _why_without(runs: pd.DataFrame, column: str) -> str:
    if "timing_only" in runs and runs["timing_only"].all():
        return ": these are runs of the clock alone"
    return "; has a [target] been stated?" if column == "time_to_target_s" else ""


def default_metrics(runs: pd.DataFrame) -> tuple[str, ...]:
    """Return those of the usual metrics of which any run has a value."""
    return tuple(name for name in DEFAULT_METRICS if name in runs and runs[name].notna().any())


def axes_of(runs: pd.DataFrame, named: Sequence[str]) -> list[str]:
    """Return the settings that make rows: those that are named, or all that vary within a method.

    Raises:
        InputError: a name is no setting that varies.
    """
    if not named:
        return told_by_none(runs, ["scenario", "method"])
    found = [name if name in ROWS else setting_named(runs, name, "--by", OTHERS) for name in named]
    return [name for name in dict.fromkeys(found) if name not in ROWS]


def is_decision(name: str) -> bool:
    """Whether a setting is somebody's choice, and no circumstance that methods meet.

    >>> is_decision("algorithm.wait_for"), is_decision("workers.1.slow_down"), is_decision("attacks.0.kind")
    (True, False, False)
    """
    return name.startswith("algorithm.")


def baseline_named(runs: pd.DataFrame, name: str | None) -> Reference:
    """Return the baseline of this name: a method or variant, or a setting with its value.

    Args:
        runs: with `method`.
        name: None for the first that is there of SDBT and cenDBT.

    Raises:
        InputError: there is none.
    """
    methods = list(dict.fromkeys(runs["method"]))
    if name is None:
        name = next((one for one in BASELINES if one in methods), None)
        if name is None:
            axes = sorted(told_by_none(runs, ["scenario", "method"]), key=lambda axis: not is_decision(axis))
            of_setting = f", or {axes[0]}={setting(distinct(runs[axes[0]])[0])}" if axes else ""
            raise InputError(f"--baseline: expected one of {', '.join(methods)}{of_setting}")
    if name in methods:
        return Reference(name, "method", runs["method"] == name)
    by_label = [method for method in methods if method_name(method).lower() == name.lower()]
    if len(by_label) == 1:
        return Reference(by_label[0], "method", runs["method"] == by_label[0])
    short, is_setting, value = name.partition("=")
    if is_setting:
        column = setting_named(runs, short, "--baseline", OTHERS)
        holds = runs[column].map(setting) == _as_written(value)
        if not holds.any():
            known = ", ".join(dict.fromkeys(runs[column].dropna().map(setting)))
            raise InputError(f"--baseline {name!r}: no run has it (values: {known})")
        return Reference(f"{column}={value}", column, holds)
    algorithms = runs.loc[runs["algorithm"] == name, "method"].unique()
    if len(algorithms) == 1:
        return Reference(str(algorithms[0]), "method", runs["method"] == algorithms[0])
    hint = nearest(name, methods) or f" (methods: {', '.join(methods)})"
    known = " among these runs" if name in METHODS else ""
    raise InputError(f"--baseline {name!r}: no such method or variant{known}{hint}")


def _as_written(value: str) -> str:
    try:
        return setting(float(value))
    except ValueError:
        return value
