"""Measured requests to a language model: one row per request, failures included."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fedsim.errors import InputError
from fedsim.timing.traces.base import Array, Column, MeasuredTrace, Place, check_lasts

TOO_MANY_REQUESTS = 429
MEASURED = ("ttft_s", "end_to_end_s", "tokens_in", "tokens_out")


class FailureCounts(NamedTuple):
    """How many requests failed, by the HTTP status of the answer."""

    too_many_requests: int
    """429: the provider's rate limit."""
    server_errors: int
    """500 to 599."""
    other: int

    @property
    def total(self) -> int:
        """All of them."""
        return sum(self)


@dataclass(frozen=True, eq=False)
class Requests(MeasuredTrace):
    """Requests to a language model, in the order in which they were made.

    `ttft_s` is the time to the first token, `end_to_end_s` the time to the last one. `error_code` is an HTTP
    status or empty; a request failed where it is set and not 200 to 299. Only a failed request may lack its
    times and tokens; what is empty is NaN.
    """

    kind = "requests"
    columns = (
        Column("ttft_s", may_be_empty=True),
        Column("end_to_end_s", may_be_empty=True),
        Column("tokens_in", "whole", may_be_empty=True),
        Column("tokens_out", "whole", may_be_empty=True),
        Column("error_code", "whole", may_be_empty=True),
    )

    ttft_s: NDArray[np.float64]
    end_to_end_s: NDArray[np.float64]
    tokens_in: NDArray[np.float64]
    tokens_out: NDArray[np.float64]
    error_code: NDArray[np.float64]

    @classmethod
    def check(cls, cells: dict[str, Array], place: Place) -> None:
        codes = cells["error_code"]
        for row in np.flatnonzero((codes < 100) | (codes > 599))[:1]:
            raise InputError(
                f"{place(row, 'error_code')}: expected an HTTP status from 100 to 599, or nothing, "
                f"got {codes[row]:g}"
            )
        for column in MEASURED:
            for row in np.flatnonzero(np.isnan(cells[column]) & ~_failed(codes))[:1]:
                raise InputError(
                    f"{place(row, column)}: expected a number, because error_code tells of no failure; "
                    "got nothing"
                )
        check_lasts(cells, "ttft_s", place)
        check_lasts(cells, "end_to_end_s", place)
        first_s, last_s = cells["ttft_s"], cells["end_to_end_s"]
        for row in np.flatnonzero(last_s < first_s)[:1]:
            raise InputError(
                f"{place(row, 'end_to_end_s')}: expected at least ttft_s = {first_s[row]:g}, "
                f"got {last_s[row]:g}"
            )

    def span(self) -> str:
        failed = f"{self.failures().total} of {len(self)} requests failed"
        times_s = self.succeeded().end_to_end_s
        if not len(times_s):
            return failed
        doubt = " (half of them over 300 s: milliseconds?)" if np.median(times_s) > 300 else ""
        return f"{failed}, end_to_end_s {times_s.min():g} to {times_s.max():g}{doubt}"

    @property
    def failed(self) -> NDArray[np.bool_]:
        """Which requests failed, an ``(n,)`` array."""
        return _failed(self.error_code)

    def succeeded(self) -> Requests:
        """Return the requests that did not fail."""
        return self.rows(np.flatnonzero(~self.failed))

    def failures(self) -> FailureCounts:
        """Return how many requests failed, and how."""
        codes = self.error_code[self.failed]
        too_many = int((codes == TOO_MANY_REQUESTS).sum())
        server = int((codes >= 500).sum())
        return FailureCounts(too_many, server, len(codes) - too_many - server)


def _failed(codes: Array) -> NDArray[np.bool_]:
    return ~np.isnan(codes) & ((codes < 200) | (codes > 299))
