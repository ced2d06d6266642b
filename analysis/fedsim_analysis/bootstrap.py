"""Intervals by resampling runs, for numbers whose error no formula gives.

All of them are drawn from generators with a fixed seed, so that a number has the same interval each time.
With few runs resampling is too sure of itself: of five normal values the interval of the mean holds the true
mean in about 83 of 100 cases and not in 95. Means over seeds therefore have a t interval
(`statistics.estimate`).
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from fedsim.streams import Stream, Streams
from fedsim_analysis.statistics import CONFIDENCE, paired

Floats = NDArray[np.float64]

RESAMPLES = 9999
TRIMMED = 0.25
"""The share of the values that an interquartile mean leaves out at each end."""
_SEED = 1


@dataclass(frozen=True)
class Interval:
    """A number worked out from runs, with its 95 % interval.

    Both bounds are NaN where the runs say nothing about the spread: one run, or none. All three are NaN where
    a value is missing: leaving it out is a decision for the caller.
    """

    value: float
    low: float
    high: float
    count: int
    """How many values, or pairs of values, it is worked out from."""

    def columns(self, name: str) -> dict[str, float]:
        """Return the cells of a table: `name`, `name_low` and `name_high`."""
        return {name: self.value, f"{name}_low": self.low, f"{name}_high": self.high}


def bootstrap_interval(
    values: Sequence[float] | pd.Series[float] | Floats, statistic: Callable[..., Any] = np.mean
) -> Interval:
    """Return a number worked out from independent values, one per seed, with its BCa interval.

    Values that are all equal have an interval of zero width. Where the correction for skewness is undefined,
    as for a number that does not move when one value is left out, the plain percentile interval stands.

    Args:
        values: (n,).
        statistic: works out the number; takes an array and the `axis` along which the values lie.

    Source: Efron, "Better bootstrap confidence intervals", JASA 82, 1987 (bias-corrected and accelerated).

    >>> found = bootstrap_interval([1.0, 2.0, 3.0, 4.0, 10.0])
    >>> print(f"{found.value:.1f} ({found.low:.1f}, {found.high:.1f})")
    4.0 (2.0, 8.4)
    """
    sample = np.asarray(values, dtype=float)
    return _resampled([sample], statistic, "BCa")


def interquartile_mean(
    values: Sequence[float] | pd.Series[float], strata: Sequence[Hashable] | pd.Series[Any] | None = None
) -> Interval:
    """Return the mean of the middle half of the values, with its interval.

    A quarter of the values, rounded down, is left out at each end: the number moves less with a single bad
    run than the mean, and makes better use of few runs than the median. Runs are resampled within their
    stratum, so that every task keeps its number of seeds; a stratum of one run leaves no interval.

    Args:
        values: (n,), on one scale for all tasks.
        strata: the task of each value, (n,); one task if not given.

    Source: Agarwal et al., "Deep reinforcement learning at the edge of the statistical precipice", NeurIPS
    2021, section 4.3 (interquartile mean) and 4.1 (stratified bootstrap, percentiles).

    >>> interquartile_mean([1.0, 2.0, 3.0, 100.0]).value
    2.5
    """
    sample = pd.Series(np.asarray(values, dtype=float))
    tasks = pd.Series(0 if strata is None else list(strata), index=sample.index)
    return _resampled([part.to_numpy() for _, part in sample.groupby(tasks)], _middle_mean, "percentile")


def probability_of_improvement(
    ours: pd.Series[float], theirs: pd.Series[float], pair: bool = False
) -> Interval:
    """Return how likely a run of ours has a larger value than a run of theirs, with its interval.

    Ties count half: the number is the Mann-Whitney U over its largest value. Where smaller is better, swap
    the two. Where all of ours beat all of theirs the interval has zero width, however few the runs:
    resampling cannot tell what it has not seen.

    Args:
        ours: one value per run; its index is the seed where runs are paired.
        theirs: the same of the other method; as many or not.
        pair: compare runs of one seed with each other; runs without a partner are left out.

    Source: Agarwal et al., NeurIPS 2021, section 4.3; Mann and Whitney, Annals of Mathematical Statistics 18,
    1947.

    >>> probability_of_improvement(pd.Series([1.0, 3.0]), pd.Series([2.0, 0.0])).value
    0.75
    """
    if pair:
        both = paired(ours, theirs)
        return _resampled([_wins(both["ours"] - both["theirs"])], np.mean, "percentile")
    samples = [np.asarray(values, dtype=float) for values in (ours, theirs)]
    return _resampled(samples, _share_of_wins, "percentile")


def _middle_mean(*parts: Floats, axis: int) -> Floats:
    from scipy.stats import trim_mean

    return np.asarray(trim_mean(np.concatenate(parts, axis=axis), TRIMMED, axis=axis))


def _share_of_wins(ours: Floats, theirs: Floats, axis: int) -> Floats:
    """Return U / (n m) of samples that lie along the last axis, the only one that is asked for."""
    assert axis == -1
    return np.asarray(_wins(ours[..., :, None] - theirs[..., None, :]).mean((-2, -1)))


def _wins(differences: ArrayLike) -> Floats:
    """Return 1 where a difference is positive, a half at zero, else 0; NaN for NaN."""
    return np.asarray((np.sign(differences) + 1) / 2, dtype=float)


def _resampled(
    samples: list[Floats], statistic: Callable[..., Any], method: Literal["BCa", "percentile"]
) -> Interval:
    """Return a number of independent samples with the interval that resampling each of them gives."""
    count = sum(map(len, samples))
    if any(len(sample) == 0 or np.isnan(sample).any() for sample in samples):
        return Interval(math.nan, math.nan, math.nan, count)
    value = float(statistic(*samples, axis=-1))
    if any(len(sample) == 1 for sample in samples):
        return Interval(value, math.nan, math.nan, count)
    return Interval(value, *_bounds(samples, statistic, method), count)


def _bounds(
    samples: list[Floats], statistic: Callable[..., Any], method: Literal["BCa", "percentile"]
) -> tuple[float, float]:
    from scipy.stats import DegenerateDataWarning, bootstrap

    settings: dict[str, Any] = {"confidence_level": CONFIDENCE, "vectorized": True, "axis": -1}
    generator = Streams(_SEED).generator(Stream.EVALUATION)
    with warnings.catch_warnings():
        # An undefined correction is told by its NaN, which is dealt with.
        warnings.simplefilter("ignore", DegenerateDataWarning)
        warnings.simplefilter("ignore", RuntimeWarning)
        found = bootstrap(
            samples, statistic, n_resamples=RESAMPLES, method=method, random_state=generator, **settings
        )
        if np.isnan(found.confidence_interval).any():
            found = bootstrap(
                samples, statistic, n_resamples=0, bootstrap_result=found, method="percentile", **settings
            )
    low, high = found.confidence_interval
    return float(low), float(high)
