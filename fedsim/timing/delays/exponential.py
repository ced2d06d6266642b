"""Exponential delays: without memory."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from fedsim.timing.delays.base import Delay
from fedsim.timing.laws import DelayLaw


class Exponential(Delay):
    """Delays without memory: how long one has waited says nothing about how long is left.

    Density ``exp(-t / mean_s) / mean_s``.

    Source: Johnson, Kotz and Balakrishnan, Continuous Univariate Distributions, vol. 1, 1994, chapter 19.
    """

    kind: Literal["exponential"] = "exponential"
    mean_s: float = Field(gt=0)

    @property
    def mean_value_s(self) -> float:
        return self.mean_s

    def law(self) -> DelayLaw:
        from scipy import stats

        return stats.expon(scale=self.mean_s)

    def sample(self, generator: np.random.Generator, size: int) -> NDArray[np.float64]:
        return generator.exponential(self.mean_s, size)
