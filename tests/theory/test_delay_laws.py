"""Laws of delays themselves: quantiles of draws, and how long a job with calls that are alike takes."""

from __future__ import annotations

import math
from functools import cache, partial

import numpy as np
import pytest
from clock_cases import clock, step_lengths
from laws import Law, check
from scipy import stats

from fedsim.timing.delays import Delay
from fedsim.timing.delays.empirical import Empirical
from fedsim.timing.delays.gamma import Gamma
from fedsim.timing.delays.lognormal import Lognormal
from fedsim.timing.delays.mixture import Mixture, Weighted
from fedsim.timing.delays.pareto import Pareto
from fedsim.timing.delays.weibull import Weibull
from fedsim.timing.worker import WorkerGroup

SIZE = 40_000
JOHNSON = "Johnson, Kotz and Balakrishnan, Continuous Univariate Distributions, vol. 1, 1994"
Z_90 = 1.2815515655446004
TRACE_S = (1.0, 1.0, 1.0, 5.0, 5.0, 5.0)

# delay, setting, 90 % quantile worked out by hand, chapter
QUANTILES: dict[str, tuple[Delay, str, float, str]] = {
    "lognormal": (
        Lognormal(median_s=0.36, sigma=0.5),
        "lognormal, median 0.36 s, sigma 0.5: median e^(1.2816 sigma)",
        0.36 * math.exp(Z_90 * 0.5),
        f"{JOHNSON}, chapter 14",
    ),
    "gamma": (
        Gamma(shape=1.0, mean_s=0.4),
        "gamma, shape 1, mean 0.4 s: mean ln 10",
        0.4 * math.log(10),
        f"{JOHNSON}, chapter 17",
    ),
    "weibull": (
        Weibull(shape=0.5, mean_s=2.0),
        "Weibull, shape 0.5, mean 2 s: (ln 10)^2 s",
        math.log(10) ** 2,
        f"{JOHNSON}, chapter 21",
    ),
    "pareto": (
        Pareto(minimum_s=1.0, tail_index=1.5),
        "Pareto, from 1 s, tail index 1.5: 10^(1 / 1.5) s",
        10 ** (1 / 1.5),
        f"{JOHNSON}, chapter 20",
    ),
    "mixture": (
        Mixture(
            components=(
                Weighted(weight=0.8, delay=Weibull(shape=1.0, mean_s=1e-3)),
                Weighted(weight=0.2, delay=Weibull(shape=1.0, mean_s=1.0)),
            )
        ),
        "80 % exponential of mean 1 ms, 20 % of mean 1 s: ln 2 s",
        math.log(2),
        "McLachlan and Peel, Finite Mixture Models, 2000, chapter 1",
    ),
}


@cache
def quantile(kind: str) -> Law:
    """The sample's quantile varies by sqrt(p (1 - p) / n) over the density there."""
    delay, setting, exact_s, source = QUANTILES[kind]
    draws_s = delay.sample(np.random.default_rng(4), SIZE)
    return Law(
        "time within which 90 % of calls are answered (s)",
        setting,
        source,
        exact_s,
        float(np.quantile(draws_s, 0.9)),
        math.sqrt(0.9 * 0.1 / SIZE) / float(delay.law().pdf(exact_s)),
    )


@cache
def variance_of_a_job(calls: int, block: int) -> Law:
    """Runs are independent of each other, and within one the covariances of the trace, as a circle, add up.

    Of a run of r calls: r c_0 + 2 sum over k < r of (r - k) c_k, with c = 4, 4/3, -4/3, -4, -4/3, 4/3.
    """
    covariances = np.array([4, 4 / 3, -4 / 3, -4, -4 / 3, 4 / 3])

    def of_a_run(length: int) -> float:
        lags = np.arange(1, length)
        return float(length * covariances[0] + 2 * ((length - lags) * covariances[lags]).sum())

    runs, rest = divmod(calls, block)
    exact = runs * of_a_run(block) + (of_a_run(rest) if rest else 0.0)
    latency = Empirical(samples_s=TRACE_S, block=block)
    lengths = step_lengths(
        clock((WorkerGroup(count=1, lanes=1),), wait_for=1, steps=3000, calls=calls, latency=latency)
    )
    return Law(
        "variance of the time of a job's calls, drawn in blocks of a trace (s^2)",
        f"{calls} calls on one lane, blocks of {block} of the trace 1, 1, 1, 5, 5, 5 s",
        "sum of circular autocovariances; Politis and Romano, A circular block-resampling procedure, 1992",
        exact,
        float(lengths.var(ddof=1)),
        math.sqrt((float(stats.moment(lengths, 4)) - exact**2) / len(lengths)),
    )


LAWS = [
    *(partial(quantile, kind) for kind in QUANTILES),
    *(partial(variance_of_a_job, *sizes) for sizes in ((7, 1), (7, 3), (2, 3))),
]


@pytest.mark.parametrize("law", LAWS, ids=lambda law: f"{law.func.__name__}{law.args}")
def test_the_law_holds(law):
    check(law)
