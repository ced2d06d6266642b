"""Measured latencies from any table: a column of times, in any unit, and what tells of failures."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from fedsim.errors import InputError, nearest
from fedsim.timing.traces.base import NEVER_S, Column
from fedsim.timing.traces.cells import Cells, read_cells, values
from fedsim.timing.traces.formats import read_as
from fedsim.timing.traces.requests import Requests

TimeUnit = Literal["s", "ms", "us"]
SECONDS: dict[TimeUnit, float] = {"s": 1.0, "ms": 1e-3, "us": 1e-6}
"""How long each unit is (s)."""
OUTCOMES = ("error_code", "status", "status_code", "error")
"""Columns that may say how a request ended: empty, a status or words."""
_WELL = ("", "ok", "success", "succeeded", "none", "null", "false", "0")
_TIMED_OUT = ("408", "504", "524", "598", "599")
"""HTTP statuses of an answer that did not come in time."""
_LONG_S = 300.0
"""A median above this is milliseconds taken for seconds, in all likelihood: nobody waits so long."""


@dataclass(frozen=True, eq=False)
class Latencies:
    """The times of requests that succeeded, in their order, and how many others there were."""

    delays_s: NDArray[np.float64]
    column: str
    unit: TimeUnit
    n_requests: int
    failed: dict[str, int]
    """How many others there were, by what became of them, such as ``timed out`` and ``with 429``."""

    def spoken(self) -> str:
        """Return how many requests there were, and how many had no answer."""
        total = sum(self.failed.values())
        if not total:
            return f"{self.n_requests} requests, none failed"
        told = ", ".join(f"{count} {how}" for how, count in self.failed.items() if count)
        return f"{self.n_requests} requests, {total} failed ({total / self.n_requests:.1%}): {told}"

    def doubt(self) -> str:
        """Return a sentence where the times look as if they were in another unit; else nothing."""
        if not len(self.delays_s):
            return ""
        median_s = float(np.median(self.delays_s))
        if self.unit == "s" and median_s > _LONG_S:
            return f"half of the times are above {median_s:g} s: are they milliseconds (--unit ms)?"
        if self.unit != "s" and median_s < 1e-4:
            return f"half of the times are below {median_s:g} s: are they seconds (--unit s)?"
        return ""


def read_latencies(file: Path, column: str | None = None, unit: TimeUnit | None = None) -> Latencies:
    """Read latencies from a CSV or Parquet file.

    A row failed if a column of `OUTCOMES` says so: by a status that is not 200 to 299, or by words. A
    time-out is a status of that kind, or words with "time" in them. A failed row may lack its time, and does
    not count.

    Args:
        file: with a header.
        column: where the times are; the only column of numbers if not given, or ``end_to_end_s``.
        unit: of the times; milliseconds if not given and the name of the column ends so, else seconds.

    Raises:
        InputError: there is no such column, or a cell is no time.
    """
    cells = read_cells(file)
    if {each.name for each in Requests.columns} <= set(cells.header):
        read_as(file, Requests)  # a trace of requests is held to all of its rules
    column = _column(cells, column)
    unit = unit or next((one for one in SECONDS if one != "s" and column.endswith(f"_{one}")), "s")
    if unit not in SECONDS:
        raise InputError(f"--unit: found {unit!r}, expected one of {', '.join(SECONDS)}")
    outcome = next((name for name in OUTCOMES if name in cells.header and name != column), None)
    said = [""] * len(cells.table) if outcome is None else [said_of(cell) for cell in cells.table[outcome]]
    lost = np.array([not went_well(text) for text in said], dtype=bool)
    times = values(cells, Column(column, may_be_empty=True)) * SECONDS[unit]
    for row in np.flatnonzero(np.isnan(times) & ~lost)[:1]:
        hint = "" if outcome else f"; a column {OUTCOMES[0]!r} may tell of failures"
        raise InputError(f"{cells.place(row, column)}: expected a time, got nothing{hint}")
    delays_s = times[~lost]
    for row in np.flatnonzero(delays_s >= NEVER_S)[:1]:
        raise InputError(
            f"{file}, column {column!r}: found {delays_s[row]:g} s, expected how long it took, not when"
        )
    ends = [_end(text) for text in said if not went_well(text)]
    failed = {how: ends.count(how) for how in ("timed out", "with 429", "with 5xx", "others")}
    return Latencies(delays_s, column, unit, len(lost), failed)


def _column(cells: Cells, column: str | None) -> str:
    known = ", ".join(cells.header)
    if column is not None:
        if column not in cells.header:
            raise InputError(
                f"{cells.file}: no column {column!r}{nearest(column, cells.header) or f' (columns: {known})'}"
            )
        return column
    if "end_to_end_s" in cells.header:
        return "end_to_end_s"
    numeric = [name for name in cells.header if name not in OUTCOMES and _is_numeric(cells, name)]
    if len(numeric) == 1:
        return numeric[0]
    raise InputError(f"{cells.file}: expected --column, one of {', '.join(numeric) or known}")


def _is_numeric(cells: Cells, name: str) -> bool:
    try:
        return bool(np.isfinite(values(cells, Column(name, may_be_empty=True))).any())
    except InputError:
        return False


def said_of(cell: Any) -> str:
    """Return a cell in small letters, nothing where it is empty; a whole number without a point."""
    import pandas as pd

    text = "" if cell is None or pd.isna(cell) else str(cell).strip().lower()
    return text.removesuffix(".0")


def went_well(text: str) -> bool:
    """Whether what is said of a request means that it was answered: nothing, a status of success, or ok."""
    return text in _WELL or (text.isdecimal() and 200 <= int(text) <= 299)


def _end(text: str) -> str:
    if text in _TIMED_OUT or (not text.isdecimal() and "time" in text):
        return "timed out"
    if text == "429":
        return "with 429"
    return "with 5xx" if text.isdecimal() and 500 <= int(text) <= 599 else "others"
