"""The numbers behind a picture of a sweep: means over seeds, or differences paired by seed."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pandas as pd

from fedsim.errors import InputError
from fedsim_analysis.compare import compare
from fedsim_analysis.compare.target import TARGET, values_of
from fedsim_analysis.grids.choice import METHOD, Placing
from fedsim_analysis.statistics import estimate
from fedsim_analysis.style import TASKS, in_order, methods_in_order
from fedsim_analysis.varied import distinct
from fedsim_analysis.words import setting


def numbers(runs: pd.DataFrame, chosen: Placing) -> pd.DataFrame:
    """Return one row per place of the picture, in the order of its values.

    Args:
        runs: as `choose` places them.
        chosen: what stands where.

    Returns:
        A column for each of `chosen.names` (missing where a run has no such setting, so that it holds for all
        values), `metric`, `baseline`, `mean, mean_low, mean_high` (of the difference where there is a
        baseline), `runs`, `without` (how many of them have no value: they never reached the target, or
        diverged; beside a baseline also of its runs that never did) and, beside a baseline, `pairs` (0: no
        seed is shared, so that the runs are compared as independent ones). Where runs never reached the
        target the mean is a lower bound, of times up to the end of the first of them; others without a value
        are left out.

    Raises:
        InputError: there is no such baseline, or nothing beside it.
    """
    rows = _differences(runs, chosen) if chosen.baseline else _means(runs, chosen)
    places = {name: [setting(value) for value in _levels(runs, name)] for name in chosen.names}
    order = pd.DataFrame({name: rows[name].map(setting).map(places[name].index) for name in chosen.names})
    return rows.loc[order.sort_values(chosen.names, kind="stable").index].reset_index(drop=True)


def _levels(runs: pd.DataFrame, name: str) -> list[Any]:
    if name == METHOD:
        return methods_in_order(runs[name])
    return in_order(runs[name], TASKS) if name == "scenario" else distinct(runs[name])


def _means(runs: pd.DataFrame, chosen: Placing) -> pd.DataFrame:
    rows = []
    for _, group in runs.groupby([runs[name].map(setting) for name in chosen.names], sort=False):
        found = estimate(values_of(group, chosen.y).dropna())
        rows.append(
            {name: group[name].iloc[0] for name in chosen.names}
            | {"metric": chosen.y, "baseline": ""}
            | found.columns("mean")
            | {"runs": len(group), "without": int(group[chosen.y].isna().sum())}
        )
    return pd.DataFrame(rows)


def _differences(runs: pd.DataFrame, chosen: Placing) -> pd.DataFrame:
    settings = [name for name in chosen.names if name not in (METHOD, "scenario")]
    # Who compares settings alone needs a column all the same: no name would mean all that vary.
    found = compare(runs, baseline=chosen.baseline, by=settings or ["n_workers"], metrics=[chosen.y])
    theirs = found.table["baseline"].astype(bool)
    rows = found.table[~theirs]
    if rows[f"{chosen.y}_difference"].isna().all():
        raise InputError(f"--baseline {chosen.baseline!r}: no run shares its seed and surroundings")
    names = {f"{chosen.y}_difference{end}": f"mean{end}" for end in ("", "_low", "_high")}
    without = _without(runs, chosen)
    if chosen.y == TARGET:
        column = chosen.baseline.partition("=")[0]
        shared = [name for name in settings if name != column] + ["scenario"] * ("scenario" in found.table)
        missed = [_missed(found.table[theirs], row, shared) for _, row in rows.iterrows()]
    else:
        missed = [0] * len(rows)
    keys = zip(*(rows[name].map(setting) for name in chosen.names), strict=True)
    rows = (
        rows.drop(columns="baseline").rename(columns=names).assign(metric=chosen.y, baseline=found.baseline)
    )
    rows["without"] = [without[key] + more for key, more in zip(keys, missed, strict=True)]
    return rows[[*chosen.names, "metric", "baseline", *names.values(), "runs", "without", "pairs"]]


def _missed(theirs: pd.DataFrame, row: pd.Series[Any], shared: list[str]) -> int:
    """Return how many of the baseline's runs beside a row never reached the target."""
    beside = pd.Series(True, theirs.index)
    for name in shared:
        beside &= theirs[name].isna() | (theirs[name].map(setting) == setting(row[name]))
    return int(theirs.loc[beside, f"{TARGET}_missed"].sum())


def _without(runs: pd.DataFrame, chosen: Placing) -> dict[tuple[str, ...], int]:
    """Return how many runs of each place have no value of the measurement."""
    keys = zip(*(runs[name].map(setting) for name in chosen.names), strict=True)
    found: Counter[tuple[str, ...]] = Counter()
    for key, nothing in zip(keys, runs[chosen.y].isna(), strict=True):
        found[key] += bool(nothing)
    return found
