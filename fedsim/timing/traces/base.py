"""The base of all traces: checked columns of equal length, from which whole rows can be drawn."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any, ClassVar, Literal, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from fedsim.errors import InputError

Place = Callable[[int, str], str]
"""Where a cell stands in its file, from row (counted from 0) and column; the beginning of an error."""
Array = NDArray[Any]

NEVER_S = 5e8
"""No trace lasts 15 years: times from here on (s) count from 1970, not from its beginning."""


class Column(NamedTuple):
    """A column of a format, and which values it takes."""

    name: str
    holds: Literal["text", "number", "whole"] = "number"
    """Numbers are finite and never negative."""
    above_zero: bool = False
    may_be_empty: bool = False
    """An empty cell becomes NaN."""
    optional: bool = False
    """The whole column may be left out; the trace then has none in its place."""


@dataclass(frozen=True, eq=False)
class MeasuredTrace(ABC):
    """A table of measurements. Each column is a read-only ``(n,)`` array of the same name."""

    kind: ClassVar[str]
    columns: ClassVar[tuple[Column, ...]]

    @classmethod
    @abstractmethod
    def check(cls, cells: dict[str, Array], place: Place) -> None:
        """Check what the values of a column cannot tell alone.

        Raises:
            InputError: one sentence with the place, what was found and what was expected.
        """

    @abstractmethod
    def span(self) -> str:
        """Return in a few words what the trace spans."""

    def __len__(self) -> int:
        return len(getattr(self, self.columns[0].name))

    def rows(self, numbers: Array) -> Self:
        """Return the rows of these numbers (from 0), in this order; a row may be taken several times."""
        columns = {field.name: getattr(self, field.name) for field in fields(self)}
        return type(self)(
            **{name: None if column is None else column[numbers] for name, column in columns.items()}
        )

    def resampled(self, generator: np.random.Generator, size: int) -> Self:
        """Draw `size` whole rows with replacement, so that what belongs together stays together.

        Source: the bootstrap of pairs; Efron and Tibshirani, An Introduction to the Bootstrap, 1993,
        section 7.2.
        """
        return self.rows(generator.integers(len(self), size=size))


def check_begins(cells: dict[str, Array], column: str, place: Place) -> None:
    """Check that the times in a column count from the beginning of the trace.

    Raises:
        InputError: one of them is too late for that.
    """
    times_s = cells[column]
    for row in np.flatnonzero(times_s >= NEVER_S)[:1]:
        raise InputError(
            f"{place(row, column)}: expected seconds since the trace began, got {times_s[row]:.15g}, as if "
            "counted from 1970; take the time at which the trace began from all times"
        )


def check_lasts(cells: dict[str, Array], column: str, place: Place) -> None:
    """Check that the durations in a column are no times of day.

    Raises:
        InputError: one of them is too long for a duration.
    """
    durations_s = cells[column]
    for row in np.flatnonzero(durations_s >= NEVER_S)[:1]:
        raise InputError(
            f"{place(row, column)}: expected how many seconds it took, got {durations_s[row]:.15g}, as if it "
            "were a time counted from 1970"
        )


def span_text(start_s: float, end_s: float) -> str:
    """Return a span of time as text; a long one in days as well, by which milliseconds are seen.

    >>> span_text(0.0, 90.5)
    '0 s to 90.5 s'
    >>> span_text(0.0, 216000.0)
    '0 s to 216000 s (2.5 days)'
    """
    days = f" ({(end_s - start_s) / 86_400:.3g} days)" if end_s - start_s >= 86_400 else ""
    return f"{start_s:g} s to {end_s:g} s{days}"
