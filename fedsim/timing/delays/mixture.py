"""Each delay comes from one of several distributions, chosen at random."""

from __future__ import annotations

import math
from functools import cached_property
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, field_validator
from pydantic_core import PydanticCustomError

from fedsim.catalog import Strict
from fedsim.timing.delays.base import AnyDelay, Delay
from fedsim.timing.laws import DelayLaw, MixtureLaw


class Weighted(Strict):
    """One component of a mixture and how often it is drawn, relative to the others."""

    weight: float = Field(gt=0)
    delay: AnyDelay


class Mixture(Delay):
    """Each delay is drawn from one of several components, chosen with probabilities proportional to `weight`.

    Weights are relative, so 9 and 1 mean the same as 0.9 and 0.1. Two components make a bimodal delay, for
    instance an endpoint that is mostly warm and sometimes starts cold. Components may be of any kind,
    mixtures included. Mean: the weighted mean of the components' means.

    Source: McLachlan and Peel, Finite Mixture Models, 2000, chapter 1.
    """

    kind: Literal["mixture"] = "mixture"
    components: tuple[Weighted, ...]

    @field_validator("components")
    @classmethod
    def _not_empty(cls, components: tuple[Weighted, ...]) -> tuple[Weighted, ...]:
        # not min_length: beside one bad component, pydantic would also complain that none is left
        if not components:
            raise PydanticCustomError("no_components", "a mixture needs at least one component")
        return components

    @property
    def mean_value_s(self) -> float:
        total = math.fsum(part.weight for part in self.components)
        return math.fsum(part.weight / total * part.delay.mean_value_s for part in self.components)

    def law(self) -> DelayLaw:
        weights = [part.weight for part in self.components]
        return MixtureLaw(weights, [part.delay.law() for part in self.components])

    def sample(self, generator: np.random.Generator, size: int) -> NDArray[np.float64]:
        chosen = np.searchsorted(self._cumulative, generator.random(size), side="right")
        out = np.empty(size)
        for number, part in enumerate(self.components):
            here = chosen == number
            out[here] = part.delay.sample(generator, int(here.sum()))
        return out

    @cached_property
    def _cumulative(self) -> NDArray[np.float64]:
        """The probability of a component or an earlier one; the last is exactly 1."""
        total = np.cumsum([part.weight for part in self.components])
        return total / total[-1]
