"""What is known of queues, limits and retries, held against the shared LLM service call by call."""

from __future__ import annotations

import math
from collections.abc import Callable, Generator
from functools import cache, partial
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import pytest
import simpy
from laws import Law, check
from numpy.typing import NDArray

from fedsim.messages import JobCost
from fedsim.streams import Stream, Streams
from fedsim.timing.activities import Activity, ActivityClock
from fedsim.timing.delays import Delay
from fedsim.timing.delays.constant import Constant
from fedsim.timing.delays.exponential import Exponential
from fedsim.timing.delays.gamma import Gamma
from fedsim.timing.delays.lognormal import Lognormal
from fedsim.timing.llm_service import Calls, QueueLevel
from fedsim.timing.llm_service.background import Background
from fedsim.timing.llm_service.desks import Desks
from fedsim.timing.llm_service.shared import Backoff, Shared

KLEINROCK = "Kleinrock, Queueing Systems, vol. 1, 1975"
REPLICATES, CUSTOMERS, WARM_UP = 20, 2000, 400
"""Runs of their own seeds, customers in each, and how many of them find a queue that still builds up."""


class Visits(NamedTuple):
    """Customers of one call, in order of arrival, a row per replicate."""

    waits_s: NDArray[np.float64]
    served_s: NDArray[np.float64]
    levels: list[QueueLevel]
    """Of the first replicate."""
    ended_s: float
    """Likewise: when the last customer left."""


@cache
def visits(service: Delay, places: int, load: float) -> Visits:
    """Send customers to a service as a Poisson stream that keeps each place busy for `load` of its time."""
    settings = Shared(ttft=service, concurrency=places)
    gap_s = service.mean_value_s / (places * load)
    replicates = [replicate(settings, gap_s, seed) for seed in range(REPLICATES)]
    waits_s, served_s, levels, ended_s = zip(*replicates, strict=True)
    return Visits(np.array(waits_s), np.array(served_s), levels[0], ended_s[0])


def replicate(
    settings: Shared, gap_s: float, seed: int
) -> tuple[list[float], list[float], list[QueueLevel], float]:
    """Return customers' waits and answering times, the levels (of seed 0) and the end, for a mean gap (s)."""
    env, clock = simpy.Environment(), ActivityClock(CUSTOMERS)
    gaps_s = Streams(seed).generator(Stream.BACKGROUND).exponential(gap_s, CUSTOMERS).tolist()
    desk = Desks(settings, env, Streams(seed), clock, [0] * CUSTOMERS, keep_levels=seed == 0)

    def customer(number: int) -> Generator[simpy.Event, object, None]:
        yield from desk.serve(Calls(number, 0, JobCost(1, 0, 0, 0, 0), 1, 1.0, True))
        clock.switch(number, Activity.WAITING, env.now)

    def stream() -> Generator[simpy.Event, object, None]:
        for number, seconds in enumerate(gaps_s):
            yield env.timeout(seconds)
            env.process(customer(number))

    env.process(stream())
    env.run()
    levels = list(desk.served().levels)
    return clock.seconds[Activity.QUEUEING], clock.seconds[Activity.CALLING], levels, env.now


def steady(rows: NDArray[np.float64]) -> tuple[float, float]:
    """Return the mean of replicates without their warm-up, and its standard error: between replicates."""
    means = rows[:, WARM_UP:].mean(axis=1)
    return float(means.mean()), float(means.std(ddof=1) / math.sqrt(len(means)))


def erlang_c(places: int, offered: float) -> float:
    """Return the chance that a customer of an M/M/c queue has to wait."""
    blocked = erlang_b(places, offered)
    return places * blocked / (places - offered * (1 - blocked))


def erlang_b(places: int, offered: float) -> float:
    """Return the chance that a customer of an M/G/c queue without waiting room is turned away."""
    chance = 1.0
    for place in range(1, places + 1):
        chance = offered * chance / (place + offered * chance)
    return chance


@cache
def wait_without_memory(places: int, load: float) -> Law:
    """C(c, a) / (c mu - lambda); with one place rho / (mu - lambda)."""
    exact = erlang_c(places, places * load) / (places * (1 - load))
    found = steady(visits(Exponential(mean_s=1.0), places, load).waits_s)
    name = "M/M/1" if places == 1 else "M/M/c (Erlang C)"
    setting = f"{places} {'place' if places == 1 else 'places'}, load {load:g}, answers of mean 1 s"
    return Law(f"{name}: mean wait (s)", setting, f"{KLEINROCK}, sections 3.2 and 3.5", exact, *found)


