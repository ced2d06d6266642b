"""What limits how fast work can go on; which limit binds, and how much is used of each."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from fedsim.messages import JobCost
from fedsim.streams import Stream
from fedsim.timing.llm_service.draws import CallDraws
from fedsim.timing.llm_service.shared import Shared
from fedsim.timing.loop import Timeline
from fedsim_analysis.advice.course import Totals
from fedsim_analysis.advice.job_times import DRAWS, JobTimes

LIMITS = {
    "requests_per_minute": "requests per minute",
    "tokens_per_minute": "tokens per minute",
    "concurrency": "places at the service",
}
"""The limits of a shared service, each with its words."""
NO_COST = JobCost(0, 0, 0, 0, 0)
REPLICAS = 256
"""Draws of the requests of others."""
MOST_TAKEN = 0.02
"""What others leave of the places of a service, at least."""


class Bottleneck(NamedTuple):
    """A limit on how fast something can go on, whatever the workers do."""

    words: str
    """What is limited."""
    share: str
    """What its time is booked as, one of `fedsim_analysis.advice.estimate.SHARES`."""
    update_s: float
    """What a worker update takes at least (s)."""
    interlude_s: float
    """What an interlude takes at least (s)."""
    ahead_s: float = 0.0
    """What the limit lets through at the start is worth so much time (s)."""

    def least_s(self, totals: Totals) -> float:
        """Return what so much takes at least (s).

        What is let through in the time of steps is of no use in interludes, unless it can be saved up.
        """
        updates_s, interludes_s = totals.updates * self.update_s, totals.interludes * self.interlude_s
        if self.interlude_s > self.ahead_s:
            updates_s = max(updates_s, totals.steps_s)
            interludes_s = max(interludes_s, totals.interludes_s)
        return max(0.0, updates_s + interludes_s - self.ahead_s)

    def used(self, totals: Totals, time_s: float) -> float:
        """Return which part is used of what the limit lets through in so much time (s), and at the start."""
        passed_s = totals.updates * self.update_s + totals.interludes * self.interlude_s
        return passed_s / (time_s + self.ahead_s) if passed_s else 0.0


class Used(NamedTuple):
    """How much of a limit a run uses."""

    words: str
    """What is limited."""
    share: str
    """What its time is booked as."""
    part: float
    """Of what it lets through in the time of the run; 1: all of it."""
    binds: bool
    """Whether the run would be quicker without this limit, the others as they are."""


def used(limits: Sequence[Bottleneck], totals: Totals, time_s: float) -> tuple[Used, ...]:
    """Return how much is used of each limit that something is asked of, the most used first.

    Args:
        limits: all of them.
        totals: what is done.
        time_s: how long that takes with all limits.
    """
    slowest = max(limits, key=lambda limit: limit.least_s(totals), default=None)
    found = [
        Used(limit.words, limit.share, limit.used(totals, time_s), limit is slowest and time_s > totals.all_s)
        for limit in limits
        if limit.update_s or limit.interlude_s
    ]
    return tuple(sorted(found, key=lambda each: (not each.binds, -each.part)))


def of_links(line: Timeline, times: JobTimes, jobs: float) -> Iterator[Bottleneck]:
    """Yield what the links let through that all workers share, down and up.

    Args:
        line: the scenario's settings of the clock.
        times: the laws of its jobs.
        jobs: in an interlude.
    """
    update, inner = (times.ways.shared_s(cost.bytes_down, cost.bytes_up) for cost in _costs(line))
    for number, name in enumerate(("downlink", "uplink")):
        yield Bottleneck(f"shared {name}", name, update[number], jobs * inner[number])


def of_service(line: Timeline, times: JobTimes, jobs: float) -> Iterator[Bottleneck]:
    """Yield what the limits of a shared service let through; arguments as of `of_links`."""
    service = line.service
    if not isinstance(service, Shared):
        return
    plan, draws, costs = line.schedule.interlude, CallDraws(service), _costs(line)
    tries = 1 / (1 - draws.failure_probability)
    largest = max(group.count for group in line.groups) / times.n_workers
    part = tries * (largest if service.shared_by == "group" else 1.0)

    def limit(name: str, share: str, job_s: Sequence[float], ahead_s: float) -> Bottleneck:
        return Bottleneck(LIMITS[name], share, part * job_s[0], jobs * part * job_s[1], ahead_s)

    if service.requests_per_minute is not None:
        each_s = 60 / service.requests_per_minute
        ahead_s = max(service.burst_s, each_s)
        yield limit("requests_per_minute", "rate limit", [cost.calls * each_s for cost in costs], ahead_s)
    if service.tokens_per_minute is not None:
        each_s = 60 / service.tokens_per_minute
        tokens_s = [(cost.tokens_in + cost.tokens_out) * each_s for cost in costs]
        yield limit("tokens_per_minute", "rate limit", tokens_s, service.burst_s)
    if service.concurrency is not None:
        places = max(service.concurrency - _others(service, draws), MOST_TAKEN * service.concurrency)
        kinds = [line.schedule.regular, plan.work if plan is not None else line.schedule.regular]
        busy_s = [cost.calls * times.call_s(kind) for cost, kind in zip(costs, kinds, strict=True)]
        yield limit("concurrency", "places", [seconds / places / tries for seconds in busy_s], 0.0)


def _costs(line: Timeline) -> tuple[JobCost, JobCost]:
    """Return what a regular job costs, and one of an interlude."""
    plan, work = line.schedule.interlude, line.schedule.work
    return work[line.schedule.regular].cost, work[plan.work].cost if plan is not None else NO_COST


def _others(service: Shared, draws: CallDraws) -> float:
    """Return how many places of a service the requests of others take on average."""
    others = service.background
    if others is None:
        return 0.0
    generator = DRAWS.generator(Stream.BACKGROUND)
    if others.arrivals is not None:
        rows = others.arrivals.rows
        busy_s = draws.seconds(generator, rows.tokens_in.astype(float), rows.tokens_out.astype(float))
        return float(busy_s.sum() / rows.time_s[-1])
    assert others.requests_per_minute is not None
    tokens = [np.full(REPLICAS, float(number)) for number in (others.tokens_in, others.tokens_out)]
    return float(draws.seconds(generator, *tokens).mean()) * others.requests_per_minute / 60
