"""Any sweep: a measurement against a setting, group by group, panel by panel, with 95 % intervals over seeds.

Lines where the settings on the axis are numbers, bars where they are words, a heat map where a second number
is given. With a baseline, differences to it that are paired by seed. Groups that do not have the setting on
the axis, as SDBT has no S, are horizontal lines with their intervals as bands.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from fedsim.errors import InputError, nearest
from fedsim_analysis import style
from fedsim_analysis.compare import compare, metric_named
from fedsim_analysis.compare.target import TARGET, horizon_of, values_of
from fedsim_analysis.frames import named
from fedsim_analysis.statistics import estimate
from fedsim_analysis.trials import whiskers
from fedsim_analysis.varied import check_averaged, distinct, settings_of, short_names, varied
from fedsim_analysis.words import NOT_SET, label, number, plain, sense, setting

if TYPE_CHECKING:
    from matplotlib.axes import Axes

NEEDS: tuple[str, ...] = ("runs",)
_MARKERS = "osD^vPX"
_WIDTH = 0.8
"""Of the bars of one value, whose places are 1 apart."""
_DODGE = 0.012
"""Between the places of two lines, as a share of the axis."""
_FACTORS = 3.9
"""Steps of an axis that are at least so much more even as factors than as differences make it logarithmic."""
_MOST_CELLS = 80
"""Of a heat map, that numbers are written into."""


def table(
    runs: pd.DataFrame,
    x: str = "",
    y: str = "accuracy",
    group: str = "",
    facet: str = "",
    facet_row: str = "",
    heat: str = "",
    baseline: str = "",
) -> pd.DataFrame:
    """Return one row per point: where it is, and `mean, mean_low, mean_high` over its `runs`.

    Args:
        runs: one row per run.
        x: the setting on the axis, under its dotted name; `n_workers`, `scenario` and `method` are possible.
        y: the measurement; a part of its name is enough where it is clear.
        group: the setting that makes lines or bars; the method, or variant, if not given.
        facet: the setting that makes panels beside each other.
        facet_row: the setting that makes rows of panels.
        heat: a second setting: a heat map over both, a panel for each group.
        baseline: a method or variant, or KEY=VALUE: differences to its runs of the same seed are drawn.

    Returns:
        The columns `facet_row, facet, group, x, heat` under the names of the settings that were asked for;
        `mean, mean_low, mean_high`, `runs`, and `missed`: how many never reached the target. NaN as the
        setting on the axis: the group does not have it.

    Raises:
        InputError: a name is unknown, or runs of a point differ in more than their seed.
    """
    runs = named(runs)
    names = _axes(runs, x, group, facet, facet_row, heat)
    metric = metric_named(runs, y)
    keys = list(names.values())
    if baseline:
        others = [name for name in keys if name not in ("method", "scenario")]
        found = compare(runs, baseline=baseline, by=others, metrics=[metric], correction="none").table
        found = found[~found["baseline"]].rename(
            columns={f"{metric}_difference{end}": f"mean{end}" for end in ("", "_low", "_high")}
        )
        found = found.assign(missed=found.get(f"{metric}_missed", 0), runs=found["pairs"])
        return found.reindex(columns=[*keys, "mean", "mean_low", "mean_high", "runs", "missed"]).reset_index(
            drop=True
        )
    try:
        check_averaged(runs, keys)
    except InputError as error:
        unnamed = [name for name in varied(runs) if name not in keys]
        verb = "varies" if len(unnamed) == 1 else "vary"
        if not unnamed:
            raise
        raise InputError(
            f"{', '.join(unnamed)} {verb} as well: expected it in --x, --group, --facet, --facet-row or "
            f'--heat, or one value of it by --where, as in --where "{unnamed[0]} == ..."'
        ) from error
    rows = [
        dict(zip(keys, place if isinstance(place, tuple) else (place,), strict=True)) | _cells(one, metric)
        for place, one in runs.groupby(keys, dropna=False, sort=False)
    ]
    return pd.DataFrame(rows)


def _cells(runs: pd.DataFrame, metric: str) -> dict[str, Any]:
    horizon_s = horizon_of(runs) if metric == TARGET else math.inf
    missed = int(runs[TARGET].isna().sum()) if metric == TARGET else 0
    values = values_of(runs, metric, horizon_s).dropna()
    return estimate(values).columns("mean") | {"runs": len(runs), "missed": missed}


def _axes(runs: pd.DataFrame, x: str, group: str, facet: str, facet_row: str, heat: str) -> dict[str, str]:
    """Return the columns by what they are for; what was not asked for is not there."""
    settings = settings_of(runs)
    if not x:
        varying = [name for name in varied(runs) if name in settings]
        hint = f" (settings that vary: {', '.join(varying)})" if varying else ""
        raise InputError(f"--x: expected a setting for the axis{hint}")
    asked = {"facet_row": facet_row, "facet": facet, "group": group or "method", "x": x, "heat": heat}
    asked = {use: "method" if name == "variant" else name for use, name in asked.items() if name}
    known = [*settings, "n_workers", "scenario", "method", "algorithm"]
    for use, name in asked.items():
        if name not in known:
            hint = nearest(name, known) or f" (settings that vary: {', '.join(settings) or 'none'})"
            raise InputError(f"--{use.replace('_', '-')}: no setting {name!r} varies among these runs{hint}")
    if asked["group"] in [name for use, name in asked.items() if use != "group"] and not group:
        del asked["group"]
    if len(set(asked.values())) < len(asked):
        raise InputError(
            f"found one setting for two uses ({', '.join(asked.values())}), expected different ones"
        )
    return asked


def figure(
    runs: pd.DataFrame,
    x: str = "",
    y: str = "accuracy",
    group: str = "",
    facet: str = "",
    facet_row: str = "",
    heat: str = "",
    baseline: str = "",
) -> Figure:
    """Draw the rows of `table`."""
    rows = table(runs, x, y, group, facet, facet_row, heat, baseline)
    runs = named(runs)
    names = _axes(runs, x, group, facet, facet_row, heat)
    metric = metric_named(runs, y)
    factor, y_label = _scale(metric, rows, baseline)
    rows[["mean", "mean_low", "mean_high"]] *= factor
    across, down = names.get("facet"), names.get("facet_row")
    if heat and across is None and "group" in names:
        across = names["group"]
    columns, lines = _levels(rows, across), _levels(rows, down)
    looks = _looks(runs, rows, names)
    n_across, n_down = len(columns), len(lines)
    with style.look():
        width = style.COLUMN_IN if n_across == 1 else min(style.PAGE_IN, 0.9 + 2.1 * n_across)
        picture = Figure(figsize=(width, 0.95 + 1.75 * n_down), layout="constrained")
        panels = picture.subplots(n_down, n_across, squeeze=False, sharex=True, sharey=True)
        for place, (line, column) in enumerate((line, column) for line in lines for column in columns):
            panel = panels[place // n_across, place % n_across]
            here = _of(_of(rows, down, line), across, column)
            if heat:
                _heat(panel, picture, here, names, rows, y_label)
            else:
                _lines_or_bars(panel, here, names, rows, looks)
                if baseline:
                    panel.axhline(0, color="#555555", linewidth=0.6)
                    if not rows[["mean", "mean_low", "mean_high"]].abs().gt(1e-12).any(axis=None):
                        panel.set_ylim(-1, 1)  # all are equal
            panel.set_title(_title(across, column, down, line))
        picture.supxlabel(_axis_label(names["x"]), fontsize=7)
        picture.supylabel(_axis_label(heat) if heat else y_label, fontsize=7)
        if not heat and len(looks) > 1:
            handles = [_handle(look) for look in looks.values()]
            most = 3 if n_across == 1 else 6
            picture.legend(handles=handles, loc="outside upper center", ncols=min(most, len(handles)))
    return picture


def _scale(metric: str, rows: pd.DataFrame, baseline: str) -> tuple[float, str]:
    """Return the factor from the metric's unit to that of the axis, and what the axis is called."""
    factor, name = 1.0, label(metric)
    if metric.startswith("accuracy"):
        factor, name = 100.0, f"{name} ({'points' if baseline else '%'})"
    elif metric.endswith("_s"):
        unit_s, symbol = style.time_unit(float(rows["mean"].abs().max()))
        factor, name = 1 / unit_s, name.replace("(s)", f"({symbol})")
    if baseline:
        better = {1: ", more is better", -1: ", less is better", 0: ""}[sense(metric)]
        name = f"{name}\nminus that of {style.method_name(baseline)}{better}"
    return factor, name