@cache
def wait_of_any_service(service: Delay, name: str, second_moment: float, load: float) -> Law:
    """Pollaczek and Khinchine: lambda E[S^2] / (2 (1 - rho))."""
    exact = load / service.mean_value_s * second_moment / (2 * (1 - load))
    return Law(
        f"{name} (Pollaczek-Khinchine): mean wait (s)",
        f"load {load:g}, {service.kind} answers of mean {service.mean_value_s:.3g} s",
        f"{KLEINROCK}, section 5.6",
        exact,
        *steady(visits(service, 1, load).waits_s),
    )


@cache
def long_waits(longer_s: float) -> Law:
    """P(W > t) = rho exp(-(mu - lambda) t)."""
    waits_s = visits(Exponential(mean_s=1.0), 1, 0.7).waits_s
    return Law(
        f"M/M/1: share of waits above {longer_s:g} s",
        "1 place, load 0.7, answers of mean 1 s",
        f"{KLEINROCK}, section 5.6",
        0.7 * math.exp(-0.3 * longer_s),
        *steady((waits_s > longer_s).astype(float)),
    )


@cache
def little(places: int, load: float) -> Law:
    """L = lambda W, without any chance in it: from an empty service to an empty service."""
    found = visits(Exponential(mean_s=1.0), places, load)
    there_s = (found.waits_s[0] + found.served_s[0]).sum()
    return Law(
        "Little's law: mean number at the service, by its levels",
        f"{places} {'place' if places == 1 else 'places'}, load {load:g}, {CUSTOMERS:,} customers",
        "Little, A proof for the queuing formula L = lambda W, Operations Research, 1961",
        float(there_s / found.ended_s),
        area(found.levels, found.ended_s, lambda row: row.queued + row.serving) / found.ended_s,
        0.0,
    )


def area(levels: list[QueueLevel], end_s: float, height: Callable[[QueueLevel], float]) -> float:
    """Return the integral over time of something in the rows of a service."""
    ends = [*levels, levels[-1]._replace(time_s=end_s)]
    return math.fsum(height(row) * (after.time_s - row.time_s) for row, after in pairwise(ends))


@cache
def others_turned_away(places: int, offered: float) -> Law:
    """Erlang B: requests of others that find all places taken are lost."""
    service = Lognormal(median_s=1.0, sigma=0.5)
    shares = []
    for seed in range(12):
        settings = Shared(
            ttft=service,
            concurrency=places,
            queue_limit=0,
            background=Background(requests_per_minute=60 * offered / service.mean_value_s),
        )
        env = simpy.Environment()
        desk = Desks(settings, env, Streams(seed), ActivityClock(1), [0], keep_levels=True)
        env.run(until=1000.0)
        levels = list(desk.served().levels)
        shares.append(area(levels, 1000.0, lambda row: row.serving == places) / 1000)
    return Law(
        "M/G/c without a queue (Erlang B): share of time with all places taken",
        f"{places} places, offered load {offered:g}, lognormal answers, background alone",
        f"{KLEINROCK}, section 3.6",
        erlang_b(places, offered),
        float(np.mean(shares)),
        float(np.std(shares, ddof=1) / math.sqrt(len(shares))),
    )


def run_jobs(settings: Shared, jobs: int, calls: int, tokens: int, lanes: int) -> tuple[list[float], int]:
    """Run jobs of one worker each, all from 0 s; return how long each takes (s), and the requests of all."""
    env, ended_s = simpy.Environment(), [0.0] * jobs
    desk = Desks(settings, env, Streams(3), ActivityClock(jobs), [0] * jobs, keep_levels=False)

    def worker(number: int) -> Generator[simpy.Event, object, None]:
        yield from desk.serve(Calls(number, 0, JobCost(calls, tokens * calls, 0, 0, 0), lanes, 1.0, True))
        ended_s[number] = env.now

    for number in range(jobs):
        env.process(worker(number))
    env.run()
    return ended_s, desk.served().requests


