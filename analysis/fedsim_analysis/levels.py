"""Numbers that change at instants and stay in between: how many calls wait at a service."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

COUNTED = ("queued", "serving")
PERCENTILE = 0.95


class Levels:
    """How many calls wait and are answered at one service in one run, as step functions of time."""

    def __init__(self, changes: pd.DataFrame, end_s: float) -> None:
        # Of several changes at one instant the last one counts; before the first change nobody is there.
        last = changes.drop_duplicates("time_s", keep="last")
        last = last[last["time_s"] < end_s]
        first = [] if (last["time_s"] == 0).any() else [0]
        self.start_s = np.array([*first, *last["time_s"]], dtype=float)
        self.end_s = end_s
        self.values = {name: np.array([*first, *last[name]], dtype=float) for name in COUNTED}

    @property
    def seconds(self) -> NDArray[np.float64]:
        """How long each level lasts."""
        return np.diff(self.start_s, append=self.end_s)

    def averages(self, name: str, edges_s: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the mean level between each two neighbours of `edges_s`, which lie in [0, end_s]."""
        area = np.concatenate([[0.0], (self.values[name] * self.seconds).cumsum()])
        until = np.interp(edges_s, [*self.start_s, self.end_s], area)
        return np.diff(until) / np.diff(edges_s)

    def mean(self) -> float:
        """Return the mean number waiting, over time."""
        return float(np.average(self.values["queued"], weights=self.seconds))

    def percentile(self) -> float:
        """Return the least number that is not exceeded 95 % of the time."""
        order = np.argsort(self.values["queued"], kind="stable")
        below = self.seconds[order].cumsum()
        # Rounding in the sums must not move a level that is reached exactly.
        place = np.searchsorted(below, PERCENTILE * below[-1] * (1 - 1e-12))
        return float(self.values["queued"][order][place])
