"""What is known of steps, staleness and calls on lanes, as laws with an exact value."""

from __future__ import annotations

import math
from functools import cache, partial

import numpy as np
import pytest
from clock_cases import UPLOAD, clock, memoryless, moments_of_largest, step_lengths
from laws import Law, check
from scipy import stats

from fedsim.algorithms.averaging.fedbdpl import Fedbdpl
from fedsim.simulation import Run
from fedsim.timing.delays.exponential import Exponential
from fedsim.timing.delays.lognormal import Lognormal
from fedsim.timing.worker import WorkerGroup

ORDER = "David and Nagaraja, Order Statistics, 2003, section 2.5"


@cache
def step_of_the_fastest(wait_for: int, n_workers: int) -> Law:
    """Without memory every step starts afresh: whoever is still busy has as much ahead as who just began.

    So steps are independent, each as long as the S-th of R exponential delays: mean sum 1/i, variance
    sum 1/i^2, i from R - S + 1 to R. With S = R it is the harmonic number H_R.
    """
    lengths = step_lengths(clock(memoryless(n_workers), wait_for))
    ranks = np.arange(n_workers - wait_for + 1, n_workers + 1)
    name = "length of a synchronous step (H_R / mu)" if wait_for == n_workers else "length of a step, S of R"
    return Law(
        f"{name} (s)",
        f"S = {wait_for}, R = {n_workers}, exponential workers of mean 1 s",
        ORDER,
        float((1 / ranks).sum()),
        float(lengths.mean()),
        math.sqrt((1 / ranks**2).sum() / len(lengths)),
    )


@cache
def largest_lognormal(slow_downs: tuple[float, ...]) -> Law:
    groups = tuple(WorkerGroup(count=1, upload=UPLOAD, slow_down=slow_down) for slow_down in slow_downs)
    lengths = step_lengths(clock(groups, wait_for=len(groups), steps=6000))
    mean, variance = moments_of_largest(*(stats.lognorm(1.0, scale=0.030 * slow) for slow in slow_downs))
    slow = f", {slow_downs.count(4.0)} of them 4 times slower" if 4.0 in slow_downs else ""
    return Law(
        "length of a synchronous step, largest of R lognormals (s)",
        f"R = {len(slow_downs)}, uploads of median 30 ms and sigma 1{slow}",
        "by integration; delays of Jiao et al., ADBO, 2023, released code",
        mean,
        float(lengths.mean()),
        math.sqrt(variance / len(lengths)),
    )


@cache
def sampled_round(participants: int, n_workers: int, n_slow: int) -> Law:
    """A round is as long as the largest of K* delays; how many slow workers are drawn is hypergeometric."""
    slow = 8.0
    groups = memoryless(n_workers - n_slow)
    groups += memoryless(n_slow, slow) if n_slow else ()
    lengths = step_lengths(rounds(groups, participants))
    drawn = stats.hypergeom(n_workers, n_slow, participants)
    mean = square = 0.0
    for count in range(min(n_slow, participants) + 1):
        laws = [stats.expon()] * (participants - count) + [stats.expon(scale=slow)] * count
        first, variance = moments_of_largest(*laws)
        mean += drawn.pmf(count) * first
        square += drawn.pmf(count) * (variance + first**2)
    told = f", {n_slow} of them {slow:g} times slower" if n_slow else ""
    return Law(
        "length of a sampled round, largest of K* (s)",
        f"K* = {participants} of R = {n_workers}, exponential workers of mean 1 s{told}",
        "H of K*; with slow workers by integration" if n_slow else ORDER,
        mean,
        float(lengths.mean()),
        math.sqrt((square - mean**2) / len(lengths)),
    )


@cache
def calls_of_a_round(participants: int, local_steps: int, calls: int) -> Law:
    finished = rounds(memoryless(10), participants, local_steps, calls)
    return Law(
        "LLM calls of a round, K* E calls of an estimate",
        f"K* = {participants}, E = {local_steps}, {calls} calls an estimate",
        "Wang et al., FedOne, ICML 2025: queries grow with the participants",
        participants * local_steps * calls,
        finished.summary["llm_calls"] / finished.summary["server_steps"],
        0.0,
    )


