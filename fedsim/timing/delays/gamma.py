"""Gamma delays: a sum of exponential stages."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from fedsim.timing.delays.base import Delay
from fedsim.timing.laws import DelayLaw


class Gamma(Delay):
    """A sum of `shape` exponential stages, `mean_s` in all; `shape` need not be whole.

    The standard deviation is ``mean_s / sqrt(shape)``: a shape below 1 is more variable than an exponential,
    a large one nearly constant. The scale is ``mean_s / shape``.

    Source: Johnson, Kotz and Balakrishnan, Continuous Univariate Distributions, vol. 1, 1994, chapter 17.
    """

    kind: Literal["gamma"] = "gamma"
    shape: float = Field(ge=0.01)
    mean_s: float = Field(gt=0)

    @property
    def mean_value_s(self) -> float:
        return self.mean_s

    def law(self) -> DelayLaw:
        from scipy import stats

        return stats.gamma(a=self.shape, scale=self.mean_s / self.shape)

    def sample(self, generator: np.random.Generator, size: int) -> NDArray[np.float64]:
        return generator.gamma(self.shape, self.mean_s / self.shape, size)
