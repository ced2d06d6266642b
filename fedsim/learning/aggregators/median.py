"""The median of each coordinate."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from fedsim.learning.aggregators.base import Tolerant

if TYPE_CHECKING:
    from torch import Tensor


class Median(Tolerant):
    """The median of each coordinate; of an even number of rows the mean of the two middle values.

    With at most f Byzantine rows among 2f + 1 or more, each coordinate stays in the range of honest rows.
    `f` does not enter the value; it says what the load-time check is to ensure.

    Source: Yin et al., "Byzantine-robust distributed learning: towards optimal statistical rates", ICML 2018,
    Definition 1 (the usual one-dimensional median of each coordinate). NumPy takes the mean of the
    two middle values as we do; `torch.median` takes the lower one, and so do the libraries that call it.
    """

    kind: Literal["median"] = "median"
    f: int = Field(default=0, ge=0)

    def _combined(self, rows: Tensor, previous: Tensor) -> Tensor:
        from fedsim.learning.ordered import in_order, middle

        return middle(in_order(rows))
