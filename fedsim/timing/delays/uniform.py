"""Uniform delays: all values between two bounds are equally likely."""

from __future__ import annotations

from typing import Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from fedsim.timing.delays.base import Delay
from fedsim.timing.laws import DelayLaw, DiscreteLaw


class Uniform(Delay):
    """Every delay from `low_s` to `high_s` equally likely.

    The two bounds may be equal. Mean ``(low_s + high_s) / 2``.

    Source: Johnson, Kotz and Balakrishnan, Continuous Univariate Distributions, vol. 2, 1995, chapter 26.
    """

    kind: Literal["uniform"] = "uniform"
    low_s: float = Field(ge=0)
    high_s: float = Field(ge=0)

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.low_s > self.high_s:
            raise PydanticCustomError(
                "bounds_swapped",
                "low_s = {low} is greater than high_s = {high}",
                {"low": self.low_s, "high": self.high_s},
            )
        return self

    @property
    def mean_value_s(self) -> float:
        return (self.low_s + self.high_s) / 2

    def law(self) -> DelayLaw:
        if self.low_s == self.high_s:
            return DiscreteLaw([self.low_s])
        from scipy import stats

        return stats.uniform(loc=self.low_s, scale=self.high_s - self.low_s)

    def sample(self, generator: np.random.Generator, size: int) -> NDArray[np.float64]:
        return generator.uniform(self.low_s, self.high_s, size)
