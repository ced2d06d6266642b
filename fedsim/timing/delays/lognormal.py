"""Lognormal delays: their logarithm is normal."""

from __future__ import annotations

import math
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from fedsim.timing.delays.base import Delay
from fedsim.timing.laws import DelayLaw, DiscreteLaw


class Lognormal(Delay):
    """Delays whose logarithm is normal: half are below `median_s`, few are far above.

    `sigma` is the standard deviation of the natural logarithm (no unit). Mean
    ``median_s * exp(sigma**2 / 2)``. A `sigma` above 10 is refused as a slip: the mean would be more than
    10^21 medians.

    Source: Johnson, Kotz and Balakrishnan, Continuous Univariate Distributions, vol. 1, 1994, chapter 14;
    ``median_s = 0.03``, ``sigma = 1`` is the delay of an upload in the code released with ADBO (Jiao et al.,
    ICLR 2023).
    """

    kind: Literal["lognormal"] = "lognormal"
    median_s: float = Field(gt=0)
    sigma: float = Field(ge=0, le=10)

    @property
    def mean_value_s(self) -> float:
        return self.median_s * math.exp(self.sigma**2 / 2)

    def law(self) -> DelayLaw:
        if self.sigma == 0:
            return DiscreteLaw([self.median_s])
        from scipy import stats

        return stats.lognorm(s=self.sigma, scale=self.median_s)

    def sample(self, generator: np.random.Generator, size: int) -> NDArray[np.float64]:
        return generator.lognormal(math.log(self.median_s), self.sigma, size)
