"""The headline table: one row per scenario, method and setting, with means over the seeds."""

from __future__ import annotations

import math
from dataclasses import dataclass

import pandas as pd

from fedsim_analysis import style
from fedsim_analysis.compare.target import TARGET
from fedsim_analysis.frames import ENDED_BADLY
from fedsim_analysis.report.looks import method_looks
from fedsim_analysis.report.places import telling
from fedsim_analysis.statistics import estimate
from fedsim_analysis.survival import resolution_s, time_to_target
from fedsim_analysis.varied import short_names
from fedsim_analysis.words import UNKNOWN, duration, label, number, plain, setting

MEASURES = (
    *("simulated_time_s", TARGET, "accuracy", "loss", "llm_calls", "cost"),
    *("real_calls", "real_tokens_in", "real_tokens_out", "real_cost", "real_answers_kept"),
)


@dataclass(frozen=True)
class Cell:
    """A cell: what it says, what stands small below it, and what it is sorted by (none comes last)."""

    text: str
    notes: tuple[str, ...] = ()
    key: float | str | None = None
    is_number: bool = False


@dataclass(frozen=True)
class Heading:
    """The heading of a column, and the setting in full where it says its last word alone."""

    text: str
    is_number: bool = False
    title: str = ""


def headings(runs: pd.DataFrame) -> list[Heading]:
    """Return the headings of the columns."""
    names = [Heading(text, title=name) for text, name in short_names(telling(runs)).items()]
    scenario = [Heading("Scenario")] if runs["scenario"].nunique() > 1 else []
    measured = [
        "Median time to target (s)" if name == TARGET and any_missed(runs) else label(name)
        for name in _measured(runs)
    ]
    numbers = [Heading(text, is_number=True) for text in ("Runs", *measured)]
    return [*scenario, Heading("Method"), *names, *numbers]


def rows(runs: pd.DataFrame) -> list[list[Cell]]:
    """Return the cells: means over the runs of a place that have the number, with their 95 % intervals.

    The time to the target is the median in all rows if any run of the table missed its target: a mean over
    those that reached it would make a method look faster than it is.

    Args:
        runs: one row per run, as in `Material`.
    """
    varied, measures = telling(runs), _measured(runs)
    several, missed = runs["scenario"].nunique() > 1, any_missed(runs)
    looks = method_looks(runs["method"])
    table = []
    for _, group in runs.groupby("place", sort=True):
        first = group.iloc[0]
        row = [_name(style.task_name(first["scenario"]))] if several else []
        row.append(_name(looks[first["method"]]["text"]))
        row += [_setting(first[name]) for name in varied]
        row.append(_ended(group["ended"]))
        numbers = [_median(group) if name == TARGET and missed else _mean(group, name) for name in measures]
        table.append([*row, *numbers])
    return table


def name_columns(runs: pd.DataFrame) -> int:
    """Return how many columns, the first ones, say which row it is; the others hold numbers."""
    return (runs["scenario"].nunique() > 1) + 1 + len(telling(runs))


def any_missed(runs: pd.DataFrame) -> bool:
    """Whether a run that has a target never reached it."""
    return bool(runs.loc[runs["has_target"], TARGET].isna().any())


def _measured(runs: pd.DataFrame) -> list[str]:
    known = {name for name in MEASURES if name in runs and runs[name].notna().any()}
    # Where no run reached its target, the table says so.
    known |= {TARGET} if runs["has_target"].any() else set()
    # Without prices nothing has a cost.
    known -= {"cost"} if "cost" in runs and not runs["cost"].any() else set()
    return [name for name in MEASURES if name in known]


def _name(text: str) -> Cell:
    return Cell(text, key=text)


def _setting(value: object) -> Cell:
    known = plain(value)
    key = known if isinstance(known, int | float) and not isinstance(known, bool) else setting(value)
    return Cell(setting(value), key=None if known is None else key)


def _ended(ended: pd.Series[str]) -> Cell:
    badly = ended[ended.isin(ENDED_BADLY)].value_counts().sort_index()
    notes = tuple(f"{count} {how}" for how, count in badly.items())
    return Cell(str(len(ended)), notes, len(ended), is_number=True)


def _mean(group: pd.DataFrame, name: str) -> Cell:
    found = estimate(group[name].dropna().astype(float))
    count = f"{found.count} of {len(group)} runs"
    if not found.count:
        return Cell(UNKNOWN, () if name == TARGET else (count,), is_number=True)
    notes = [spoken] if name.endswith("_s") and (spoken := duration(found.mean)) else []
    notes += [] if math.isnan(found.low) else [f"{number(found.low)} to {number(found.high)}"]
    if found.deviation == 0:
        notes[-1] = "all equal"
    if found.count < len(group) or name == TARGET:
        notes.append(count)
    if name == TARGET:
        notes += _resolution(group)
    return Cell(number(found.mean), tuple(notes), found.mean, is_number=True)


def _median(group: pd.DataFrame) -> Cell:
    group = group[group["has_target"]]
    if group.empty:
        return Cell(UNKNOWN, is_number=True)
    found = time_to_target(group[TARGET], group["simulated_time_s"])
    count = f"{found.reached} of {found.runs} runs"
    if not math.isfinite(found.median_s):
        return Cell("not reached by half", (count, *_resolution(group)), is_number=True)
    bounds = f"{number(found.median_low_s)} to {number(found.median_high_s)}"
    if not math.isfinite(found.median_high_s):
        bounds = f"at least {number(found.median_low_s)}"
    return Cell(number(found.median_s), (bounds, count, *_resolution(group)), found.median_s, is_number=True)


def _resolution(group: pd.DataFrame) -> list[str]:
    """Return how well times to the target are known: the longest time between two looks at a state."""
    within = resolution_s(group)
    return [] if math.isnan(within) else [f"known to within {number(within)} s"]
