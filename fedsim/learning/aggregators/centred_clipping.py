"""Centred clipping."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from fedsim.learning.aggregators.base import Aggregator

if TYPE_CHECKING:
    from torch import Tensor


class CentredClipping(Aggregator):
    """Steps from the previous consensus by the mean of the differences, each shortened to a radius.

    ``v <- v + mean_i clip(x_i - v, radius)``, where clip shrinks what is longer. One row moves the result by
    at most radius / m in an iteration, whatever it holds; all of them move it by at most the radius.

    Source: Karimireddy, He, Jaggi, "Learning from history for Byzantine robust optimization", ICML 2021, the
    centred clipping rule, started at the previous value as there. ByzFL's and Blades' start at zero and go on
    from their own last result; ours goes on from the consensus, which a rate or a projection may have moved.
    """

    kind: Literal["centred_clipping"] = "centred_clipping"
    radius: float = Field(gt=0)
    """The length that differences are cut to, tau."""
    iterations: int = Field(default=1, ge=1, le=1_000_000)

    @property
    def least_rows(self) -> int:
        return 1

    def _combined(self, rows: Tensor, previous: Tensor) -> Tensor:
        from fedsim.learning.clipping import clipped

        centre = previous
        for _ in range(self.iterations):
            centre = centre + clipped(rows - centre, self.radius).mean(0)
        return centre
