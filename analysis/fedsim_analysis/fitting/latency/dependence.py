"""Whether calls one after the other are alike, and over how many: for blocks of a trace."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from fedsim_analysis.fitting.latency.single import Floats

Z_95 = 1.959964
"""95 % of a normal law are within so many standard deviations."""


class Dependence(NamedTuple):
    """How alike neighbours in a trace are."""

    lag_1: float
    """Correlation of the ranks of a delay and the next one."""
    low: float
    high: float
    """Its 95 % interval."""
    block: int
    """Calls of a block that keeps the dependence; 1 where none is seen."""


def dependence(delays_s: Floats) -> Dependence:
    """Return how alike neighbours are, by ranks, so that a few stalls do not hide or feign it.

    The interval is that of Fisher's z with 1.06 / (n - 3) for its variance. Where it leaves out 0, the block
    is as long as a circular block bootstrap of the ranks needs it, and at least 2.

    Source: Fieller, Hartley and Pearson, "Tests for rank correlation coefficients", Biometrika, 1957; Politis
    and White, "Automatic block-length selection for the dependent bootstrap", Econometric Reviews, 2004.
    """
    from scipy import stats

    ranks = stats.rankdata(delays_s)
    lag_1 = float(np.corrcoef(ranks[:-1], ranks[1:])[0, 1]) if np.ptp(ranks[1:]) * np.ptp(ranks[:-1]) else 0.0
    around = Z_95 * math.sqrt(1.06 / (len(ranks) - 1 - 3))
    z = math.atanh(min(max(lag_1, -1 + 1e-12), 1 - 1e-12))
    low, high = math.tanh(z - around), math.tanh(z + around)
    block = 1 if low <= 0 <= high else max(2, math.ceil(block_length(ranks)))
    return Dependence(lag_1, low, high, block)


def block_length(series: Floats) -> float:
    """Return the best length of blocks for the mean of a series, an ``(n,)`` array, by a circular bootstrap.

    At most ``min(3 sqrt(n), n / 3)``.

    Source: Politis and White, 2004, with its rule for the lags that count; the correction by Patton, Politis
    and White, 2009, leaves the circular bootstrap as it was.
    """
    size = len(series)
    in_a_row = max(5, math.ceil(math.sqrt(math.log10(size))))
    most = min(math.ceil(math.sqrt(size)) + in_a_row, (size - 1) // 2)
    autocovariances = _autocovariances(series, min(2 * most + in_a_row, size - 1))
    lags = _lags_that_count(autocovariances / autocovariances[0], size, in_a_row, most)
    numbers = np.arange(1, lags + 1)
    # a flat top, then a line down to 0
    window = np.minimum(1, 2 * (1 - numbers / lags))
    counted = window * autocovariances[numbers]
    slope = 2 * float(numbers @ counted)
    variance = float(autocovariances[0] + 2 * counted.sum())
    longest = min(3 * math.sqrt(size), size / 3)
    if variance <= 0:
        return longest
    return min(longest, (2 * slope**2 / (4 / 3 * variance**2)) ** (1 / 3) * size ** (1 / 3))


def _lags_that_count(correlations: Floats, size: int, in_a_row: int, most: int) -> int:
    """Return twice the lag after which some in a row are as small as chance makes them; at least 2."""
    small = np.abs(correlations[1:]) < 2 * math.sqrt(math.log10(size) / size)
    ends = (lag for lag in range(most) if small[lag : lag + in_a_row].all())
    return min(2 * max(next(ends, most), 1), size - 1)


def _autocovariances(series: Floats, most: int) -> Floats:
    """Return those of the lags 0 to `most`, divided by n."""
    centred, size = series - series.mean(), len(series)
    return np.array([centred[: size - lag] @ centred[lag:] / size for lag in range(most + 1)])