@cache
def limited_requests(per_minute: float, burst_s: float) -> Law:
    """Clients that always have more to ask get the burst, and then what comes in."""
    jobs, calls = 10, 300
    settings = Shared(requests_per_minute=per_minute, burst_s=burst_s, over_limit="queue")
    ended_s, _ = run_jobs(settings, jobs, calls, 0, lanes=5)
    return Law(
        "token bucket: time to let n requests in, (n - burst) / rate (s)",
        f"n = {jobs * calls:,}, {per_minute:g} requests per minute, "
        f"burst of {burst_s:g} s, 50 open at a time",
        "Turner, New directions in communications, 1986",
        (jobs * calls - per_minute / 60 * burst_s) / (per_minute / 60),
        max(ended_s),
        0.0,
    )


@cache
def limited_tokens(per_minute: float, burst_s: float, tokens: int) -> Law:
    jobs, calls = 10, 100
    settings = Shared(
        requests_per_minute=1e6, tokens_per_minute=per_minute, burst_s=burst_s, over_limit="queue"
    )
    ended_s, _ = run_jobs(settings, jobs, calls, tokens, lanes=5)
    return Law(
        "token bucket: time to let n tokens in, (n - burst) / rate (s)",
        f"{jobs * calls:,} requests of {tokens} tokens, {per_minute:,.0f} tokens per minute, "
        f"burst of {burst_s:g} s",
        "Turner, New directions in communications, 1986",
        (jobs * calls * tokens - per_minute / 60 * burst_s) / (per_minute / 60),
        max(ended_s),
        0.0,
    )


@cache
def tries(probability: float) -> Law:
    """Requests per call: geometric, mean 1 / (1 - p), variance p / (1 - p)^2."""
    jobs, calls = 100, 200
    _, requests = run_jobs(Shared(server_error_probability=probability), jobs, calls, 0, lanes=10)
    return Law(
        "requests per call when each fails with probability p, 1 / (1 - p)",
        f"p = {probability:g}, {jobs * calls:,} calls",
        "the geometric distribution",
        1 / (1 - probability),
        requests / (jobs * calls),
        math.sqrt(probability / (jobs * calls)) / (1 - probability),
    )


@cache
def pauses(probability: float, jitter: float) -> Law:
    """The i-th pause is made with probability p^i and is b_i (1 - jitter / 2) long on average."""
    jobs, calls, backoff = 200, 60, Backoff(jitter=jitter)
    settings = Shared(server_error_probability=probability, backoff=backoff)
    ended_s, _ = run_jobs(settings, jobs, calls, 0, lanes=1)
    each_s = np.array(ended_s) / calls
    longest_s = (backoff.first_s * 2 ** np.arange(200.0)).clip(max=backoff.longest_s)
    return Law(
        "back-off of a call, mean of the sum of its pauses (s)",
        f"p = {probability:g}, 0.5 s doubling up to 8 s, jitter {jitter:g}",
        "sum of p^i b_i (1 - jitter / 2)",
        float((probability ** np.arange(1, 201) * longest_s).sum() * (1 - jitter / 2)),
        float(each_s.mean()),
        float(each_s.std(ddof=1) / math.sqrt(jobs)),
    )


BURSTY, STEADY, SPREAD = (
    Gamma(shape=0.5, mean_s=1.0),
    Constant(value_s=1.0),
    Lognormal(median_s=1.0, sigma=0.5),
)

LAWS = [
    *(partial(wait_without_memory, *numbers) for numbers in ((1, 0.7), (3, 0.8))),
    partial(wait_of_any_service, STEADY, "M/D/1", 1.0, 0.7),
    partial(wait_of_any_service, BURSTY, "M/G/1", 3.0, 0.5),
    partial(wait_of_any_service, SPREAD, "M/G/1", math.exp(2 * 0.5**2), 0.7),
    *(partial(long_waits, longer_s) for longer_s in (0.0, 2.0, 6.0)),
    *(partial(little, *numbers) for numbers in ((1, 0.7), (3, 0.8))),
    *(partial(others_turned_away, *numbers) for numbers in ((1, 0.5), (4, 3.0))),
    *(partial(limited_requests, *numbers) for numbers in ((600.0, 60.0), (70.0, 3.0))),
    partial(limited_tokens, 50_000.0, 60.0, 170),
    *(partial(tries, probability) for probability in (0.1, 0.5)),
    *(partial(pauses, *numbers) for numbers in ((0.5, 0.0), (0.5, 1.0), (0.9, 0.25))),
]


@pytest.mark.parametrize("law", LAWS, ids=lambda law: f"{law.func.__name__} {[*law.args][-3:]}")
def test_the_law_holds(law: partial[Law]) -> None:
    check(law)
