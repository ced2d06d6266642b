"""The interface of a pre-aggregator: what is done to the messages of a step before they are combined."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, Any

from fedsim.answering import answers, count, tensor
from fedsim.catalog import Part

if TYPE_CHECKING:
    from torch import Tensor


def _rows(part: Preaggregator, name: str, given: list[Any], answer: Any) -> Tensor:
    m, d = given[0].shape
    found: Tensor = tensor(name, answer, (part.rows_left(m), d))
    return found


class Preaggregator(Part):
    """A map from rows to rows; several are applied one after the other."""

    @abstractmethod
    @answers(count())
    def rows_left(self, m: int) -> int:
        """Return how many rows it makes of m rows; 0 if m is too few for it."""

    @abstractmethod
    @answers(_rows)
    def apply(self, rows: Tensor, previous: Tensor) -> Tensor:
        """Return other rows, (`rows_left(m)`, d); nothing given is written to.

        Args:
            rows: the messages, (m, d), of any floating type, finite, with ``rows_left(m) > 0``.
            previous: the consensus before, (d,).
        """
