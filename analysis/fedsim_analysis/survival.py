"""Times to a target that some runs never reach.

A run that ends before it reaches its target says only that it would have taken longer: its time is *censored*
at its end. Leaving such runs out, or taking their end for the time, makes a method look faster than it is.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from textwrap import fill
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from fedsim.errors import InputError
from fedsim_analysis.statistics import CONFIDENCE
from fedsim_analysis.style import methods

Floats = NDArray[np.float64]

RESOLUTION = "time_to_target_resolution_s"
_LETTERS = 15
"""Of an inch."""


@dataclass(frozen=True)
class Survival:
    """The share of runs that have not reached the target yet, as a step function of time.

    Source: Kaplan and Meier, "Nonparametric estimation from incomplete observations", JASA 53, 1958, (2b).
    """

    times_s: Floats
    """When runs reached the target or were given up, growing, (n,)."""
    shares: Floats
    """From each of these times on, (n,)."""
    low: Floats
    """The lower bound of the pointwise 95 % interval by log(-log), (n,); a share of 0 or 1 has none: NaN."""
    high: Floats
    at_risk: Floats
    """Runs under way just before each time, (n,)."""
    reached: Floats
    """Runs that reached the target at each time, (n,)."""


@dataclass(frozen=True)
class TimeToTarget:
    """How long runs take to a target, where some may never reach it."""

    runs: int
    reached: int
    median_s: float
    """By when half of all runs are there; infinite where fewer than half ever are."""
    median_low_s: float
    """NaN where no run reached the target; at most the end of the last run."""
    median_high_s: float
    """Infinite where the runs do not bound it, as five do not even when all of them reach the target."""
    mean_s: float
    """The restricted mean: of the time to the target or the horizon, whichever comes first."""
    mean_low_s: float
    """Both bounds are NaN where fewer than two runs reached the target."""
    mean_high_s: float
    horizon_s: float

    @property
    def censored(self) -> int:
        """How many runs never reached the target."""
        return self.runs - self.reached

    def columns(self) -> dict[str, float]:
        """Return the cells of a table: the names of all fields."""
        return dict(vars(self))


def resolution_s(runs: pd.DataFrame) -> float:
    """Return within how many seconds the times to the target of runs are known; NaN where none reached it.

    The target was reached between the measurement that found it and the one before: the largest such gap.
    """
    return float(runs[RESOLUTION].max()) if RESOLUTION in runs else math.nan


def resolutions(runs: pd.DataFrame, width_in: float) -> str:
    """Return how well the times to the target of each method are known, in words; empty where none is.

    Args:
        runs: with `method`.
        width_in: of the figure under which it stands.
    """
    looks = methods(runs["method"])
    found = {look.label: resolution_s(runs[runs["method"] == name]) for name, look in looks.items()}
    told = [
        f"{label} {within:,.0f} s" if within >= 100 else f"{label} {within:.3g} s"
        for label, within in found.items()
        if not math.isnan(within)
    ]
    if not told:
        return ""
    return fill(f"time to the target is known to within: {', '.join(told)}", round(_LETTERS * width_in))


def common_horizon_s(groups: Iterable[pd.DataFrame]) -> float:
    """Return up to when the mean times to the target of several groups of runs may be compared (s).

    Args:
        groups: of runs, with `time_to_target_s` and `simulated_time_s`.
    """
    return min(
        time_to_target(group["time_to_target_s"].astype(float), group["simulated_time_s"]).horizon_s
        for group in groups
    )


def hours_to_target(group: pd.DataFrame, horizon_s: float) -> dict[str, float]:
    """Return the cells of a table: the restricted mean time to the target, and how many runs are there.

    Args:
        group: of runs, with `time_to_target_s` and `simulated_time_s`.
        horizon_s: up to when the mean counts, see `common_horizon_s`.

    Returns:
        `time_to_target_h` with `_low` and `_high`, NaN where no run is there; `target_reached`, `horizon_h`
        and `time_to_target_resolution_h`.
    """
    found = time_to_target(group["time_to_target_s"].astype(float), group["simulated_time_s"], horizon_s)
    means_s = {"": found.mean_s, "_low": found.mean_low_s, "_high": found.mean_high_s}
    # Where no run is there, the mean would be that of their ends.
    hours = {f"time_to_target_h{end}": s / 3600 if found.reached else math.nan for end, s in means_s.items()}
    return hours | {
        "target_reached": found.reached,
        "horizon_h": horizon_s / 3600,
        "time_to_target_resolution_h": resolution_s(group) / 3600,
    }


def survival(reached_s: pd.Series[float], ended_s: pd.Series[float]) -> Survival:
    """Return the Kaplan-Meier estimate with its interval.

    Args:
        reached_s: when each run reached the target; NaN where it never did, (n,).
        ended_s: when each run ended (s), (n,).

    Raises:
        InputError: there is no run, or a run without a time is said to end at no time.
    """
    from scipy.stats import CensoredData, ecdf

    reached, ended = (np.asarray(times, dtype=float) for times in (reached_s, ended_s))
    censored = np.isnan(reached)
    times = np.where(censored, ended, reached)
    if not len(times) or np.isnan(times).any():
        raise InputError(f"time to target: found {len(times)} runs, expected at least one, each with an end")
    found = ecdf(CensoredData.right_censored(times, censored)).sf
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # undefined at shares of 0 and 1, as `Survival` says
        bounds: Any = found.confidence_interval(CONFIDENCE, method="log-log")
    places = found.quantiles
    return Survival(
        times_s=places,
        shares=found.probabilities,
        low=bounds.low.probabilities,
        high=bounds.high.probabilities,
        at_risk=(times[None, :] >= places[:, None]).sum(1).astype(float),
        reached=((times[None, :] == places[:, None]) & ~censored[None, :]).sum(1).astype(float),
    )


def time_to_target(
    reached_s: pd.Series[float], ended_s: pd.Series[float], horizon_s: float = math.inf
) -> TimeToTarget:
    """Return median and restricted mean time to a target.

    A patient who is lost from sight may fall ill like all others; a run that ends without its target has used
    its budget up. For the median such a run therefore never gets there, however early it ended: otherwise the
    last of three runs, under way alone, would stand for all of them. The mean is by Kaplan and Meier.

    The interval of the median inverts the pointwise interval of the survival function (Brookmeyer and
    Crowley). That of the restricted mean is by Greenwood's variance with the correction of Kaplan and Meier,
    D / (D - 1) for D runs that reach the target, and Student's t with D - 1 degrees of freedom: where all
    runs do, it is the t interval of their mean.

    Args:
        reached_s: when each run reached the target; NaN where it never did, (n,).
        ended_s: when each run ended (s), (n,).
        horizon_s: up to when the mean counts. A larger one is cut to the end of the last run where that has
            not reached the target; where fewer than half of the runs have, to the last end of the others,
            beyond which the rest would stand for them. Means are compared at equal horizons only.

    Raises:
        InputError: there is no run, or a run without a time is said to end at no time.

    Source: Klein and Moeschberger, "Survival analysis", 2nd ed. 2003, section 4.5 (mean, its variance and the
    correction of Kaplan and Meier; median by Brookmeyer and Crowley, Biometrics 38, 1982).
    """
    curve = survival(reached_s, ended_s)
    reached, ended = (np.asarray(times, dtype=float) for times in (reached_s, ended_s))
    missed = np.isnan(reached)
    if curve.shares[-1] > 0 or 2 * missed.sum() > len(missed):
        horizon_s = min(horizon_s, float(ended[missed].max()))
    never = np.where(missed, curve.times_s[-1], reached)
    of_all = survival(pd.Series(reached), pd.Series(never))
    mean_s, half_width_s = _restricted_mean(curve, horizon_s)
    return TimeToTarget(
        runs=len(np.asarray(reached_s)),
        reached=int(curve.reached.sum()),
        median_s=_first(of_all.times_s, of_all.shares),
        median_low_s=_median_low(of_all),
        median_high_s=_first(of_all.times_s, of_all.high),
        mean_s=mean_s,
        mean_low_s=mean_s - half_width_s,
        mean_high_s=mean_s + half_width_s,
        horizon_s=horizon_s,
    )


def _median_low(curve: Survival) -> float:
    if not curve.reached.any():
        return math.nan
    return min(_first(curve.times_s, curve.low), float(curve.times_s[-1]))


def _first(times_s: Floats, shares: Floats) -> float:
    """Return the first time at which a share is a half or less; a NaN is not."""
    # Rounding must not move a half that is reached exactly.
    below = times_s[shares <= 0.5 * (1 + 1e-12)]
    return float(below[0]) if len(below) else math.inf


def _restricted_mean(curve: Survival, horizon_s: float) -> tuple[float, float]:
    """Return the area below the curve up to the horizon, and half the width of its interval."""
    from scipy.stats import t as student

    inside = curve.times_s < horizon_s
    edges = np.concatenate([[0.0], curve.times_s[inside], [min(horizon_s, curve.times_s[-1])]])
    heights = np.concatenate([[1.0], curve.shares[inside]])
    areas = heights * np.diff(edges)
    mean = float(areas.sum())
    beyond = areas[::-1].cumsum()[::-1][1:]  # the area to the right of each time inside
    deaths, at_risk = curve.reached[inside], curve.at_risk[inside]
    counts = (deaths > 0) & (at_risk > deaths)
    deaths, at_risk = deaths[counts], at_risk[counts]
    variance = float((beyond[counts] ** 2 * deaths / (at_risk * (at_risk - deaths))).sum())
    events = float(curve.reached[curve.times_s <= horizon_s].sum())
    if events < 2:
        return mean, math.nan
    corrected = variance * events / (events - 1)
    return mean, float(student.ppf((1 + CONFIDENCE) / 2, events - 1)) * math.sqrt(corrected)