def _axis_label(name: str) -> str:
    return label(name) if "." not in name else next(iter(short_names([name]))) + f"  ({name})"


def _levels(rows: pd.DataFrame, name: str | None) -> list[Any]:
    if name is None:
        return [None]
    if name == "method":
        return style.methods_in_order(rows[name])
    levels = distinct(rows[name])
    return [value for value in levels if setting(value) != NOT_SET] or levels


def _of(rows: pd.DataFrame, name: str | None, value: Any) -> pd.DataFrame:
    """Return the rows of a panel; those that do not have the setting are in all panels."""
    if name is None:
        return rows
    texts = rows[name].map(setting)
    own = rows[texts == setting(value)]
    return own if setting(value) == NOT_SET else pd.concat([own, rows[texts == NOT_SET]])


def _title(across: str | None, column: Any, down: str | None, line: Any) -> str:
    parts = []
    for name, value in ((down, line), (across, column)):
        if name == "method":
            parts.append(style.method_name(str(value)))
        elif name == "scenario":
            parts.append(style.task_name(str(value)))
        elif name is not None:
            parts.append(f"{next(iter(short_names([name])))} = {setting(value)}")
    return style.literal(", ".join(parts)) if parts else ""


def _looks(runs: pd.DataFrame, rows: pd.DataFrame, names: dict[str, str]) -> dict[str, style.Mark]:
    """Return how each group is drawn; methods look as in all other figures."""
    name = names.get("group")
    if name is None:
        return {"": style.Mark("", style.METHODS["asyndbt"].colour)}
    texts = [setting(value) for value in _levels(rows, name)]
    if name in ("method", "algorithm"):
        known = style.methods(runs[name])
        return {
            text: style.Mark(
                known[text].label, known[text].colour, known[text].line, _MARKERS[n % len(_MARKERS)]
            )
            for n, text in enumerate(texts)
        }
    short = next(iter(short_names([name])))
    return {
        text: style.DEFENCES.get(text)
        or style.POISONS.get(text)
        or style.Mark(style.literal(f"{short} = {text}"), colour, "-", _MARKERS[n % len(_MARKERS)])
        for n, (text, colour) in enumerate(zip(texts, _colours(len(texts)), strict=True))
    }