def rounds(groups: tuple[WorkerGroup, ...], participants: int, local_steps: int = 1, calls: int = 0) -> Run:
    algorithm = Fedbdpl(participants=participants, local_steps=local_steps)
    return clock(groups, wait_for=1, calls=calls, algorithm=algorithm, steps=20 if calls else 4000)


@cache
def fresh_share(n_workers: int) -> Law:
    """With S = 1 the next ticket is from the same worker, and not stale, with chance 1 / R."""
    taken = clock(memoryless(n_workers), wait_for=1, steps=8000).steps.iloc[1:]
    fresh = (taken.staleness_max == 0).to_numpy(float)[1:]
    law = stats.bernoulli(1 / n_workers)
    return Law(
        "share of tickets that are not stale",
        f"S = 1, R = {n_workers}, exponential workers",
        "who is next is independent of who was: the memoryless property",
        law.mean(),
        float(fresh.mean()),
        math.sqrt(law.var() / len(fresh)),
    )


@cache
def staleness(wait_for: int, n_workers: int) -> Law:
    """Tickets of a worker are R / S steps apart on average, whatever the law of the delays.

    The steps since each worker's last ticket are missing from the sum: at most R^2 / S, which takes the place
    of a standard error.
    """
    steps = 20_000
    group = WorkerGroup(count=n_workers, compute=Lognormal(median_s=1.0, sigma=0.5))
    mean = clock((group,), wait_for=wait_for, steps=steps).summary["staleness_mean"]
    return Law(
        "mean staleness, R / S - 1 (steps)",
        f"S = {wait_for}, R = {n_workers}, lognormal workers, {steps:,} steps",
        "renewal: each worker reports every R / S steps",
        n_workers / wait_for - 1,
        mean,
        n_workers**2 / wait_for / (steps * wait_for),
    )


@cache
def calls_on_lanes(calls: int, lanes: int) -> Law:
    """All lanes are busy until the last call has begun, then they run dry one by one.

    Mean (n - c) / c + H_c, variance (n - c) / c^2 + sum 1/i^2, for n calls of mean 1 on c lanes.
    """
    group = WorkerGroup(count=1, lanes=lanes)
    latency = Exponential(mean_s=1.0)
    lengths = step_lengths(clock((group,), wait_for=1, steps=3000, calls=calls, latency=latency))
    busy = min(lanes, calls)
    ranks = np.arange(1, busy + 1)
    return Law(
        "time of a job's calls on its lanes (s)",
        f"{calls} exponential calls of mean 1 s, {lanes} lanes",
        "a pure death process",
        (calls - busy) / busy + float((1 / ranks).sum()),
        float(lengths.mean()),
        math.sqrt(((calls - busy) / busy**2 + (1 / ranks**2).sum()) / len(lengths)),
    )


LAWS = [
    *(
        partial(step_of_the_fastest, *sizes)
        for sizes in ((1, 1), (5, 5), (20, 20), (1, 10), (4, 10), (9, 10))
    ),
    *(partial(largest_lognormal, slow) for slow in ((1.0,) * 3, (1.0,) * 18, (1.0, 1.0, 4.0))),
    *(partial(sampled_round, *sizes) for sizes in ((1, 20, 0), (5, 20, 0), (1, 20, 2), (5, 20, 2))),
    *(partial(calls_of_a_round, *sizes) for sizes in ((1, 1, 7), (4, 3, 7))),
    *(partial(fresh_share, n_workers) for n_workers in (2, 6)),
    *(partial(staleness, *sizes) for sizes in ((1, 6), (3, 10))),
    *(partial(calls_on_lanes, *sizes) for sizes in ((20, 5), (7, 3), (4, 1), (2, 5))),
]


@pytest.mark.parametrize("law", LAWS, ids=lambda law: f"{law.func.__name__}{law.args}")
def test_the_law_holds(law):
    check(law)
