"""How many groups numbers fall into, and which of them make the upper one of two."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

MOST_GROUPS = 7
REFERENCES = 10
NOTHING = 1e-12
"""A spread on [0, 1] that is less than this is rounding, and has no logarithm."""


def spreads(values: NDArray[np.float64], most: int) -> NDArray[np.float64]:
    """Return the least sum of squared distances to the means of k groups, for k = 1 to `most`, (most,).

    Groups of numbers are intervals: a table over where the last one begins finds the best ones, and no
    start has to be drawn.

    Args:
        values: (n,)
        most: at least 1.
    """
    within = _within(np.sort(values))
    best = within[0]  # of the first j + 1 values, in one group
    found = [best[-1]]
    for _ in range(most - 1):
        # The last group is of the values i to j; the groups before it end at i - 1.
        best = np.min(np.concatenate(([np.inf], best[:-1]))[:, None] + within, axis=0)
        found.append(best[-1])
    return np.array(found)


def _within(ordered: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the sum of squares about the mean of the values from i to j, (n, n); infinite where j < i."""
    n = len(ordered)
    sums, squares = (np.concatenate(([0.0], np.cumsum(ordered**power))) for power in (1, 2))
    i, j = np.arange(n)[:, None], np.arange(n)[None]
    count = np.maximum(j - i + 1, 1)
    total = sums[None, 1:] - sums[:-1, None]
    found = np.maximum(squares[None, 1:] - squares[:-1, None] - total**2 / count, 0.0)
    return np.where(j < i, np.inf, found)


def groups(values: NDArray[np.float64]) -> int:
    """Return into how many groups numbers fall by the gap statistic.

    They are brought to [0, 1] and compared with uniform draws there: gap_k is how much more k groups explain
    than they do of the draws, on the scale of logarithms, and the first k is taken with gap_k >= gap_(k+1) -
    s_(k+1). At most 7 groups, and fewer than there are numbers; equal numbers, and fewer than three, are one.
    The ten draws are the same whenever there are as many numbers, so that nothing else is random.

    Source: Tibshirani, Walther and Hastie, "Estimating the number of clusters in a data set via the gap
    statistic", JRSS B 63, 2001, Section 4, by exact groups in the place of those that k-means happens upon.

    Args:
        values: (n,), finite.
    """
    width = float(np.ptp(values)) if len(values) else 0.0
    most = min(MOST_GROUPS, len(values) - 1)
    if width == 0 or most < 2:
        return 1
    expected, error = _reference(len(values), most)
    gap = expected - np.log(np.maximum(spreads((values - values.min()) / width, most), NOTHING))
    enough = np.flatnonzero(gap[:-1] >= gap[1:] - error[1:])
    return int(enough[0]) + 1 if len(enough) else most


@lru_cache(maxsize=64)
def _reference(n: int, most: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the mean of the logarithms of the spreads of uniform draws, and what it may be off: (most,)."""
    drawn = np.random.default_rng(n).random((REFERENCES, n))
    logs = np.log([spreads(row, most) for row in drawn])
    return logs.mean(0), logs.std(0) * np.sqrt(1 + 1 / REFERENCES)


def upper_group(values: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Return which of at least two different numbers are in the upper one of the best two groups, (n,)."""
    ordered = np.sort(values)
    within = _within(ordered)
    lower, upper = within[0, :-1], within[1:, -1]
    split = int(np.argmin(lower + upper))
    found: NDArray[np.bool_] = values >= ordered[split + 1]
    return found
