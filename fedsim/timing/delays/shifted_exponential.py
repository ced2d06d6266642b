"""A fixed time plus an exponential one."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from fedsim.timing.delays.base import Delay
from fedsim.timing.laws import DelayLaw


class ShiftedExponential(Delay):
    """A fixed `shift_s` plus an exponential excess of mean `mean_excess_s`.

    The usual law for the runtime of a straggling worker: the work itself, then bad luck. Mean
    ``shift_s + mean_excess_s``.

    Source: Lee et al., "Speeding up distributed machine learning using codes", IEEE Transactions on
    Information Theory, 2018, the runtime of a worker.
    """

    kind: Literal["shifted_exponential"] = "shifted_exponential"
    shift_s: float = Field(ge=0)
    mean_excess_s: float = Field(gt=0)

    @property
    def mean_value_s(self) -> float:
        return self.shift_s + self.mean_excess_s

    def law(self) -> DelayLaw:
        from scipy import stats

        return stats.expon(loc=self.shift_s, scale=self.mean_excess_s)

    def sample(self, generator: np.random.Generator, size: int) -> NDArray[np.float64]:
        return self.shift_s + generator.exponential(self.mean_excess_s, size)
