"""Laws of time: what is known of steps, staleness and waiting, held against simulations of fixed seeds.

Tolerances are four standard errors, from the law and not from the sample, unless a test says why not.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import integrate, stats

from fedsim.learning.algorithms.asyndbt import Asyndbt
from fedsim.learning.quadratic import Quadratic
from fedsim.scenario import Scenario
from fedsim.scenario.model import Budget
from fedsim.simulation import Run, run
from fedsim.timing.delays import Delay
from fedsim.timing.delays.constant import Constant
from fedsim.timing.delays.exponential import Exponential
from fedsim.timing.delays.lognormal import Lognormal
from fedsim.timing.llm_service.independent import Independent
from fedsim.timing.settings import ServerSettings
from fedsim.timing.worker import WorkerGroup

NEVER = 10**9
"""A staleness bound that never binds."""
NO_DELAY = Constant(value_s=0.0)
UPLOAD = Lognormal(median_s=0.030, sigma=1.0)
"""What ADBO's released code sleeps before every upload."""


def clock(
    groups: tuple[WorkerGroup, ...],
    wait_for: int,
    tau: int = NEVER,
    steps: int = 4000,
    seed: int = 1,
    calls: int = 0,
    latency: Delay = NO_DELAY,
) -> Run:
    """Run the timing half; neither the server's arithmetic nor polyhedron updates take time."""
    scenario = Scenario(
        name="theory",
        seed=seed,
        algorithm=Asyndbt(wait_for=wait_for, tau=tau),
        cuts=None,
        problem=Quadratic(dimension=1, calls=calls),
        workers=groups,
        llm=Independent(latency=latency),
        server=ServerSettings(step_s=0.0),
        budget=Budget(server_steps=steps),
    )
    return run(scenario, timing_only=True)


def memoryless(count: int, mean_s: float = 1.0) -> tuple[WorkerGroup, ...]:
    return (WorkerGroup(count=count, compute=Exponential(mean_s=mean_s)),)


def step_lengths(finished: Run) -> NDArray[np.float64]:
    return np.diff(finished.steps.time_s.to_numpy())


def assert_mean(sample: NDArray[np.float64], mean: float, variance: float) -> None:
    """The mean of independent draws is within four standard errors of the law's."""
    standard_error = math.sqrt(variance / len(sample))
    found = sample.mean()
    assert abs(found - mean) < 4 * standard_error, f"{found:.5f}, theory {mean:.5f} +- {standard_error:.5f}"


@pytest.mark.parametrize("n_workers", [1, 5, 20])
def test_synchronous_rounds_of_exponential_workers_take_the_harmonic_number(n_workers: int) -> None:
    """The largest of R exponential delays of mean m is m H_R on average, with variance m^2 sum 1/i^2."""
    finished = clock(memoryless(n_workers, mean_s=0.5), wait_for=n_workers, steps=3000)
    ranks = np.arange(1, n_workers + 1)
    assert_mean(step_lengths(finished), 0.5 * (1 / ranks).sum(), 0.25 * (1 / ranks**2).sum())


@pytest.mark.parametrize(("wait_for", "n_workers"), [(1, 10), (4, 10), (9, 10), (10, 10), (2, 3)])
def test_s_of_r_renewal(wait_for: int, n_workers: int) -> None:
    """Without memory every step starts afresh: whoever is still busy has as much ahead as who just began.

    So steps are independent, each as long as the S-th of R exponential delays: mean sum 1/i, variance
    sum 1/i^2, i from R - S + 1 to R.
    """
    finished = clock(memoryless(n_workers), wait_for)
    lengths = step_lengths(finished)
    ranks = np.arange(n_workers - wait_for + 1, n_workers + 1)
    assert_mean(lengths, (1 / ranks).sum(), (1 / ranks**2).sum())
    # neighbours are uncorrelated
    correlation = np.corrcoef(lengths[:-1], lengths[1:])[0, 1]
    assert abs(correlation) < 4 / math.sqrt(len(lengths))


def test_the_law_of_asynchronous_steps_is_exponential() -> None:
    """With S = 1 the first of R exponential delays comes after an exponential time of mean 1 / R."""
    lengths = step_lengths(clock(memoryless(8), wait_for=1))
    assert stats.kstest(lengths, stats.expon(scale=1 / 8).cdf).pvalue > 1e-3


