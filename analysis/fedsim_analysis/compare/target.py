"""Times to a target that some runs never reach: what they say up to the end of the first of these."""

from __future__ import annotations

import math

import pandas as pd

from fedsim_analysis.compare.contrasts import Contrast, contrast

TARGET = "time_to_target_s"


def values_of(runs: pd.DataFrame, metric: str, *beside: pd.DataFrame) -> pd.Series[float]:
    """Return the values of a metric by seed; times to a target count up to the horizon.

    Args:
        runs: by seed.
        metric: a column.
        beside: runs with which these are compared, so that they share the horizon.
    """
    values = runs[metric].astype(float)
    return values.fillna(math.inf).clip(upper=horizon_of(runs, *beside)) if metric == TARGET else values


def between(ours: pd.DataFrame, theirs: pd.DataFrame, metric: str) -> Contrast:
    """Return how two groups of runs differ in a metric, paired by seed; see `contrast`."""
    return contrast(values_of(ours, metric, theirs), values_of(theirs, metric, ours))


def horizon_of(*sides: pd.DataFrame) -> float:
    """Return up to when times to a target are known of all runs (s): the end of the first that missed it."""
    ends = [side.loc[side[TARGET].isna(), "simulated_time_s"] for side in sides if TARGET in side]
    return min((float(end) for side in ends for end in side), default=math.inf)
