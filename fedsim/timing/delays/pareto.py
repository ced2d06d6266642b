"""Pareto delays: a least delay and a heavy tail."""

from __future__ import annotations

import math
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from fedsim.timing.delays.base import Delay
from fedsim.timing.laws import DelayLaw


class Pareto(Delay):
    """A least delay and a heavy tail: P(delay > t) = ``(minimum_s / t)**tail_index`` for t >= minimum_s.

    The classical (type I) Pareto law, not the Lomax law that starts at 0. Mean
    ``minimum_s * tail_index / (tail_index - 1)``, infinite for `tail_index` <= 1; the variance is infinite
    for `tail_index` <= 2, so averages over runs settle slowly.

    Source: Johnson, Kotz and Balakrishnan, Continuous Univariate Distributions, vol. 1, 1994, chapter 20.
    """

    kind: Literal["pareto"] = "pareto"
    minimum_s: float = Field(gt=0)
    tail_index: float = Field(ge=0.1)

    @property
    def mean_value_s(self) -> float:
        if self.tail_index <= 1:
            return math.inf
        return self.minimum_s * self.tail_index / (self.tail_index - 1)

    def law(self) -> DelayLaw:
        from scipy import stats

        return stats.pareto(b=self.tail_index, scale=self.minimum_s)

    def sample(self, generator: np.random.Generator, size: int) -> NDArray[np.float64]:
        # numpy draws the Lomax law, which is the classical one moved to start at 0
        return self.minimum_s * (1 + generator.pareto(self.tail_index, size))
