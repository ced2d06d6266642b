"""The mean of each coordinate without its extremes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from fedsim.learning.aggregators.base import Tolerant

if TYPE_CHECKING:
    from torch import Tensor


class TrimmedMean(Tolerant):
    """The mean of each coordinate without its f smallest and its f largest values.

    With at most f Byzantine rows among 2f + 1 or more, each coordinate stays in the range of honest rows.

    Source: Yin et al., "Byzantine-robust distributed learning: towards optimal statistical rates", ICML 2018,
    Definition 2, with f = beta m; f from each end, 2f in all. ByzFL's does the same. SciPy's and Flower's
    are told the fraction beta, and round beta m down. To drop the f values farthest from the median is
    `meamed`.
    """

    kind: Literal["trimmed_mean"] = "trimmed_mean"

    def _combined(self, rows: Tensor, previous: Tensor) -> Tensor:
        from fedsim.learning.ordered import in_order

        return in_order(rows)[self.f : len(rows) - self.f].mean(0)
