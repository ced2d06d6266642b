"""Weibull delays: the rate of finishing rises or falls with the time already spent."""

from __future__ import annotations

import math
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from fedsim.timing.delays.base import Delay
from fedsim.timing.laws import DelayLaw


class Weibull(Delay):
    """Delays whose rate of finishing grows (`shape` > 1) or falls (`shape` < 1) with the time already spent.

    P(delay > t) = ``exp(-(t / scale)**shape)`` with the scale that gives `mean_s`:
    ``scale = mean_s / Gamma(1 + 1 / shape)``. Shape 1 is the exponential.

    Source: Johnson, Kotz and Balakrishnan, Continuous Univariate Distributions, vol. 1, 1994, chapter 21.
    """

    kind: Literal["weibull"] = "weibull"
    shape: float = Field(ge=0.05)
    mean_s: float = Field(gt=0)

    @property
    def mean_value_s(self) -> float:
        return self.mean_s

    def law(self) -> DelayLaw:
        from scipy import stats

        return stats.weibull_min(c=self.shape, scale=self._scale_s)

    def sample(self, generator: np.random.Generator, size: int) -> NDArray[np.float64]:
        return self._scale_s * generator.weibull(self.shape, size)

    @property
    def _scale_s(self) -> float:
        return self.mean_s / math.gamma(1 + 1 / self.shape)
