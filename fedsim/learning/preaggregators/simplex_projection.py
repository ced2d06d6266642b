"""Projection of every message on the simplex."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from fedsim.learning.preaggregators.base import Preaggregator

if TYPE_CHECKING:
    from torch import Tensor


class SimplexProjection(Preaggregator):
    """Replaces each distribution of a message by the nearest true one; honest messages stay as they are.

    It bounds how far a forged message is from honest ones (by sqrt(2) per distribution), which alone is no
    defence.

    Source: Michelot, "A finite algorithm for finding the projection of a point onto the canonical simplex of
    R^n", Journal of Optimization Theory and Applications 50, 1986.
    """

    kind: Literal["simplex_projection"] = "simplex_projection"
    options: int | None = Field(default=None, ge=1)
    """N: a row is cut into distributions of so many options; None: a row is one distribution."""

    def rows_left(self, m: int) -> int:
        return m

    def apply(self, rows: Tensor, previous: Tensor) -> Tensor:
        from fedsim.learning.simplex import project

        return project(rows.reshape(len(rows), -1, self.options or rows.shape[1])).reshape(rows.shape)
