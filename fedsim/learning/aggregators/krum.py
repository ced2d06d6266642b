"""Krum."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from fedsim.learning.aggregators.base import Aggregator

if TYPE_CHECKING:
    from torch import Tensor


class Krum(Aggregator):
    """The row with the least sum of squared distances to its m - f - 2 nearest others.

    Of several such rows the first. The result is always one of the rows; a Byzantine row that sits in the
    middle of honest ones may be chosen.

    Source: Blanchard, El Mhamdi, Guerraoui, Stainer, "Machine learning with adversaries: Byzantine tolerant
    gradient descent", NeurIPS 2017, Section 4; 2f + 2 < m is the condition of their Proposition 1. Libraries
    sum other numbers of distances: ByzFL (0.0.11) averages those to the m - f - 1 nearest others and asks for
    2f < m only. Flower (1.42) sums those to the m - f - 2 nearest as we do, to one where that is less, and
    asks for nothing.
    """

    kind: Literal["krum"] = "krum"
    f: int = Field(ge=0)
    """Rows of a step that may be Byzantine."""

    @property
    def least_rows(self) -> int:
        return 2 * self.f + 3

    def _combined(self, rows: Tensor, previous: Tensor) -> Tensor:
        from fedsim.learning.distances import krum_scores

        return rows[krum_scores(rows, self.f).argmin()]
