"""Means and paired differences with their uncertainty, over the seeds of a study.

Intervals by resampling are in `bootstrap`, times to a target that some runs never reach in `survival`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from fedsim.errors import InputError

CONFIDENCE = 0.95


@dataclass(frozen=True)
class Estimate:
    """A mean over seeds and how sure it is.

    `low` and `high` bound the 95 % interval of the mean and `deviation` is the standard deviation of one
    run (divisor n - 1). All three are NaN where there are fewer than two values: one seed says nothing about
    the spread. The mean of no values is NaN too.
    """

    mean: float
    low: float
    high: float
    deviation: float
    count: int

    def columns(self, name: str) -> dict[str, float]:
        """Return the cells of a table: `name`, `name_low` and `name_high`."""
        return {name: self.mean, f"{name}_low": self.low, f"{name}_high": self.high}


def estimate(values: Sequence[float] | pd.Series[float]) -> Estimate:
    """Return the mean of independent values, one per seed, with its 95 % t interval.

    A NaN among the values makes the whole estimate NaN: leaving it out is a decision for the caller.

    Source: Student, Biometrika 6, 1908: mean -+ t(0.975, n - 1) * deviation / sqrt(n).

    >>> found = estimate([1.0, 2.0, 3.0])
    >>> print(f"{found.mean:.1f} ({found.low:.3f}, {found.high:.3f})")
    2.0 (-0.484, 4.484)
    """
    from scipy.stats import t as student  # slow to import, and most of what imports this module needs no t

    sample = np.asarray(values, dtype=float)
    count = len(sample)
    mean = float(sample.mean()) if count else math.nan
    if count < 2:
        return Estimate(mean, math.nan, math.nan, math.nan, count)
    deviation = float(sample.std(ddof=1))
    half_width = float(student.ppf((1 + CONFIDENCE) / 2, count - 1)) * deviation / math.sqrt(count)
    return Estimate(mean, mean - half_width, mean + half_width, deviation, count)


def saving_percent(method: pd.Series[float], baseline: pd.Series[float]) -> pd.Series[float]:
    """Return what the method saves against the baseline, in percent, one value per pair.

    The runs are paired by their index (the seed, or the scenario and the seed): 100 (1 - method / baseline).
    Negative where the method needs more than the baseline. Runs without a partner are left out; a pair with
    a NaN gives NaN, and so does a baseline of zero (a target that was reached before the start), of which
    nothing can be saved.

    >>> saving_percent(pd.Series([6.0, 5.0], [1, 2]), pd.Series([10.0, 10.0], [1, 2])).tolist()
    [40.0, 50.0]
    """
    method, baseline = method.align(baseline, join="inner")
    return 100 * (baseline - method) / baseline.where(baseline > 0)


@dataclass(frozen=True)
class PairedDifferences:
    """The mean of ours less theirs over pairs, its 95 % t interval, and what could not be paired.

    The bounds are NaN where there are fewer than two pairs; the mean of none is NaN too.
    """

    mean: float
    low: float
    high: float
    pairs: int
    left_out: int
    """Seeds that one side alone has, or for which a side has no value."""

    def columns(self, name: str) -> dict[str, float]:
        """Return the cells of a table: `name`, `name_low` and `name_high`."""
        return {name: self.mean, f"{name}_low": self.low, f"{name}_high": self.high}


def paired(ours: pd.Series[float], theirs: pd.Series[float]) -> pd.DataFrame:
    """Return the values of both sides, `ours` and `theirs`, where both have a run of an index.

    Raises:
        InputError: a side has two runs of one index, so that it is open which belong together.
    """
    for side in (ours, theirs):
        if side.index.has_duplicates:
            twice = side.index[side.index.duplicated()][0]
            raise InputError(f"seed {twice}: there are several runs of one side, expected one to pair")
    return pd.concat({"ours": ours.astype(float), "theirs": theirs.astype(float)}, axis=1, join="inner")


def paired_differences(ours: pd.Series[float], theirs: pd.Series[float]) -> PairedDifferences:
    """Return by how much ours is larger than theirs, in runs paired by their index (the seed).

    Runs of one seed meet the same draws, so that their difference varies less than either of them.

    Raises:
        InputError: a side has two runs of one index.

    Source: Student, Biometrika 6, 1908, section IX: the t interval of the differences.

    >>> found = paired_differences(pd.Series([5.0, 7.0], [1, 2]), pd.Series([4.0, 4.0, 9.0], [1, 2, 3]))
    >>> found.mean, found.pairs, found.left_out
    (2.0, 2, 1)
    """
    both = paired(ours, theirs).dropna()
    found = estimate(both["ours"] - both["theirs"])
    left_out = len(ours.index.union(theirs.index)) - found.count
    return PairedDifferences(found.mean, found.low, found.high, found.count, left_out)
