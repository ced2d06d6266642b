"""The table of a comparison: one row per method and setting, each beside the baseline."""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass, field
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
from fedsim_analysis.compare.target import TARGET, horizon_of, values_of
from fedsim_analysis.compare.verdict import Contender, verdict
from fedsim_analysis.frames import named
from fedsim_analysis.statistics import Estimate, estimate
from fedsim_analysis.style import TASKS, in_order, method_name, methods_in_order
from fedsim_analysis.varied import distinct, settings_of, short_names
from fedsim_analysis.words import NOT_SET, counted, setting, short_list

ENDED_BADLY = ("deserted", "diverged", "no labels", "no update", "overdue", "stalled", "standstill")


@dataclass(frozen=True)
class Comparison:
    """What a comparison has found.

    `table` has one row per method and setting, in the order of the settings:

    - `scenario`, where there are several, the settings along which runs are compared, under their dotted
      names, `method`, and `baseline`: whether the row is the baseline's own;
    - `runs`, and `pairs`: how many of them share a seed with one of the baseline's;
    - for each metric `METRIC`, `_low`, `_high`: the mean with its 95 % interval; `METRIC_difference` and
      `METRIC_ratio`, each with `_low` and `_high`, against the baseline; `METRIC_p`, corrected. For
      `time_to_target_s` also `_missed`, how many runs never reached the target, and `_horizon`: up to which
      time times count where some did not (NaN where all did).
    """

    table: pd.DataFrame
    baseline: str
    axes: tuple[str, ...]
    metrics: tuple[str, ...]
    notes: tuple[str, ...]
    """How it was computed, and what makes it mean less than it seems to."""
    verdicts: tuple[str, ...]
    """What is best by the first metric, a sentence for each of the surroundings that vary."""


@dataclass(frozen=True)
class _Group:
    """The runs of one row, by seed."""

    place: tuple[Hashable, ...]
    """Scenario and method."""
    values: dict[str, Any]
    """Of the settings that make rows."""
    runs: pd.DataFrame
    of_baseline: bool
    partner: pd.DataFrame = field(default_factory=pd.DataFrame)
    """The baseline's runs, by seed."""


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
    groups = list(_groups(runs, axes, chosen))
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
        found = pd.DataFrame(cells).assign(**{f"{metric}_p": adjusted(p_values, correction)})
        table = pd.concat([table, found], axis=1)
    notes = tuple(_notes(groups, table, columns, chosen, correction))
    return Comparison(table, chosen.name, tuple(axes), columns, notes, tuple(_verdicts(groups, columns[0])))


def _groups(runs: pd.DataFrame, axes: list[str], baseline: Reference) -> Iterator[_Group]:
    """Yield the rows in the order of scenario, settings and method, of which the baseline is the first."""
    texts = {name: runs[name].map(setting) for name in axes}
    levels = {name: [setting(value) for value in distinct(runs[name])] for name in axes}
    scenarios = in_order(runs["scenario"], TASKS)
    methods = sorted(methods_in_order(runs["method"]), key=lambda name: name != baseline.name)
    keys = [runs["scenario"], *(texts[name] for name in axes), runs["method"]]
    found = dict(iter(runs.groupby(keys, sort=False)))

    def place(key: tuple[Any, ...]) -> list[int]:
        # What a method does not have stands before all values of those that do.
        settings = [
            -1 if text == NOT_SET else levels[name].index(text)
            for name, text in zip(axes, key[1:-1], strict=True)
        ]
        return [scenarios.index(key[0]), *settings, methods.index(key[-1])]

    of_rule = {key: bool(baseline.holds[group.index].all()) for key, group in found.items()}
    for key in sorted(found, key=place):
        group = found[key]
        _check(group, axes, key)
        values = {name: group[name].iloc[0] for name in axes}
        one = _Group((key[0], key[-1]), values, group.set_index("seed").sort_index(), of_rule[key])
        if not one.of_baseline:
            one = _Group(one.place, values, one.runs, False, _partner(one, runs, texts, axes, baseline))
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
    group: _Group,
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