@pytest.mark.parametrize(("wait_for", "n_workers"), [(1, 2), (1, 6), (3, 10)])
def test_staleness_of_equal_memoryless_workers(wait_for: int, n_workers: int) -> None:
    """The active set is any S of R with equal chances: staleness is geometric with mean R / S - 1.

    Of this step's S workers those of the last step are not stale: a hypergeometric number with mean S^2 / R,
    independent from step to step.
    """
    steps = 8000
    taken = clock(memoryless(n_workers), wait_for, steps=steps).steps.iloc[1:]
    tickets = steps * wait_for
    mean = float((taken.staleness_mean * taken.active).sum()) / tickets
    # The sum over all tickets of staleness + 1 is R times the number of steps, but for each worker's steps
    # since its last ticket: R / S on average, with a standard deviation below that.
    expected = n_workers / wait_for - 1
    missing = n_workers * n_workers / wait_for
    assert abs(mean - (expected - missing / tickets)) < 4 * missing / tickets
    if wait_for == 1:
        fresh = (taken.staleness_max == 0).to_numpy(float)[1:]
        law = stats.bernoulli(1 / n_workers)
        assert_mean(fresh, law.mean(), law.var())
        once = (taken.staleness_max == 1).to_numpy(float)[2:]
        share = (1 - 1 / n_workers) / n_workers
        # three neighbouring steps share a worker: twice the independent variance is a safe bound
        assert_mean(once, share, 2 * share * (1 - share))


def test_equal_asynchronous_workers_are_n_minus_1_steps_stale_on_average() -> None:
    """Whatever the law of the delays."""
    n_workers, steps = 6, 20_000
    group = WorkerGroup(count=n_workers, compute=Lognormal(median_s=1.0, sigma=0.5))
    mean = clock((group,), wait_for=1, steps=steps).summary["staleness_mean"]
    assert abs(mean - (n_workers - 1)) < 4 * n_workers**2 / steps


@pytest.mark.parametrize(("calls", "lanes"), [(20, 5), (7, 3), (4, 1), (2, 5)])
def test_memoryless_calls_on_lanes(calls: int, lanes: int) -> None:
    """All lanes are busy until the last call has begun, then they run dry one by one.

    Mean (n - c) / c + H_c, variance (n - c) / c^2 + sum 1/i^2, for n calls of mean 1 on c lanes.
    """
    group = WorkerGroup(count=1, lanes=lanes)
    finished = clock((group,), wait_for=1, steps=3000, calls=calls, latency=Exponential(mean_s=1.0))
    lanes = min(lanes, calls)
    ranks = np.arange(1, lanes + 1)
    mean = (calls - lanes) / lanes + (1 / ranks).sum()
    assert_mean(step_lengths(finished), mean, (calls - lanes) / lanes**2 + (1 / ranks**2).sum())


def moments_of_largest(*laws: stats.rv_continuous) -> tuple[float, float]:
    """Return mean and variance of the largest of independent positive delays, by integration."""

    def above(t: float) -> float:
        return float(1 - np.prod([law.cdf(t) for law in laws]))

    def integral(f: Callable[[float], float]) -> float:
        edges = [0.0, 0.05, 0.2, 1.0, 10.0, 200.0]
        return sum(integrate.quad(f, low, high)[0] for low, high in pairwise(edges))

    mean = integral(above)
    return mean, integral(lambda t: 2 * t * above(t)) - mean**2


@pytest.mark.parametrize(
    ("slow_downs", "reference_ms"), [((1.0, 1.0, 1.0), 94), ((1.0,) * 18, 217), ((1.0, 1.0, 4.0), 220)]
)
def test_synchronous_iterations_under_adbos_delays(slow_downs: tuple[float, ...], reference_ms: int) -> None:
    """The largest of R lognormal uploads of median 30 ms and sigma 1, four times that for a straggler.

    The numbers in ms are those of an independent event simulation of ADBO's protocol (4,000 iterations).
    """
    groups = tuple(WorkerGroup(count=1, upload=UPLOAD, slow_down=slow_down) for slow_down in slow_downs)
    lengths = step_lengths(clock(groups, wait_for=len(groups), steps=6000))
    mean, variance = moments_of_largest(*(stats.lognorm(1.0, scale=0.030 * slow) for slow in slow_downs))
    assert_mean(lengths, mean, variance)
    # the reference has an error of its own
    assert abs(1000 * mean - reference_ms) < 0.5 + 4000 * math.sqrt(variance / 4000)


ADBO = [
    # R, S, tau, stragglers at 4x, ms an iteration
    (3, 2, 5, 0, 42.4),
    (3, 2, 5, 1, 76.7),
    (3, 1, 5, 0, 25.0),
    (18, 9, 15, 0, 35.6),
    (18, 9, 15, 3, 50.7),
]


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
