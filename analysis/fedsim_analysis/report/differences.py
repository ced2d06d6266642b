"""How the runs of a report differ: the settings that vary, and their values."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from fedsim_analysis.varied import distinct
from fedsim_analysis.words import setting, short_list

MARK = " (setting)"
"""What the name of a setting ends with that is also the name of a measurement."""


@dataclass(frozen=True)
class Difference:
    """A setting that varies: its values in words, and whether the method alone decides on its value."""

    name: str
    values: str
    by_method: bool


def differences(runs: pd.DataFrame) -> list[Difference]:
    """Return the settings that vary among runs; first those that vary within a method.

    Args:
        runs: one row per run, with `scenario` and `method`.
    """
    found = [
        Difference(name, short_list(map(setting, distinct(runs[name]))), not varies_within(runs, name))
        for name in settings(runs)
        if len(distinct(runs[name])) > 1
    ]
    return sorted(found, key=lambda difference: difference.by_method)


def settings(runs: pd.DataFrame) -> list[str]:
    """Return the columns that hold settings, in the order of the table."""
    return [name for name in map(str, runs.columns) if "." in name or name.endswith(MARK)]


def varies_within(runs: pd.DataFrame, name: str, given: Sequence[str] = ()) -> bool:
    """Whether a setting varies among the runs of one scenario and method, and of equal `given` settings."""
    keys = [runs["scenario"], runs["method"], *(runs[key].map(setting) for key in given)]
    return bool((runs[name].map(setting).groupby(keys).nunique() > 1).any())
