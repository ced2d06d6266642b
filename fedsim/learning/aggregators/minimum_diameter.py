"""Minimum-diameter averaging."""

from __future__ import annotations

import math
from itertools import chain, combinations, islice
from typing import TYPE_CHECKING, Literal

from fedsim.learning.aggregators.base import Tolerant

if TYPE_CHECKING:
    from torch import Tensor

MOST_PAIRS = 100_000_000
"""Pairs of rows looked at, all subsets together: about a second, and the next sizes take minutes to years."""
PAIRS_AT_A_TIME = 1_000_000


class MinimumDiameter(Tolerant):
    """The mean of the m - f rows whose largest distance from each other is least.

    Several such sets are not rare: then the one with the least sum of squared distances is taken, and of
    those the first in lexicographic order. All subsets are tried: where they hold more than 100 million pairs
    of rows the rule refuses (20 rows allow any f, 30 rows f = 5, 100 rows f = 2).

    Source: El Mhamdi, Guerraoui, Rouault, "The hidden vulnerability of distributed learning in Byzantium",
    ICML 2018, which calls it Brute; the estimator of minimum diameter goes back to Rousseeuw, "Multivariate
    estimation with high breakdown point", 1985. ByzFL takes the first set of least diameter, so that its
    result depends on the order of the rows.
    """

    kind: Literal["minimum_diameter"] = "minimum_diameter"

    def refusal(self, m: int) -> str:
        n_subsets = math.comb(m, m - self.f)
        if n_subsets * (m - self.f) ** 2 <= MOST_PAIRS:
            return ""
        return (
            f"minimum_diameter with f={self.f} would try {n_subsets:,} subsets of {m} rows, more than it can "
            "in reasonable time; expected fewer rows, a smaller f, or another aggregator"
        )

    def _combined(self, rows: Tensor, previous: Tensor) -> Tensor:
        from fedsim.learning.distances import mean, squared_distances

        return mean(rows[_tightest(squared_distances(rows), len(rows) - self.f)])


def _tightest(squared: Tensor, kept: int) -> Tensor:
    """Return the numbers of the `kept` rows with the least diameter, (kept,), from distances (m, m)."""
    import numpy as np
    import torch

    from fedsim.learning.device import from_numpy

    subsets = combinations(range(len(squared)), kept)
    least, found = (math.inf, math.inf), torch.arange(kept)
    while True:
        some = chain.from_iterable(islice(subsets, max(1, PAIRS_AT_A_TIME // kept**2)))
        numbers = from_numpy(np.fromiter(some, np.int64)).view(-1, kept)
        if not len(numbers):
            return found
        within = squared[numbers.unsqueeze(2), numbers.unsqueeze(1)].flatten(1)
        diameters = within.amax(1)
        spreads = torch.where(diameters == diameters.min(), within.sum(1), torch.inf)
        here = (float(diameters.min()), float(spreads.min()))
        if here < least:
            least, found = here, numbers[spreads.argmin()]
