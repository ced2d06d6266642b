"""The base of all traces: checked columns of equal length, from which whole rows can be drawn."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any, ClassVar, Literal, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

Place = Callable[[int, str], str]
"""Where a cell stands in its file, from row (counted from 0) and column; the beginning of an error."""
Array = NDArray[Any]


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


def span_text(start_s: float, end_s: float) -> str:
    """Return a span of time as text.

    >>> span_text(0.0, 90.5)
    '0 s to 90.5 s'
    """
    return f"{start_s:g} s to {end_s:g} s"
