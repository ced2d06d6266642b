"""The table of a comparison: one row per method and setting, each beside the baseline."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

import pandas as pd

from fedsim.errors import InputError, nearest
from fedsim_analysis.compare.choosing import (
    Reference,
    axes_of,
    baseline_named,
    default_metrics,
    is_decision,
    metric_named,
)
from fedsim_analysis.compare.contrasts import CORRECTIONS, LEVEL, Contrast, adjusted, contrast
from fedsim_analysis.compare.groups import RunsOfRow, groups_of
from fedsim_analysis.compare.target import TARGET, between, horizon_of, values_of
from fedsim_analysis.compare.verdict import Contender, best_of, summary, verdict
from fedsim_analysis.frames import ENDED_BADLY, named
from fedsim_analysis.statistics import Estimate, estimate
from fedsim_analysis.style import method_name
from fedsim_analysis.varied import short_names
from fedsim_analysis.words import counted, sense, setting


@dataclass(frozen=True)
class Comparison:
    """What a comparison has found.

    `table` has one row per method and setting, in the order of the settings:

    - `scenario`, where there are several, the settings along which runs are compared, under their dotted
      names, `method`, and `baseline`: whether the row is the baseline's own;
    - `runs`, and `pairs`: how many of them share a seed with one of the baseline's;
    - for each metric `METRIC`, `_low`, `_high`: the mean with its 95 % interval; `METRIC_difference` and
      `METRIC_ratio`, each with `_low` and `_high`, against the baseline; `METRIC_p`, corrected;
      `METRIC_best`: whether it is the best of its surroundings. For `time_to_target_s` also `_missed`, how
      many runs never reached the target, and `_horizon`: up to which time times count where some did not (NaN
      where all did).

    What `means` finds has neither a baseline nor the columns that need one.
    """

    table: pd.DataFrame
    baseline: str | None
    axes: tuple[str, ...]
    metrics: tuple[str, ...]
    notes: tuple[str, ...]
    """How it was computed, and what makes it mean less than it seems to."""
    verdicts: tuple[str, ...]
    """What is best by the first metric: a sentence for each of the surroundings, and then of all of them."""

    def _repr_html_(self) -> str:
        """Return what a notebook shows: the table as people read it, and what is best."""
        from fedsim_analysis.compare.showing import cells

        said = "".join(f"<p>{escape(sentence)}</p>" for sentence in self.verdicts[-1:])
        return cells(self).to_html(index=False) + said


def compare(
    runs: pd.DataFrame,
    *,
    baseline: str | None = None,
    by: Sequence[str] = (),
    metrics: Sequence[str] = (),
    correction: str = "holm",
) -> Comparison:
    """Compare all methods and settings with a baseline.

    Runs are paired by seed. A baseline without a setting along which others vary (SDBT has no
    `algorithm.wait_for`) counts for every value of it.

    Args:
        runs: as `fedsim.load_results` gives them, one row per run.
        baseline: a method or variant, or a setting with its value, as in ``algorithm.wait_for=10``; SDBT or
            cenDBT if not given.
        by: settings that make rows; all that vary within a method if not given.
        metrics: columns with numbers; the usual ones if not given. A part of a name is enough where no other
            column has it.
        correction: of p values for the number of comparisons, one of `CORRECTIONS`.

    Raises:
        InputError: a name is unknown, runs of one row differ in more than their seed, or nothing is left to
            compare.
    """
    if correction not in CORRECTIONS:
        known = f"{nearest(correction, CORRECTIONS)} (known: {', '.join(CORRECTIONS)})"
        raise InputError(f"--correction: found {correction!r}{known}")
    runs = named(runs)
    columns = tuple(dict.fromkeys(metric_named(runs, name) for name in metrics)) or default_metrics(runs)
    chosen = baseline_named(runs, baseline)
    axes = axes_of(runs, by)
    groups = list(groups_of(runs, axes, chosen))
    if len(groups) < 2:
        raise InputError(
            f"found {counted(len(groups), 'setting')} of {chosen.name}; expected others to compare"
        )
    contrasts = {
        metric: [None if group.of_baseline else _against(group, metric) for group in groups]
        for metric in columns
    }
    table = pd.DataFrame([_first_cells(group, runs) for group in groups])
    for metric in columns:
        cells = [_cells(group, metric, one) for group, one in zip(groups, contrasts[metric], strict=True)]
        p_values = [math.nan if one is None else one.p for one in contrasts[metric]]
        found = pd.DataFrame(cells)
        found[f"{metric}_p"] = adjusted(p_values, correction)
        found[f"{metric}_best"] = _bests(groups, metric)
        table = pd.concat([table, found], axis=1)
    notes = tuple(_notes(groups, table, columns, chosen, correction))
    return Comparison(table, chosen.name, tuple(axes), columns, notes, tuple(_verdicts(groups, columns[0])))


def means(runs: pd.DataFrame, *, by: Sequence[str] = (), metrics: Sequence[str] = ()) -> Comparison:
    """Return the means over seeds of each method and setting, with their intervals, beside no baseline.

    Args:
        runs: as `fedsim.load_results` gives them, one row per run.
        by: settings that make rows; all that vary within a method if not given.
        metrics: columns with numbers; the usual ones if not given.

    Raises:
        InputError: a name is unknown, or runs of one row differ in more than their seed.
    """
    runs = named(runs)
    columns = tuple(dict.fromkeys(metric_named(runs, name) for name in metrics)) or default_metrics(runs)
    axes = axes_of(runs, by)
    groups = list(groups_of(runs, axes))
    rows = [_first_cells(group, runs) for group in groups]
    for row, group in zip(rows, groups, strict=True):
        del row["baseline"], row["pairs"]
        for metric in columns:
            row |= _mean_cells(group, metric)
    table = pd.DataFrame(rows)
    notes = ("means over seeds with 95 % t intervals, each for itself", *_cautions(groups, table, columns))
    return Comparison(table, None, tuple(axes), columns, notes, ())


def _against(group: RunsOfRow, metric: str) -> Contrast:
    if group.partner.empty:
        return contrast(pd.Series(dtype=float), pd.Series(dtype=float))
    return between(group.runs, group.partner, metric)


def _first_cells(group: RunsOfRow, runs: pd.DataFrame) -> dict[str, Any]:
    scenario = {"scenario": group.place[0]} if runs["scenario"].nunique() > 1 else {}
    pairs = len(set(group.runs.index) & set(group.partner.index))
    return (
        scenario
        | group.values
        | {
            "method": group.place[1],
            "baseline": group.of_baseline,
            "runs": len(group.runs),
            "pairs": pairs,
        }
    )


def _mean_cells(group: RunsOfRow, metric: str) -> dict[str, Any]:
    mean = estimate(values_of(group.runs, metric).dropna())
    cells: dict[str, Any] = mean.columns(metric)
    if metric == TARGET:
        missed = int(group.runs[metric].isna().sum())
        cells |= {
            f"{metric}_missed": missed,
            f"{metric}_horizon": horizon_of(group.runs) if missed else math.nan,
        }
    return cells


def _cells(group: RunsOfRow, metric: str, found: Contrast | None) -> dict[str, Any]:
    cells = _mean_cells(group, metric)
    nothing = Estimate(math.nan, math.nan, math.nan, math.nan, 0)
    cells |= (found.difference if found else nothing).columns(f"{metric}_difference")
    return cells | (found.ratio if found else nothing).columns(f"{metric}_ratio")


def _notes(
    groups: Sequence[RunsOfRow],
    table: pd.DataFrame,
    metrics: Sequence[str],
    baseline: Reference,
    correction: str,
) -> Iterator[str]:
    others = table[~table["baseline"]]
    n_compared = int(others["pairs"].gt(0).sum())
    name = method_name(baseline.name) if baseline.column == "method" else baseline.name
    corrected = (
        f"p values are corrected for {counted(len(others), 'comparison')} of each metric by "
        f"{CORRECTIONS[correction]}"
        if correction != "none"
        else "p values are not corrected for the number of comparisons"
    )
    if n_compared:
        yield (
            f"means over seeds with 95 % t intervals, each for itself; differences and ratios to {name} are "
            "paired by seed (t intervals; ratios are geometric means, with intervals of their logarithms); "
            f"{corrected}, * marks p < {LEVEL:.2g}, and best the best mean of its surroundings"
        )
    partners = [group for group in groups if not group.of_baseline and not group.partner.empty]
    if unpaired := sum(not set(one.runs.index) & set(one.partner.index) for one in partners):
        yield f"{counted(unpaired, 'row')} without a seed in common with the baseline: Welch's t test"
    if alone := sum(not group.of_baseline and group.partner.empty for group in groups):
        yield f"{counted(alone, 'row')} without a run of the baseline in the same surroundings: not compared"
    some = others["pairs"].between(1, others["runs"] - 1)
    if some.any():
        yield (
            f"{counted(int(some.sum()), 'row')} with runs of seeds that the baseline does not have: "
            "differences and ratios are over the seeds of both (pairs)"
        )
    yield from _cautions(groups, table, metrics)


def _cautions(groups: Sequence[RunsOfRow], table: pd.DataFrame, metrics: Sequence[str]) -> Iterator[str]:
    """Yield what makes means less than they seem to be."""
    if (table["runs"] == 1).any():
        yield "a single seed says nothing about chance: expected several, as in --set sweep.replicates=5"
    if TARGET in metrics and (missed := int(table[f"{TARGET}_missed"].sum())):
        both = "a row and its baseline" if "baseline" in table else "a row"
        yield (
            f"{TARGET}: {missed} of {int(table['runs'].sum())} runs never reached the target (missed); where "
            f"there are such, times of {both} count up to the end of the first of them (>=)"
        )
    for metric in metrics:
        without = sum(int(group.runs[metric].isna().sum()) for group in groups) if metric != TARGET else 0
        if without:
            yield f"{metric}: {counted(without, 'run')} without a value left out"
    runs = pd.concat([group.runs for group in groups])
    badly = runs.loc[runs["ended"].isin(ENDED_BADLY), "ended"].value_counts()
    if len(badly):
        yield "runs that did not end well: " + ", ".join(f"{count} {how}" for how, count in badly.items())


def _surroundings(groups: Sequence[RunsOfRow]) -> dict[tuple[str, ...], list[int]]:
    """Return the rows at each of the surroundings, which nobody chooses, told in words."""
    shorts = {name: short for short, name in short_names(list(groups[0].values)).items()}
    several = len({group.place[0] for group in groups}) > 1
    places: dict[tuple[str, ...], list[int]] = {}
    for number, group in enumerate(groups):
        parts = [str(group.place[0])] if several else []
        parts += [
            f"{shorts[name]} = {setting(value)}"
            for name, value in group.values.items()
            if not is_decision(name)
        ]
        places.setdefault(tuple(parts), []).append(number)
    return places


def _contender(group: RunsOfRow) -> Contender:
    shorts = {name: short for short, name in short_names(list(group.values)).items()}
    decided = [
        f"{shorts[name]} = {setting(value)}"
        for name, value in group.values.items()
        if is_decision(name) and not pd.isna(value)
    ]
    return Contender(", ".join([method_name(str(group.place[1])), *decided]), group.runs)


def _bests(groups: Sequence[RunsOfRow], metric: str) -> list[bool]:
    """Return of each row whether it is the best of its surroundings; none is where nobody knows what is."""
    best = set()
    for rows in _surroundings(groups).values():
        place = best_of([_contender(groups[row]) for row in rows], metric)
        if place is not None:
            best.add(rows[place])
    return [row in best for row in range(len(groups))]


def _verdicts(groups: Sequence[RunsOfRow], metric: str) -> Iterator[str]:
    """Yield what is best in each of the surroundings, and where there are several, in how many of them."""
    found = []
    for place, rows in _surroundings(groups).items():
        found.append(verdict([_contender(groups[row]) for row in rows], metric))
        yield (f"{', '.join(place)}: " if place else "") + found[-1].sentence
    if len(found) > 1 and sense(metric):
        yield summary(found, metric)
