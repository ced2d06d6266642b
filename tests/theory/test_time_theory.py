"""Laws of time that are more than one number, and references from elsewhere; fixed seeds.

Those with an exact value are in the files `test_*_laws.py`.
"""

from __future__ import annotations

import math

import numpy as np
import pytest
from clock_cases import UPLOAD, clock, memoryless, moments_of_largest, step_lengths
from scipy import stats

from fedsim.algorithms.dbt.asyndbt import Asyndbt
from fedsim.algorithms.dbt.sdbt import Sdbt
from fedsim.algorithms.dbt.settings import Cuts
from fedsim.timing.worker import WorkerGroup


@pytest.mark.parametrize(("wait_for", "n_workers"), [(1, 10), (4, 10), (9, 10), (10, 10), (2, 3)])
def test_steps_of_memoryless_workers_are_uncorrelated(wait_for: int, n_workers: int) -> None:
    lengths = step_lengths(clock(memoryless(n_workers), wait_for))
    correlation = np.corrcoef(lengths[:-1], lengths[1:])[0, 1]
    assert abs(correlation) < 4 / math.sqrt(len(lengths))


def test_the_law_of_asynchronous_steps_is_exponential() -> None:
    """With S = 1 the first of R exponential delays comes after an exponential time of mean 1 / R."""
    lengths = step_lengths(clock(memoryless(8), wait_for=1))
    assert stats.kstest(lengths, stats.expon(scale=1 / 8).cdf).pvalue > 1e-3


@pytest.mark.parametrize(
    ("slow_downs", "reference_ms"), [((1.0, 1.0, 1.0), 94), ((1.0,) * 18, 217), ((1.0, 1.0, 4.0), 220)]
)
def test_the_law_of_synchronous_iterations_is_that_of_adbos_protocol(
    slow_downs: tuple[float, ...], reference_ms: int
) -> None:
    """The numbers in ms are those of an independent event simulation of the protocol, 4,000 iterations."""
    mean, variance = moments_of_largest(*(stats.lognorm(1.0, scale=0.030 * slow) for slow in slow_downs))
    # the reference has an error of its own
    assert abs(1000 * mean - reference_ms) < 0.5 + 4000 * math.sqrt(variance / 4000)


ADBO = [
    # R, S, tau, stragglers at 4x, ms per iteration
    (3, 2, 5, 0, 42.4),
    (3, 2, 5, 1, 76.7),
    (3, 1, 5, 0, 25.0),
    (18, 9, 15, 0, 35.6),
    (18, 9, 15, 3, 50.7),
]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("algorithm", "stragglers", "reference_ms"),
    [("sdbt", 0, 235), ("sdbt", 3, 455), ("asyndbt", 0, 54.4), ("asyndbt", 3, 85.9)],
)
def test_iterations_with_cuts_under_adbos_delays(
    algorithm: str, stragglers: int, reference_ms: float
) -> None:
    """18 workers, S = 9, tau = 15, four barriers every 50 iterations; ADBO restarts before the first of them.

    The reference is the mean of three runs of 4,000 iterations.
    """
    groups = [WorkerGroup(count=18 - stragglers, upload=UPLOAD)]
    if stragglers:
        groups.append(WorkerGroup(name="slow", count=stragglers, upload=UPLOAD, slow_down=4.0))
    cuts = Cuts(every=50, rounds=3, restart="before")
    rules = Sdbt(cuts=cuts) if algorithm == "sdbt" else Asyndbt(wait_for=9, tau=15, cuts=cuts)
    runs = [clock(tuple(groups), 9, seed=seed, algorithm=rules) for seed in range(2)]
    found_ms = 1000 * float(np.mean([finished.summary["simulated_time_s"] for finished in runs])) / 4000
    assert abs(found_ms - reference_ms) < 0.03 * reference_ms


@pytest.mark.slow
@pytest.mark.parametrize(("n_workers", "wait_for", "tau", "stragglers", "reference_ms"), ADBO)
def test_asynchronous_iterations_under_adbos_delays(
    n_workers: int, wait_for: int, tau: int, stragglers: int, reference_ms: float
) -> None:
    """Mean length of a step against an independent event simulation of ADBO's protocol, 4,000 iterations.

    The reference is one run with an error of its own of one or two per cent.
    """
    groups = [WorkerGroup(count=n_workers - stragglers, upload=UPLOAD)]
    if stragglers:
        groups.append(WorkerGroup(count=stragglers, upload=UPLOAD, slow_down=4.0))
    runs = [clock(tuple(groups), wait_for, tau, seed=seed) for seed in range(4)]
    means_ms = [1000 * finished.summary["simulated_time_s"] / 4000 for finished in runs]
    found_ms, standard_error = float(np.mean(means_ms)), float(stats.sem(means_ms))
    allowed_ms = max(4 * standard_error, 0.03 * reference_ms)
    message = f"{found_ms:.2f} +- {standard_error:.2f} ms, reference {reference_ms} ms"
    assert abs(found_ms - reference_ms) < allowed_ms, message
    # over so many steps the bound is reached, and never passed
    assert {finished.summary["staleness_max"] for finished in runs} == {tau - 1}
