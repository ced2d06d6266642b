"""The interface of a delay, and the family that a delay may hold members of."""

from __future__ import annotations

from abc import abstractmethod
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray

from fedsim.answering import answers, array, number, refuse
from fedsim.catalog import Family, Part
from fedsim.timing.laws import METHODS, DelayLaw, DiscreteLaw

DRAWS_FOR_A_LAW = 10_000
"""By which a delay that does not tell its law is known."""


def _delays(part: Part, name: str, given: list[Any], answer: Any) -> NDArray[np.float64]:
    found: NDArray[np.float64] = array(name, answer, (given[1],), least=0)
    return found


def _laws(part: Part, name: str, given: list[Any], answer: Any) -> DelayLaw:
    missing = [method for method in METHODS if not callable(getattr(answer, method, None))]
    if missing:
        refuse(name, answer, f"a frozen distribution of scipy.stats, or one with the method {missing[0]!r}")
    law: DelayLaw = answer
    return law


class Delay(Part):
    """A distribution of delays in seconds, never negative."""

    @property
    @abstractmethod
    @answers(number(least=0, infinite=True))
    def mean_value_s(self) -> float:
        """The exact mean (s); ``math.inf`` where it does not exist."""

    @answers(_laws)
    def law(self) -> DelayLaw:
        """Return the distribution of a delay: a frozen one of ``scipy.stats``, or one with the same methods.

        A delay that does not tell its own is known by 10,000 draws of a fixed seed: its mean and its
        quantiles are those of the draws, and it has no density, so that no likelihood can be worked out.
        """
        return DiscreteLaw(self.sample(np.random.default_rng(0), DRAWS_FOR_A_LAW))

    @abstractmethod
    @answers(_delays)
    def sample(self, generator: np.random.Generator, size: int) -> NDArray[np.float64]:
        """Draw `size` independent delays (s), a ``(size,)`` array."""


# Listed in __init__.py. The family stands here because a mixture, itself a delay, holds delays of any kind.
DELAYS = Family("delays", Delay)
AnyDelay = Annotated[Delay, DELAYS]
