"""Nearest-neighbour mixing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from fedsim.learning.preaggregators.base import Preaggregator

if TYPE_CHECKING:
    from torch import Tensor


class NearestNeighbourMixing(Preaggregator):
    """Replaces each row by the mean of its m - f nearest rows, itself among them.

    Of rows as near as each other the first are taken. Honest rows come out closer together, so that a rule
    mistakes fewer of them for Byzantine ones; `f` of the rule that follows stays what it is.

    Source: Allouah, Farhadkhani, Guerraoui, Gupta, Pinot, Stephan, "Fixing by mixing: a recipe for optimal
    Byzantine ML under heterogeneity", AISTATS 2023, Algorithm 2 (NNM). ByzFL does the same, also where half
    of the rows or more may be Byzantine, which is refused here.
    """

    kind: Literal["nearest_neighbour_mixing"] = "nearest_neighbour_mixing"
    f: int = Field(ge=0)
    """Rows of a step that may be Byzantine."""

    def rows_left(self, m: int) -> int:
        return m if m > 2 * self.f else 0

    def apply(self, rows: Tensor, previous: Tensor) -> Tensor:
        import torch

        from fedsim.learning.distances import squared_distances

        kept = len(rows) - self.f
        wide = rows.to(torch.promote_types(rows.dtype, torch.float32))
        itself_first = squared_distances(wide).fill_diagonal_(-1)
        nearest = itself_first.argsort(stable=True)[:, :kept]
        # Shares are multiplied before they are added: a sum of huge rows would overflow.
        shares = wide.new_zeros(len(rows), len(rows)).scatter_(1, nearest, 1 / kept)
        return (shares @ wide).to(rows.dtype)
