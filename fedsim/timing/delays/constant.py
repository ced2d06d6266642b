"""Always the same delay."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from fedsim.timing.delays.base import Delay
from fedsim.timing.laws import DelayLaw, DiscreteLaw


class Constant(Delay):
    """The same number of seconds every time.

    Source: the degenerate distribution; its mean is `value_s`.
    """

    kind: Literal["constant"] = "constant"
    value_s: float = Field(ge=0)

    @property
    def mean_value_s(self) -> float:
        return self.value_s

    def law(self) -> DelayLaw:
        return DiscreteLaw([self.value_s])

    def sample(self, generator: np.random.Generator, size: int) -> NDArray[np.float64]:
        return np.full(size, self.value_s)
