"""The data of the plot in which a person picks the axes: the runs, column by column."""

from __future__ import annotations

from typing import Any

import pandas as pd

from fedsim_analysis import style
from fedsim_analysis.report.differences import differences
from fedsim_analysis.report.headline import MEASURES
from fedsim_analysis.report.looks import look, method_looks
from fedsim_analysis.report.places import telling
from fedsim_analysis.statistics import CONFIDENCE
from fedsim_analysis.varied import distinct
from fedsim_analysis.words import label, plain, setting

NAMES = ("scenario", "method", "algorithm", "n_workers", "ended")
"""What may tell groups of runs apart, besides the settings that vary."""
HIDDEN = ("run_id", "seed", "place")


def explorer(runs: pd.DataFrame) -> dict[str, Any]:
    """Return what the plot needs.

    Args:
        runs: one row per run, as in `Material`.

    Returns:
        `dimensions` (what tells runs apart: `name`, `label`, `values` a run, `levels`, each distinct value
        with its look, and whether it `tells` runs of one method apart), `measures` (`name`, `label`,
        `values`), the `first_measure` to show, the `seeds`, `places` and `ids` of the runs, and `student`:
        the quantile of Student's t for 1, 2, ... degrees of freedom.
    """
    apart = telling(runs)
    varied = [difference.name for difference in differences(runs)]
    names = [name for name in NAMES if name in runs and (name == "method" or runs[name].nunique() > 1)]
    if "algorithm" in names and runs["algorithm"].equals(runs["method"]):
        names.remove("algorithm")
    return {
        "dimensions": [
            _dimension(runs[name]) | {"tells": name not in varied or name in apart}
            for name in (*names, *varied)
        ],
        "first_measure": _first_measure(runs),
        "measures": [
            {"name": name, "label": label(name), "values": _shortened(runs[name])} for name in _measures(runs)
        ],
        "seeds": runs["seed"].tolist(),
        "places": runs["place"].tolist(),
        "ids": runs["run_id"].tolist(),
        "student": _quantiles(runs["seed"].nunique()),
    }


def _dimension(column: pd.Series[Any]) -> dict[str, Any]:
    name = str(column.name)
    is_method = name in ("method", "algorithm")
    levels: list[Any]
    if is_method:
        levels = list(method_looks(column))
    else:
        levels = style.in_order(column, style.TASKS) if name == "scenario" else distinct(column)
    words = style.task_name if name == "scenario" else str
    numeric = all(isinstance(plain(value), int | float | None) for value in levels)
    looks = method_looks(levels) if is_method else {}
    numeric = numeric and not any(isinstance(plain(value), bool) for value in levels)
    return {
        "name": name,
        "label": label(name),
        "numeric": numeric,
        "values": [plain(value) if numeric else setting(value) for value in column],
        "levels": [
            {"value": plain(value) if numeric else setting(value), "text": words(setting(value))}
            | (looks[value] if is_method else look(setting(value), place))
            for place, value in enumerate(levels)
        ],
    }


def _measures(runs: pd.DataFrame) -> list[str]:
    """Return the measurements that any run has: the headline numbers first."""
    numbers = runs.select_dtypes("number").dropna(axis="columns", how="all")
    known = [name for name in map(str, numbers.columns) if "." not in name and name not in HIDDEN]
    first = [name for name in MEASURES if name in known]
    return [*first, *(name for name in known if name not in first)]


def _first_measure(runs: pd.DataFrame) -> str:
    """Return what is plotted first: the first measurement in which runs of one seed differ, if any do."""
    measures = _measures(runs)
    differing = (name for name in measures if (runs.groupby("seed")[name].nunique() > 1).any())
    return next(differing, measures[0])


def _shortened(column: pd.Series[float]) -> list[float | None]:
    """Return numbers with nine digits, more than any screen shows; none where there is no number."""
    return [None if pd.isna(value) else float(f"{value:.9g}") for value in column]


def _quantiles(n_seeds: int) -> list[float]:
    from scipy.stats import t as student

    return [float(student.ppf((1 + CONFIDENCE) / 2, freedom)) for freedom in range(1, max(n_seeds, 2))]
