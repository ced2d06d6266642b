"""Times to a target that some runs never reach: what they say up to the end of the first of these."""

from __future__ import annotations

import math

import pandas as pd

TARGET = "time_to_target_s"


def values_of(runs: pd.DataFrame, metric: str, horizon_s: float = math.inf) -> pd.Series[float]:
    """Return the values of a metric by seed; of a time to the target that is never reached, the horizon."""
    values = runs[metric].astype(float)
    return values.fillna(math.inf).clip(upper=horizon_s) if metric == TARGET else values


def horizon_of(*sides: pd.DataFrame) -> float:
    """Return up to when times to a target are known of all runs (s): the end of the first that missed it."""
    ends = [side.loc[side[TARGET].isna(), "simulated_time_s"] for side in sides if TARGET in side]
    return min((float(end) for side in ends for end in side), default=math.inf)