def _colours(count: int) -> list[str]:
    return [style.SPARE_COLOURS[n % len(style.SPARE_COLOURS)] for n in range(count)]


def _handle(look: style.Mark) -> Any:
    from matplotlib.lines import Line2D

    return Line2D([], [], markersize=4, **look.settings)


def _is_numeric(values: Sequence[Any]) -> bool:
    known = [plain(value) for value in values]
    return all(
        isinstance(value, int | float) and not isinstance(value, bool) for value in known if value is not None
    )


def _is_logarithmic(values: Sequence[float]) -> bool:
    """Whether numbers on an axis are spaced by factors: 1, 2, 4, 8, but not 1, 2, 3.

    >>> _is_logarithmic([1, 2, 4, 8]), _is_logarithmic([1, 2, 3, 4]), _is_logarithmic([0, 1, 10])
    (True, False, False)
    """
    places = np.unique(np.asarray(values, float))
    if len(places) < 3 or places[0] <= 0 or places[-1] / places[0] < _FACTORS:
        return False
    steps, factors = np.diff(places), np.diff(np.log(places))
    return bool(factors.std() / factors.mean() < steps.std() / steps.mean())


def _lines_or_bars(
    axes: Axes,
    rows: pd.DataFrame,
    names: dict[str, str],
    everything: pd.DataFrame,
    looks: dict[str, style.Mark],
) -> None:
    x, by = names["x"], names.get("group")
    levels = [value for value in _levels(everything, x) if setting(value) != NOT_SET]
    groups = {text: _of_text(rows, by, text) for text in looks}
    if _is_numeric(levels):
        _lines(axes, groups, x, [float(value) for value in levels], looks)
    else:
        _bars(axes, groups, x, levels, looks)
    axes.grid(axis="y")


def _of_text(rows: pd.DataFrame, name: str | None, text: str) -> pd.DataFrame:
    return rows if name is None else rows[rows[name].map(setting) == text]


def _lines(
    axes: Axes,
    groups: dict[str, pd.DataFrame],
    x: str,
    levels: list[float],
    looks: dict[str, style.Mark],
) -> None:
    logarithmic = _is_logarithmic(levels)
    low, high = min(levels, default=0.0), max(levels, default=1.0)
    for number_of, (text, points) in enumerate(groups.items()):
        look = looks[text]
        _horizontal(axes, points[points[x].isna()], look)
        points = points[points[x].notna()].sort_values(x)
        if points.empty:
            continue
        shift = _DODGE * (number_of - (len(groups) - 1) / 2)
        values = points[x].astype(float)
        places = values * (high / low) ** shift if logarithmic else values + shift * (high - low)
        settings = look.settings | {"markersize": 3, "elinewidth": 0.7}
        axes.errorbar(places, points["mean"], whiskers(points), **settings)
        _hollow(axes, places, points, look)
    if logarithmic:
        axes.set_xscale("log")
    axes.minorticks_off()
    if len(levels) <= 12:
        axes.set_xticks(levels, [f"{level:g}" for level in levels])


