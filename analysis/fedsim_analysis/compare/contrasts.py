"""Two groups of runs against each other, and what many such comparisons do to p values."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from fedsim_analysis.statistics import CONFIDENCE, Estimate, estimate, paired

CORRECTIONS = {
    "holm": "Holm",
    "bonferroni": "Bonferroni",
    "fdr": "Benjamini and Hochberg (false discovery rate)",
    "none": "nothing",
}
"""How p values of many comparisons are corrected, and who is to thank for it."""
Floats = NDArray[np.float64]
LEVEL = 1 - CONFIDENCE
_ROUNDING = 1e-9
"""Differences smaller than this share of the values are those of rounding."""


@dataclass(frozen=True)
class Contrast:
    """Ours less theirs and ours over theirs, each with its 95 % interval; NaN where runs are too few."""

    difference: Estimate
    ratio: Estimate
    """The geometric mean of the ratios; NaN where a value is not above 0."""
    p: float
    """Two-sided, that both are equal in the mean."""
    pairs: int
    """0: the sides share no seed, and are compared as independent samples."""


def contrast(ours: pd.Series[float], theirs: pd.Series[float]) -> Contrast:
    """Return how ours differs from theirs, paired by the index (the seed) where they share any.

    The ratio is on the logarithmic scale, so that ours over theirs and theirs over ours say the same thing.

    Raises:
        InputError: a side has two runs of one seed.

    Source: Student, Biometrika 6, 1908 (paired); Welch, Biometrika 34, 1947 (no seed is shared).
    """
    both = paired(ours, theirs).dropna()
    if not set(ours.index) & set(theirs.index) and ours.notna().any() and theirs.notna().any():
        return _unpaired(*(np.asarray(side.dropna(), dtype=np.float64) for side in (ours, theirs)))
    one, other = (np.asarray(both[side]) for side in ("ours", "theirs"))
    differences = _without_rounding(one - other, one, other)
    found = estimate(differences)
    if len(both) and (both > 0).all(axis=None):
        ratio = _exponential(estimate(_without_rounding(np.log(one / other), 1.0, 1.0)))
    else:
        ratio = estimate([])
    return Contrast(found, ratio, _paired_p(found), len(both))


def _without_rounding(differences: Floats, one: object, other: object) -> list[float]:
    """Return differences, zero where the two are equal but for rounding."""
    scale = np.maximum(np.abs(np.asarray(one, float)), np.abs(np.asarray(other, float)))
    return [float(one) for one in np.where(np.abs(differences) <= _ROUNDING * scale, 0.0, differences)]


def _paired_p(found: Estimate) -> float:
    from scipy.stats import t as student

    if found.count < 2:
        return math.nan
    if found.deviation <= _ROUNDING * abs(found.mean):
        return 1.0 if found.mean == 0 else 0.0
    score = abs(found.mean) / (found.deviation / math.sqrt(found.count))
    return float(2 * student.sf(score, found.count - 1))


def _exponential(found: Estimate) -> Estimate:
    """Return an estimate of logarithms as one of what they are logarithms of; its deviation is a factor."""
    with np.errstate(over="ignore", under="ignore"):  # the interval of two seeds may be wider than any number
        mean, low, high, deviation = map(float, np.exp([found.mean, found.low, found.high, found.deviation]))
    return Estimate(mean, low, high, deviation, found.count)


def _unpaired(ours: Floats, theirs: Floats) -> Contrast:
    difference, p = _welch(ours, theirs)
    if (ours > 0).all() and (theirs > 0).all():
        ratio = _exponential(_welch(np.log(ours), np.log(theirs))[0])
    else:
        ratio = estimate([])
    return Contrast(difference, ratio, p, 0)


def _welch(ours: Floats, theirs: Floats) -> tuple[Estimate, float]:
    from scipy.stats import ttest_ind

    mean = float(ours.mean() - theirs.mean())
    if len(ours) < 2 or len(theirs) < 2:
        return Estimate(mean, math.nan, math.nan, math.nan, min(len(ours), len(theirs))), math.nan
    deviation = math.sqrt(float(ours.var(ddof=1) + theirs.var(ddof=1)))
    if deviation == 0:
        return Estimate(mean, mean, mean, 0.0, min(len(ours), len(theirs))), 1.0 if mean == 0 else 0.0
    found = ttest_ind(ours, theirs, equal_var=False)
    low, high = found.confidence_interval(CONFIDENCE)
    return Estimate(mean, float(low), float(high), deviation, min(len(ours), len(theirs))), float(
        found.pvalue
    )


def adjusted(p_values: Sequence[float], correction: str) -> list[float]:
    """Return p values corrected for how many there are; those that are NaN stay so and do not count.

    Args:
        p_values: of comparisons that are looked at together.
        correction: one of `CORRECTIONS`.

    Source: Holm, Scandinavian Journal of Statistics 6, 1979; Benjamini and Hochberg, JRSS B 57, 1995.

    >>> [round(p, 3) for p in adjusted([0.01, 0.04, 0.03, float("nan")], "holm")]
    [0.03, 0.06, 0.06, nan]
    """
    values = np.asarray(p_values, float)
    known = np.flatnonzero(~np.isnan(values))
    found, count = values.copy(), len(known)
    if not count or correction == "none":
        return [float(p) for p in found]
    if correction == "fdr":
        from scipy.stats import false_discovery_control

        found[known] = false_discovery_control(values[known])
    elif correction == "bonferroni":
        found[known] = np.minimum(1.0, count * values[known])
    else:
        order = known[np.argsort(values[known], kind="stable")]
        steps = np.maximum.accumulate((count - np.arange(count)) * values[order])
        found[order] = np.minimum(1.0, steps)
    return [float(p) for p in found]
