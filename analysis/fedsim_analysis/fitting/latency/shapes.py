"""What no smooth law with one hump has: a ceiling, several humps, a few delays far from all others."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fedsim_analysis.fitting.latency.single import Floats

LEVEL = 0.01
"""Of the test for a ceiling: how often one is seen where there is none, at most."""
NEAR, BELOW = 0.01, 0.05
"""How far below the largest delay, as a share of it, a ceiling's delays and those compared with them are."""


class Pile(NamedTuple):
    """Many delays just below the largest one, as a client's time-out makes them."""

    n_calls: int
    largest_s: float


def ceiling(delays_s: Floats) -> Pile | None:
    """Return the pile of delays at the largest one, or nothing.

    They are within 1 % of it. A density that falls towards the largest delay puts at most a fifth of the
    delays that are within 5 % of it there: the exact binomial test asks whether there are more, the largest
    itself left out. Delays half of which are that long are no pile.

    Source: the binomial test; Conover, Practical Nonparametric Statistics, 1999, section 3.1.
    """
    from scipy import stats

    largest_s = float(delays_s.max())
    count = int((delays_s >= (1 - NEAR) * largest_s).sum())
    compared = int((delays_s >= (1 - BELOW) * largest_s).sum()) - 1
    if count < 3 or count < NEAR * len(delays_s) or np.median(delays_s) > 0.9 * largest_s:
        return None
    chance = stats.binomtest(count - 1, compared, NEAR / BELOW, alternative="greater").pvalue
    return Pile(count, largest_s) if chance <= LEVEL else None


FENCE = 3.0
"""How many interquartile ranges beyond a quartile, on a logarithmic scale, is far out."""
FAR = 5.0
"""How many times the median, or a part of it, is far from it."""
FEW, ENOUGH = 0.05, 0.02
"""What share of the calls stalls are at most, and a fast minority is at least."""


class Far(NamedTuple):
    """A few delays far from all others."""

    n_calls: int
    edge_s: float
    """The one that is nearest to the others."""
    median_s: float
    """Of all."""
    mean_without_s: float
    """Of all others."""


def stalls(delays_s: Floats) -> Far | None:
    """Return the few delays that are many times as long as the rest, or nothing.

    They are at most 5 % of all, at least 5 times the median, and beyond the outer fence: 3 interquartile
    ranges above the upper quartile of the logarithms. Of a lognormal law one in 800,000 is.

    Source: Tukey, Exploratory Data Analysis, 1977, section 2D ("far out").
    """
    low, high = np.quantile(np.log(delays_s), (0.25, 0.75))
    return _far(delays_s, delays_s > math.exp(high + FENCE * (high - low)), 0.0)


def fast_minority(delays_s: Floats) -> Far | None:
    """Return the few delays that are a small part of the rest, or nothing: the same rule on the other side.

    They must be at least 2 % of all: fewer do not matter for how long anything takes, and laws without a
    least delay have some.
    """
    low, high = np.quantile(np.log(delays_s), (0.25, 0.75))
    return _far(delays_s, delays_s < math.exp(low - FENCE * (high - low)), ENOUGH)


def _far(delays_s: Floats, outside: NDArray[np.bool_], least_share: float) -> Far | None:
    median_s = float(np.median(delays_s))
    ratios = delays_s / median_s
    outside = outside & (np.maximum(ratios, 1 / ratios) >= FAR)
    count = int(outside.sum())
    if not count or not least_share <= count / len(delays_s) <= FEW:
        return None
    nearest = np.argmin(np.abs(np.log(ratios[outside])))
    return Far(count, float(delays_s[outside][nearest]), median_s, float(delays_s[~outside].mean()))


GRID = 512
REPEATS = 200
MOST_HUMPS = 4
"""Of more, only that there are at least so many is told."""
ALIKE = 0.05
"""Level of the test for one more hump."""
MOST_LOOKED_AT = 5000
"""Delays that are looked at, chosen at random of more."""


class Hump(NamedTuple):
    """A maximum of the density and what belongs to it."""

    share: float
    """Of the delays: those between the minima of the density on both sides."""
    median_s: float
    """Of these."""


def humps(delays_s: Floats) -> list[Hump]:
    """Return the humps of the delays' density on a logarithmic scale, the fastest first.

    There are k if the data rule out fewer and not k. The normal kernel that just smooths the density to k
    humps is laid over 200 samples of that density: k are ruled out if less than 5 % of them show more.

    Source: Silverman, "Using kernel density estimates to investigate multimodality", Journal of the Royal
    Statistical Society B, 1981.
    """
    generator = np.random.default_rng(0)
    logs = np.log(delays_s)
    if len(logs) > MOST_LOOKED_AT:
        logs = generator.choice(logs, MOST_LOOKED_AT, replace=False)
    for count in range(1, MOST_HUMPS + 1):
        width = _least_width(logs, count)
        if count == MOST_HUMPS or _chance_of_more(logs, count, width, generator) >= ALIKE:
            break
    return _parts(logs, width)


def _chance_of_more(logs: Floats, count: int, width: float, generator: np.random.Generator) -> float:
    """Return how many samples of the smoothed density, of the data's variance, show more humps: a share."""
    size = (REPEATS, len(logs))
    drawn = logs[generator.integers(len(logs), size=size)] + width * generator.standard_normal(size)
    mean = logs.mean()
    drawn = mean + (drawn - mean) / math.sqrt(1 + (width / logs.std()) ** 2)
    more = [_count(_density(sample, width)[1]) > count for sample in drawn]
    return float(np.mean(more))


def _least_width(logs: Floats, count: int) -> float:
    """Return the least width of the kernel with which there are at most `count` humps.

    Of a normal kernel the number of humps falls with the width (Silverman, 1981), which makes halving right.
    """
    spread = float(np.ptp(logs))
    low, high = spread / GRID, spread
    while high / low > 1.005:
        middle = math.sqrt(low * high)
        enough = _count(_density(logs, middle)[1]) <= count
        low, high = (low, middle) if enough else (middle, high)
    return high


def _density(logs: Floats, width: float) -> tuple[Floats, Floats]:
    """Return points from three widths before the least to three behind the largest, and the density there."""
    edges = np.linspace(logs.min() - 3 * width, logs.max() + 3 * width, GRID + 1)
    counts, _ = np.histogram(logs, edges)
    points = (edges[:-1] + edges[1:]) / 2
    kernel = np.exp(-(((points - points[0]) / width) ** 2) / 2)
    both = np.concatenate([kernel[:0:-1], kernel])  # its middle is at GRID - 1
    return points, np.convolve(counts, both)[GRID - 1 : 2 * GRID - 1]


def _count(density: Floats) -> int:
    return len(_tops(density))


def _tops(density: Floats) -> NDArray[np.intp]:
    """Return the places of the maxima."""
    signs = np.sign(np.diff(density))
    places = np.flatnonzero(signs)
    turns = np.flatnonzero((signs[places[:-1]] > 0) & (signs[places[1:]] < 0))
    return places[turns] + 1


def _parts(logs: Floats, width: float) -> list[Hump]:
    points, density = _density(logs, width)
    tops = _tops(density)
    minima = [points[one + np.argmin(density[one:other])] for one, other in pairwise(tops)]
    groups = np.searchsorted(minima, logs)
    parts = [logs[groups == number] for number in range(len(tops))]
    return [Hump(len(part) / len(logs), math.exp(float(np.median(part)))) for part in parts if len(part)]
