"""When requests of others arrive, and how long they are."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fedsim.errors import InputError
from fedsim.timing.traces.base import Array, Column, MeasuredTrace, Place, check_begins, span_text


@dataclass(frozen=True, eq=False)
class Arrivals(MeasuredTrace):
    """Requests as they arrive at a service: time since the trace began, and tokens in and out.

    Times never go back; several requests may arrive at one time. `resampled` keeps a request's tokens
    together and loses the order: it is meant for the tokens, not for the times.
    """

    kind = "arrivals"
    columns = (Column("time_s"), Column("tokens_in", "whole"), Column("tokens_out", "whole"))

    time_s: NDArray[np.float64]
    tokens_in: NDArray[np.float64]
    tokens_out: NDArray[np.float64]

    @classmethod
    def check(cls, cells: dict[str, Array], place: Place) -> None:
        times_s = cells["time_s"]
        check_begins(cells, "time_s", place)
        for row in np.flatnonzero(np.diff(times_s) < 0)[:1] + 1:
            raise InputError(
                f"{place(row, 'time_s')}: expected {times_s[row - 1]:g} or later, the time of the row before "
                f"it; got {times_s[row]:g}"
            )
        if len(times_s) > 1 and times_s[0] == times_s[-1]:
            raise InputError(
                f"{place(1, 'time_s')}: found {times_s[0]:g} in all {len(times_s)} rows, expected times that "
                "go on"
            )

    def span(self) -> str:
        return span_text(self.time_s[0], self.time_s[-1])