def _bars(
    axes: Axes, groups: dict[str, pd.DataFrame], x: str, levels: list[Any], looks: dict[str, style.Mark]
) -> None:
    texts = [setting(level) for level in levels]
    width = _WIDTH / max(len(groups), 1)
    for number_of, (text, points) in enumerate(groups.items()):
        look = looks[text]
        _horizontal(axes, points[points[x].isna()], look)
        points = points[points[x].notna()]
        shift = width * (number_of - (len(groups) - 1) / 2)
        places = points[x].map(lambda value: texts.index(setting(value))) + shift
        axes.errorbar(
            places,
            points["mean"],
            whiskers(points),
            **look.settings | {"linestyle": ""},
            markersize=3.5,
            elinewidth=0.8,
        )
        _hollow(axes, places, points, look)
    is_method = x in ("method", "algorithm")
    words = [style.method_name(text) if is_method else style.text(text) for text in texts]
    slanted = sum(map(len, words)) > 40
    axes.set_xticks(
        range(len(texts)), words, rotation=30 if slanted else 0, ha="right" if slanted else "center"
    )
    axes.set_xlim(-0.5, len(texts) - 0.5)


def _horizontal(axes: Axes, rows: pd.DataFrame, look: style.Mark) -> None:
    """Draw a group without the setting on the axis: a line across, and its interval as a band."""
    for row in rows.to_dict("records"):
        axes.axhline(row["mean"], color=look.colour, linestyle=look.line, linewidth=1.0)
        if not math.isnan(row["mean_low"]):
            axes.axhspan(row["mean_low"], row["mean_high"], color=look.colour, alpha=0.12, linewidth=0)


def _hollow(axes: Axes, places: Any, points: pd.DataFrame, look: style.Mark) -> None:
    """Draw over the points of which some run has missed its target: they are lower bounds."""
    some = (points["missed"] > 0).to_numpy()
    axes.plot(
        np.asarray(places)[some],
        points["mean"].to_numpy()[some],
        linestyle="",
        marker=look.marker,
        markersize=3.2,
        markerfacecolor="white",
        color=look.colour,
        zorder=3,
    )


def _heat(
    axes: Axes,
    picture: Figure,
    rows: pd.DataFrame,
    names: dict[str, str],
    everything: pd.DataFrame,
    y_label: str,
) -> None:
    across = [value for value in _levels(everything, names["x"]) if setting(value) != NOT_SET]
    up = [value for value in _levels(everything, names["heat"]) if setting(value) != NOT_SET]
    cells = np.full((len(up), len(across)), math.nan)
    texts = [setting(value) for value in across], [setting(value) for value in up]
    for row in rows.to_dict("records"):
        place = setting(row[names["x"]]), setting(row[names["heat"]])
        wide = [texts[0].index(place[0])] if place[0] in texts[0] else range(len(across))
        high = [texts[1].index(place[1])] if place[1] in texts[1] else range(len(up))
        for column in wide:
            for line in high:
                cells[line, column] = row["mean"]
    signed = bool((everything["mean"] < 0).any() and (everything["mean"] > 0).any())
    most = float(everything["mean"].abs().max())
    limits = (-most, most) if signed else (float(everything["mean"].min()), float(everything["mean"].max()))
    drawn = axes.imshow(
        cells,
        origin="lower",
        aspect="auto",
        cmap="PuOr" if signed else "cividis",
        vmin=limits[0],
        vmax=limits[1],
    )
    axes.set_xticks(range(len(across)), texts[0])
    axes.set_yticks(range(len(up)), texts[1])
    if cells.size <= _MOST_CELLS:
        for (line, column), value in np.ndenumerate(cells):
            shade = np.mean(drawn.cmap(drawn.norm(value))[:3])
            axes.text(
                column,
                line,
                number(float(f"{value:.3g}")),
                ha="center",
                va="center",
                fontsize=5.5,
                color="white" if shade < 0.5 else "black",
            )
    if axes is picture.axes[0]:
        picture.colorbar(drawn, ax=picture.axes, label=y_label, pad=0.02)
