"""The words and looks of a picture of a sweep: what its axis measures, its panels and its groups."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from fedsim_analysis import style
from fedsim_analysis.grids.choice import METHOD, Placing
from fedsim_analysis.varied import distinct, short_names, shortened
from fedsim_analysis.words import NOT_SET, axis, setting, spoken

_MOST_LETTERS = 120
"""Of the titles beside each other."""


def measured(rows: pd.DataFrame, chosen: Placing) -> tuple[float, str]:
    """Return by what the measurement is divided, and the words of its axis."""
    largest = float(np.nanmax(rows[["mean", "mean_high"]].abs().to_numpy(dtype=float), initial=0.0))
    divisor, words, unit = axis(chosen.y, largest)
    if chosen.baseline:
        name = str(rows["baseline"].iloc[0])
        words, unit = f"{words},\ndifference to {baseline_told(name)}", "points" if unit == "%" else unit
    return divisor, f"{words} ({unit})" if unit else words


def baseline_told(name: str) -> str:
    """Return how a baseline is written: a method, or a setting with its value."""
    return style.text(name) if "=" in name else style.methods([name])[name].label


def value_told(name: str, value: Any) -> str:
    """Return how a value is written where the name of its setting and its unit stand elsewhere."""
    if name == METHOD:
        return style.methods([value])[value].label
    if name == "scenario":
        return style.task_name(value)
    if re.fullmatch(r"attacks\.\d+\.kind", name):
        return style.attack_name(setting(value))
    if isinstance(value, str):
        return style.text(value)
    if axis(name, 1.0)[2] == "%":
        return f"{value / axis(name, 1.0)[0]:g}"
    return style.literal(setting(value))


def ticks_told(name: str, values: list[Any], panels: int) -> list[str]:
    """Return how values are written along an axis, as long as fits below some panels of a page."""
    told = [value_told(name, value) for value in values]
    return shortened(told, max(6, _MOST_LETTERS // (panels * len(values))))


def titles(rows: pd.DataFrame, name: str, chosen: Placing) -> dict[str, str]:
    """Return the titles of panels by their value, in order; a single one without a title for no name."""
    if not name:
        return {"": ""}
    values = {setting(value): value for value in rows[name]}
    told = [named_value(name, value, chosen) for value in values.values()]
    return dict(zip(values, shortened(told, _MOST_LETTERS // len(values)), strict=True))


def named_value(name: str, value: Any, chosen: Placing) -> str:
    """Return a value with the name of its setting, unless it says what it is."""
    told = value_told(name, value)
    if isinstance(value, str) and told != NOT_SET:
        return told
    if spoken(name) != name:
        _, words, unit = axis(name, 1.0)
        words = re.sub(r" \(.*\)$", "", words)
        return f"{words}: {told} {unit}".rstrip()
    short = {long: word for word, long in short_names(chosen.names).items()}[name]
    return f"{style.text(short)} = {told}"


def key_of(values: Mapping[Any, Any], chosen: Placing) -> str:
    """Return the values by which a row belongs to a group, as one text."""
    return ", ".join(setting(values[name]) for name in chosen.group)


def looks_of(rows: pd.DataFrame, chosen: Placing) -> dict[str, style.Mark]:
    """Return how each group is drawn, by the values that tell it apart; in order.

    A method keeps its colour in all figures; groups of one method are shades of it.
    """
    if not chosen.group:
        return {"": style.Mark("", "#222222")}
    order = {name: [setting(value) for value in distinct(rows[name])] for name in chosen.group}
    found: dict[str, dict[str, Any]] = {}
    for row in rows[list(chosen.group)].to_dict("records"):
        found[key_of(row, chosen)] = {name: row[name] for name in chosen.group}
    found = dict(
        sorted(
            found.items(),
            key=lambda one: [order[name].index(setting(value)) for name, value in one[1].items()],
        )
    )
    if METHOD not in chosen.group:
        return {
            key: _renamed(style.level(key, place), values, chosen)
            for place, (key, values) in enumerate(found.items())
        }
    marks = style.marks(values[METHOD] for values in found.values())
    looks: dict[str, style.Mark] = {}
    for method, mark in marks.items():
        of_method = {key: values for key, values in found.items() if values[METHOD] == method}
        shades = style.shades(mark.colour, len(of_method))
        for number, ((key, values), shade) in enumerate(zip(of_method.items(), shades, strict=True)):
            marker = style.MARKERS[(style.MARKERS.find(mark.marker) + number) % len(style.MARKERS)]
            own = mark if len(of_method) == 1 else style.Mark(mark.label, shade, mark.line, marker)
            looks[key] = _renamed(own, values, chosen)
    return looks


def _renamed(mark: style.Mark, values: dict[str, Any], chosen: Placing) -> style.Mark:
    words = [named_value(name, value, chosen) for name, value in values.items() if setting(value) != NOT_SET]
    return style.Mark(", ".join(words) or NOT_SET, mark.colour, mark.line, mark.marker)