def _against(group: _Group, metric: str) -> Contrast:
    if group.partner.empty:
        return contrast(pd.Series(dtype=float), pd.Series(dtype=float))
    horizon_s = horizon_of(group.runs, group.partner) if metric == TARGET else math.inf
    return contrast(values_of(group.runs, metric, horizon_s), values_of(group.partner, metric, horizon_s))


def _first_cells(group: _Group, runs: pd.DataFrame) -> dict[str, Any]:
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


def _cells(group: _Group, metric: str, found: Contrast | None) -> dict[str, Any]:
    horizon_s = horizon_of(group.runs) if metric == TARGET else math.inf
    mean = estimate(values_of(group.runs, metric, horizon_s).dropna())
    cells: dict[str, Any] = mean.columns(metric)
    if metric == TARGET:
        missed = int(group.runs[metric].isna().sum())
        cells |= {f"{metric}_missed": missed, f"{metric}_horizon": horizon_s if missed else math.nan}
    nothing = Estimate(math.nan, math.nan, math.nan, math.nan, 0)
    cells |= (found.difference if found else nothing).columns(f"{metric}_difference")
    return cells | (found.ratio if found else nothing).columns(f"{metric}_ratio")


def _notes(
    groups: Sequence[_Group],
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
            f"{corrected}, and * marks p < {LEVEL:.2g}"
        )
    partners = [group for group in groups if not group.of_baseline and not group.partner.empty]
    if unpaired := sum(not set(one.runs.index) & set(one.partner.index) for one in partners):
        yield f"{counted(unpaired, 'row')} without a seed in common with the baseline: Welch's t test"
    if alone := sum(not group.of_baseline and group.partner.empty for group in groups):
        yield f"{counted(alone, 'row')} without a run of the baseline in the same surroundings: not compared"
    if (table["runs"] == 1).any():
        yield "a single seed says nothing about chance: expected several, as in --set sweep.replicates=5"
    if TARGET in metrics and (missed := int(table[f"{TARGET}_missed"].sum())):
        yield (
            f"{TARGET}: {missed} of {int(table['runs'].sum())} runs never reached the target (missed); where "
            "there are such, times of a row and its baseline count up to the end of the first of them (>=)"
        )
    for metric in metrics:
        without = sum(int(group.runs[metric].isna().sum()) for group in groups) if metric != TARGET else 0
        if without:
            yield f"{metric}: {counted(without, 'run')} without a value left out"
    runs = pd.concat([group.runs for group in groups])
    badly = runs.loc[runs["ended"].isin(ENDED_BADLY), "ended"].value_counts()
    if len(badly):
        yield "runs that did not end well: " + ", ".join(f"{count} {how}" for how, count in badly.items())


def _verdicts(groups: Sequence[_Group], metric: str) -> Iterator[str]:
    """Yield what is best in each of the surroundings, which nobody chooses."""
    axes = list(groups[0].values)
    shorts = {name: short for short, name in short_names(axes).items()}
    surroundings = [name for name in axes if not is_decision(name)]
    places: dict[tuple[str, ...], list[Contender]] = {}
    several = len({group.place[0] for group in groups}) > 1
    for group in groups:
        parts = [str(group.place[0])] if several else []
        parts += [f"{shorts[name]} = {setting(group.values[name])}" for name in surroundings]
        decided = [
            f"{shorts[name]} = {setting(group.values[name])}"
            for name in axes
            if is_decision(name) and not pd.isna(group.values[name])
        ]
        label = ", ".join([method_name(str(group.place[1])), *decided])
        places.setdefault(tuple(parts), []).append(Contender(label, group.runs))
    for place, candidates in places.items():
        yield (f"{', '.join(place)}: " if place else "") + verdict(candidates, metric)
