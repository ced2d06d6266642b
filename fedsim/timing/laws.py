"""What is known of a delay beyond its draws: its distribution, in the words of ``scipy.stats``.

scipy is imported only where a law is asked for: a run draws, and never asks.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

Times = float | NDArray[np.float64]

METHODS = ("cdf", "sf", "ppf", "mean", "std", "support")
"""What every law can be asked; where it has a density, `pdf` and `logpdf` too."""


class DelayLaw(Protocol):
    """The distribution of a delay: a frozen distribution of ``scipy.stats``, or one with the same methods.

    Times are in seconds, of any shape; answers have the same shape. A law that gives single values a
    probability of their own has no density: `pdf` and `logpdf` then raise ValueError.
    """

    def pdf(self, x: Times, /) -> Any:
        """Return the density (1/s) at times."""

    def logpdf(self, x: Times, /) -> Any:
        """Return the logarithm of the density (1/s) at times; minus infinity where it is zero."""

    def cdf(self, x: Times, /) -> Any:
        """Return the probability of a delay of at most these times."""

    def sf(self, x: Times, /) -> Any:
        """Return the probability of a delay above these times, exact where it is small."""

    def ppf(self, q: Times, /) -> Any:
        """Return the least delays (s) that are not exceeded with these probabilities."""

    def mean(self) -> Any:
        """Return the mean (s), ``math.inf`` where it does not exist."""

    def std(self) -> Any:
        """Return the standard deviation (s), ``math.inf`` where it does not exist."""

    def support(self) -> tuple[Any, Any]:
        """Return the least and the largest delay (s)."""


class DiscreteLaw:
    """A law of single values, all equally likely; a value that is there twice is twice as likely.

    Source: the empirical distribution function; Efron and Tibshirani, An Introduction to the Bootstrap, 1993,
    chapter 4.

    Args:
        values_s: at least one, in any order (s).
    """

    def __init__(self, values_s: ArrayLike) -> None:
        self._values_s = np.sort(np.asarray(values_s, dtype=np.float64))

    def pdf(self, x: Times, /) -> NDArray[np.float64]:
        raise ValueError("a law of single values has no density")

    def logpdf(self, x: Times, /) -> NDArray[np.float64]:
        return self.pdf(x)

    def cdf(self, x: Times, /) -> NDArray[np.float64]:
        return np.searchsorted(self._values_s, x, side="right") / len(self._values_s)

    def sf(self, x: Times, /) -> NDArray[np.float64]:
        size = len(self._values_s)
        return (size - np.searchsorted(self._values_s, x, side="right")) / size

    def ppf(self, q: Times, /) -> NDArray[np.float64]:
        probabilities, size = np.asarray(q, dtype=np.float64), len(self._values_s)
        # k / n comes back as a hair more than it was: the k-th value is still meant
        places = np.ceil(probabilities * size * (1 - 1e-15)).clip(1, size)
        inside = (probabilities >= 0) & (probabilities <= 1)
        return np.where(inside, self._values_s[np.where(inside, places, 1).astype(int) - 1], np.nan)

    def mean(self) -> float:
        return math.fsum(self._values_s) / len(self._values_s)

    def std(self) -> float:
        return float(self._values_s.std())

    def support(self) -> tuple[float, float]:
        return float(self._values_s[0]), float(self._values_s[-1])


class MixtureLaw:
    """A law of which each delay follows one of several laws.

    It has a density where all of them have one. (`scipy.stats.Mixture` takes none of scipy's frozen laws.)

    Source: McLachlan and Peel, Finite Mixture Models, 2000, chapter 1.

    Args:
        weights: above 0, relative to each other.
        laws: one for each weight.
    """

    def __init__(self, weights: Sequence[float], laws: Sequence[DelayLaw]) -> None:
        total = math.fsum(weights)
        self._weights = np.array([weight / total for weight in weights])
        self._laws = tuple(laws)

    def pdf(self, x: Times, /) -> NDArray[np.float64]:
        return self._weighted([law.pdf(x) for law in self._laws])

    def logpdf(self, x: Times, /) -> NDArray[np.float64]:
        from scipy.special import logsumexp

        densities = np.stack([law.logpdf(x) for law in self._laws], axis=-1)
        return np.asarray(logsumexp(densities, axis=-1, b=self._weights))

    def cdf(self, x: Times, /) -> NDArray[np.float64]:
        return self._weighted([law.cdf(x) for law in self._laws])

    def sf(self, x: Times, /) -> NDArray[np.float64]:
        return self._weighted([law.sf(x) for law in self._laws])

    def ppf(self, q: Times, /) -> NDArray[np.float64]:
        probabilities = np.asarray(q, dtype=np.float64)
        # each quantile of a mixture lies between those of its components: halve until nothing is between
        edges = np.stack([np.asarray(law.ppf(probabilities)) for law in self._laws])
        low, high = edges.min(axis=0), edges.max(axis=0)
        high = np.where(self.cdf(low) >= probabilities, low, high)
        for _ in range(HALVINGS):
            middle = (low + high) / 2
            between = (low < middle) & (middle < high)
            if not between.any():
                break
            enough = self.cdf(middle) >= probabilities
            low = np.where(between & ~enough, middle, low)
            high = np.where(between & enough, middle, high)
        return high

    def mean(self) -> float:
        return float(self._weights @ [float(law.mean()) for law in self._laws])

    def std(self) -> float:
        mean_s = self.mean()
        if not math.isfinite(mean_s):
            return math.inf
        squares = [float(law.std()) ** 2 + (float(law.mean()) - mean_s) ** 2 for law in self._laws]
        return math.sqrt(float(self._weights @ squares))

    def support(self) -> tuple[float, float]:
        least, most = zip(*(law.support() for law in self._laws), strict=True)
        return float(min(least)), float(max(most))

    def _weighted(self, values: list[Any]) -> NDArray[np.float64]:
        return np.asarray(np.stack(values, axis=-1) @ self._weights)


HALVINGS = 200
"""More than a float has digits between 10^-30 s and 10^10 s."""
