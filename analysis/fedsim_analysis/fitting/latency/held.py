"""A law held to the data: how far its mean and quantiles are from the measured ones."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from fedsim.timing.delays import Delay
from fedsim_analysis.fitting.latency.single import Floats

MOST_OFF = 0.1
"""How far a law's mean and quantiles may be from the measured ones, as a share of these."""


class Landmarks(NamedTuple):
    """What a law of delays is held to (s)."""

    mean: float
    p50: float
    p90: float
    p99: float


PROBABILITIES = (0.5, 0.9, 0.99)


class Miss(NamedTuple):
    """How far a law is from one of the measured landmarks."""

    landmark: str
    law_s: float
    measured_s: float

    @property
    def share(self) -> float:
        """Above 0 where the law's is larger."""
        return self.law_s / self.measured_s - 1


def measured(delays_s: Floats) -> Landmarks:
    """Return the landmarks of measured delays, an ``(n,)`` array (s); quantiles by linear interpolation.

    Source: Hyndman and Fan, "Sample quantiles in statistical packages", The American Statistician, 1996,
    definition 7.
    """
    return Landmarks(float(delays_s.mean()), *np.quantile(delays_s, PROBABILITIES).tolist())


def told(delay: Delay) -> Landmarks:
    """Return the landmarks of a law."""
    return Landmarks(delay.mean_value_s, *delay.law().ppf(np.array(PROBABILITIES)).tolist())


def misses(delay: Delay, delays_s: Floats) -> list[Miss]:
    """Return how far a law is from each landmark of measured delays."""
    pairs = zip(Landmarks._fields, told(delay), measured(delays_s), strict=True)
    return [Miss(*pair) for pair in pairs]


def worst(delay: Delay, delays_s: Floats) -> Miss:
    """Return the landmark that a law misses most."""
    return max(misses(delay, delays_s), key=lambda miss: abs(miss.share))
