"""Multi-Krum."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from fedsim.learning.aggregators.base import Aggregator

if TYPE_CHECKING:
    from torch import Tensor


class MultiKrum(Aggregator):
    """The mean of the rows with the best Krum scores.

    Of rows with equal scores the first are taken. The scores are computed once.

    Source: Blanchard, El Mhamdi, Guerraoui, Stainer, "Machine learning with adversaries: Byzantine tolerant
    gradient descent", NeurIPS 2017, Section 4 for the scores; Multi-Krum of its experiments for the mean of
    the best, there in one pass as well. What libraries score differently is said at `krum`. ByzFL
    keeps m - f too; some implementations choose rows one by one, with new scores each time.
    """

    kind: Literal["multi_krum"] = "multi_krum"
    f: int = Field(ge=0)
    """Rows of a step that may be Byzantine."""
    keep: int | None = Field(default=None, ge=1)
    """How many rows are averaged, at most m - f; none: m - f."""

    @property
    def least_rows(self) -> int:
        # With more than m - f kept, a Byzantine row would always be among them.
        return max(2 * self.f + 3, self.f + (self.keep or 0))

    def _combined(self, rows: Tensor, previous: Tensor) -> Tensor:
        from fedsim.learning.distances import krum_scores, mean

        best_first = krum_scores(rows, self.f).argsort(stable=True)
        return mean(rows[best_first[: self.keep or len(rows) - self.f]])
