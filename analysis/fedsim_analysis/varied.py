"""How runs of one scenario differ: the settings that vary among them, in words."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

import pandas as pd

from fedsim_analysis.style import TASKS, in_order


def with_settings(runs: pd.DataFrame) -> pd.DataFrame:
    """Return the runs with a column `setting`, so that scenario, method, seed and it name one run each.

    It is empty where nothing but the seed varies among the runs of a scenario and method; where what varies
    has no column of its own, it holds the address of the run.

    Args:
        runs: one row per run, with `method`; columns with a dot in their name are settings.

    Returns:
        The runs in order of scenario, and of the values of the settings that vary.
    """
    parts = []
    for scenario in in_order(runs["scenario"], TASKS):
        of_one = runs[runs["scenario"] == scenario]
        varied = [name for name in map(str, of_one) if "." in name and _varies(of_one, name)]
        if varied:
            of_one = of_one.sort_values(varied, key=_sortable)
        short = of_one[varied].set_axis(list(short_names(varied)), axis=1)
        told = [_told(row) for row in short.to_dict("records")]
        parts.append(of_one.assign(setting=pd.Series(told, of_one.index, dtype=object)))
    runs = pd.concat(parts, ignore_index=True)
    alike = runs.duplicated(["scenario", "setting", "method", "seed"], keep=False)
    runs.loc[alike, "setting"] = (runs["setting"] + " run " + runs["run_id"]).str.strip()
    return runs


def _varies(runs: pd.DataFrame, setting: str) -> bool:
    return bool((runs[setting].astype(str).groupby(runs["method"]).nunique() > 1).any())


def short_names(names: list[str]) -> dict[str, str]:
    """Return dotted names by their last words, where these tell them apart.

    >>> short_names(["workers.1.slow_down", "attacks.0.kind", "problem.kind"])
    {'slow_down': 'workers.1.slow_down', 'attacks.0.kind': 'attacks.0.kind', 'problem.kind': 'problem.kind'}
    """
    last = [name.rpartition(".")[2] for name in names]
    return {(word if last.count(word) == 1 else name): name for word, name in zip(last, names, strict=True)}


def _sortable(column: pd.Series[Any]) -> pd.Series[Any]:
    return column if pd.api.types.is_numeric_dtype(column) else column.astype(str)


def _told(settings: Mapping[Hashable, Any]) -> str:
    """Return settings as a person writes them; a method without a setting has none."""
    return ", ".join(
        f"{name} = {value:g}" if isinstance(value, float) else f"{name} = {value}"
        for name, value in settings.items()
        if not pd.isna(value)
    )
