"""Where the values of a setting stand on an axis."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from fedsim_analysis.grids.choice import Placing, is_numeric
from fedsim_analysis.grids.telling import ticks_told
from fedsim_analysis.varied import distinct
from fedsim_analysis.words import axis, setting

_MOST_TICKS = 8
_LEAST_FACTOR = 8.0
"""Of the largest value to the smallest: below it a logarithmic axis tells nothing more."""
_SPREAD = 0.3
"""Of the distance of neighbours, over which the points of one value stand apart."""

_MOST_ASIDE = 0.03
"""Of the axis, between the points of two groups."""


@dataclass(frozen=True)
class Scale:
    """An axis: at equal distances, in proportion, or by factors."""

    column: str
    kind: Literal["equal", "linear", "log"]
    divisor: float
    levels: tuple[str, ...]
    """The values, as `setting` writes them."""
    gap: float
    """The least distance of neighbours, of logarithms on a logarithmic axis."""
    ticks: tuple[tuple[float, str], ...]
    """Places and words; none where matplotlib finds better ones."""
    ends: tuple[float, float]

    def dodged(
        self, values: pd.Series[Any], place: int, among: int, spread: float = _SPREAD
    ) -> NDArray[np.float64]:
        """Return where the points of one of several groups stand, so that no group hides another."""
        reach = spread * self.gap
        if self.kind != "equal":
            reach = min(reach, _MOST_ASIDE * (among - 1) * self.gap * max(1, len(self.levels) - 1))
        aside = reach * (place / (among - 1) - 0.5) if among > 1 else 0.0
        if self.kind == "equal":
            return np.array([self.levels.index(setting(value)) for value in values]) + aside
        places = values.to_numpy(dtype=float) / self.divisor
        return np.asarray(places * np.exp(aside) if self.kind == "log" else places + aside)


def scale_of(values: pd.Series[Any], chosen: Placing, bars: bool, panels: int) -> Scale:
    """Return where the values of the x axis stand, of `panels` beside each other."""
    column = chosen.x
    found = distinct(values)
    levels = tuple(setting(value) for value in found)
    if bars or not is_numeric(values) or len(found) == 1 or _from_zero_by_factors(found):
        words = ticks_told(column, found, panels)
        return Scale(column, "equal", 1.0, levels, 1.0, tuple(enumerate(words)), (-0.5, len(found) - 0.5))
    divisor = axis(column, 1.0)[0]
    numbers = np.array(found, dtype=float) / divisor
    by_factors = is_by_factors(found)
    logs = np.log(numbers) if by_factors else numbers
    gap = float(np.diff(logs).min())
    ends = logs[0] - 0.4 * gap, logs[-1] + 0.4 * gap
    ticks = tuple((float(number), f"{number:g}") for number in numbers) if len(numbers) <= _MOST_TICKS else ()
    if by_factors:
        return Scale(column, "log", divisor, levels, gap, ticks, tuple(np.exp(ends)))
    crowded = gap < (logs[-1] - logs[0]) / 15
    return Scale(column, "linear", divisor, levels, gap, () if crowded else ticks, ends)


def is_by_factors(values: list[Any]) -> bool:
    """Whether values in order lie more evenly by their logarithms than by themselves.

    >>> is_by_factors([1, 2, 4, 8]), is_by_factors([0.1, 0.2, 0.3]), is_by_factors([1, 3, 10, 30])
    (True, False, True)
    """
    numbers = np.array(values, dtype=float)
    if len(numbers) < 3 or numbers[0] <= 0 or numbers[-1] / numbers[0] < _LEAST_FACTOR:
        return False
    return _unevenness(np.log(numbers)) < _unevenness(numbers)


def _unevenness(places: NDArray[np.float64]) -> float:
    steps = np.diff(places)
    return float(steps.std() / steps.mean())


def _from_zero_by_factors(values: list[Any]) -> bool:
    """Whether there is a zero before numbers that lie by factors: no axis but one of equal distances fits."""
    return len(values) > 3 and float(values[0]) == 0 and is_by_factors(values[1:])
