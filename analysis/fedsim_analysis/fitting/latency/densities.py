"""The density, the distribution function and the quantiles of the delays that can be fitted."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedsim.timing.delays import Delay
from fedsim.timing.delays.gamma import Gamma
from fedsim.timing.delays.lognormal import Lognormal
from fedsim.timing.delays.mixture import Mixture
from fedsim.timing.delays.shifted_exponential import ShiftedExponential

Floats = NDArray[np.float64]


class Density(ABC):
    """The density of a delay. All arguments and results are ``(n,)`` arrays; times are in seconds."""

    @abstractmethod
    def log_density(self, times_s: Floats) -> Floats:
        """Return the logarithm of the density (1/s) at times; minus infinity where it is zero."""

    @abstractmethod
    def probability(self, times_s: Floats) -> Floats:
        """Return the probability of a delay of at most these times."""

    @abstractmethod
    def quantiles_s(self, probabilities: Floats) -> Floats:
        """Return the delays (s) that are not exceeded with these probabilities, each inside (0, 1)."""


@dataclass(frozen=True)
class _OfScipy(Density):
    frozen: Any
    """A distribution of `scipy.stats` with its parameters."""

    def log_density(self, times_s: Floats) -> Floats:
        return np.asarray(self.frozen.logpdf(times_s))

    def probability(self, times_s: Floats) -> Floats:
        return np.asarray(self.frozen.cdf(times_s))

    def quantiles_s(self, probabilities: Floats) -> Floats:
        return np.asarray(self.frozen.ppf(probabilities))


@dataclass(frozen=True)
class _Mixed(Density):
    weights: tuple[float, ...]
    """They sum to 1."""
    parts: tuple[Density, ...]

    def log_density(self, times_s: Floats) -> Floats:
        from scipy.special import logsumexp

        densities = np.stack([part.log_density(times_s) for part in self.parts], axis=1)
        return np.asarray(logsumexp(densities, axis=1, b=np.array(self.weights)))

    def probability(self, times_s: Floats) -> Floats:
        return np.stack([part.probability(times_s) for part in self.parts], axis=1) @ np.array(self.weights)

    def quantiles_s(self, probabilities: Floats) -> Floats:
        from scipy.optimize import brentq

        # each quantile of a mixture lies between those of its components
        edges = np.stack([part.quantiles_s(probabilities) for part in self.parts], axis=1)
        found = [
            low if low == high else brentq(self._excess, low, high, args=(p,), xtol=1e-12 * high)
            for p, low, high in zip(probabilities, edges.min(axis=1), edges.max(axis=1), strict=True)
        ]
        return np.array(found, dtype=np.float64)

    def _excess(self, time_s: float, probability: float) -> float:
        return float(self.probability(np.array([time_s]))[0]) - probability


def density_of(delay: Delay) -> Density:
    """Return the density of a delay: lognormal, gamma, shifted exponential, or a mixture of these.

    Raises:
        ValueError: a delay of another kind.
    """
    from scipy import stats

    if isinstance(delay, Lognormal):
        return _OfScipy(stats.lognorm(s=delay.sigma, scale=delay.median_s))
    if isinstance(delay, Gamma):
        return _OfScipy(stats.gamma(a=delay.shape, scale=delay.mean_s / delay.shape))
    if isinstance(delay, ShiftedExponential):
        return _OfScipy(stats.expon(loc=delay.shift_s, scale=delay.mean_excess_s))
    if isinstance(delay, Mixture):
        total = sum(part.weight for part in delay.components)
        weights = tuple(part.weight / total for part in delay.components)
        return _Mixed(weights, tuple(density_of(part.delay) for part in delay.components))
    raise ValueError(f"no density for delays of the kind {delay.kind!r}")
