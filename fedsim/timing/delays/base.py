"""The interface of a delay, and the family that a delay may hold members of."""

from __future__ import annotations

from abc import abstractmethod
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray

from fedsim.answering import answers, array, number
from fedsim.catalog import Family, Part


def _delays(part: Part, name: str, given: list[Any], answer: Any) -> NDArray[np.float64]:
    found: NDArray[np.float64] = array(name, answer, (given[1],), least=0)
    return found


class Delay(Part):
    """A distribution of delays in seconds, never negative."""

    @property
    @abstractmethod
    @answers(number(least=0, infinite=True))
    def mean_value_s(self) -> float:
        """The exact mean (s); ``math.inf`` where it does not exist."""

    @abstractmethod
    @answers(_delays)
    def sample(self, generator: np.random.Generator, size: int) -> NDArray[np.float64]:
        """Draw `size` independent delays (s), a ``(size,)`` array."""


# Listed in __init__.py. The family stands here because a mixture, itself a delay, holds delays of any kind.
DELAYS = Family("delays", Delay)
AnyDelay = Annotated[Delay, DELAYS]
