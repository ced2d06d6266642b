"""What a service gives to each of its jobs, as if calls were a fluid: the heart of `PerRound`."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from fedsim.timing.llm_service.levels import LevelLog
from fedsim.timing.llm_service.round_background import BackgroundLoad
from fedsim.timing.llm_service.round_demand import Demand
from fedsim.timing.llm_service.round_jobs import IDLE, PLACES, REQUESTS, TOKENS, FluidJob, JobTable
from fedsim.timing.llm_service.round_limits import MOMENT_S, ROUNDING, FluidBucket
from fedsim.timing.llm_service.round_outages import Outages
from fedsim.timing.llm_service.round_retries import Refusals
from fedsim.timing.llm_service.round_waiting import queued_s

if TYPE_CHECKING:
    import simpy

    from fedsim.timing.llm_service.shared import Shared

LEFT_OVER = 0.01
"""The share of the places that is left by a background that would fill all of them."""


class Fluid:
    """A service whose jobs go on at the pace that its limits leave them.

    All open calls wait in one line, so that every call waits equally long before it is let in. That wait is
    worked out each time that a job begins or ends, a bucket runs empty, an outage begins or ends, or the
    background changes: it is the shortest with which all jobs together stay within the limits. A job of n
    calls and L lanes takes ``ceil(n / L)`` such waits longer than alone.

    Args:
        settings: the service's.
        env: the simulation.
        number: the service's own.
        keep_levels: whether to remember queue lengths.
    """

    def __init__(self, settings: Shared, env: simpy.Environment, number: int, keep_levels: bool) -> None:
        self.levels = LevelLog(number)
        self.refused = 0.0
        """Requests answered 429 by a limit so far; an expectation."""
        self._settings = settings
        self._env = env
        self._keep_levels = keep_levels
        limits = {REQUESTS: settings.requests_per_minute, TOKENS: settings.tokens_per_minute}
        self._buckets = {
            amount: FluidBucket(per_minute, settings.burst_s)
            for amount, per_minute in limits.items()
            if per_minute
        }
        self._background = BackgroundLoad(settings)
        self._table = JobTable()
        self.outages = Outages(settings, self._table)
        self._begun = 0
        self._now_s = 0.0
        self._wait_s = 0.0
        self._rates = IDLE
        self._refusals = Refusals(settings.backoff)
        self._refused_per_s = 0.0
        self._in_line = 0.0
        self._apart_s = self._sum_apart_s = 0.0
        self._wakes_s = math.inf

    def enter(self, demand: Demand) -> FluidJob:
        """Begin a job."""
        now_s = self._env.now
        job = FluidJob(demand, self._begun, self._env.event(), now_s)
        self._begun += 1
        for amount, bucket in self._buckets.items():
            bucket.make_room((0.0, 1.0, demand.tokens / demand.requests)[amount])
        self._pass(now_s)
        self._close_if_due(now_s)
        job.apart_s = self._sum_apart_s
        self.outages.turn_away(job, now_s)
        self._table.add(job, self._wait_s)
        self._wake_at(now_s)
        return job

    def leave(self, job: FluidJob) -> None:
        """Let a job go that is not finished: what it has not begun is never asked for."""
        if job.column is not None:
            self._pass(self._env.now)
            self._let_go(job)
            self._wake_at(self._env.now)

    def _let_go(self, job: FluidJob) -> None:
        """Take a job out of the table, and work out for how long it was queueing."""
        self._table.remove(job, self._now_s)
        demand, open_s = job.demand, self._now_s - job.begun_s - job.held_s - job.lost_s
        job.queued_s = job.held_s
        if job.answered > 0 and open_s > 0:
            longer_s = open_s / job.answered - demand.alone_s
            wait_s = longer_s / demand.waves if longer_s > MOMENT_S else 0.0
            apart_s = (self._sum_apart_s - job.apart_s) / open_s
            job.queued_s += queued_s(demand, job.answered, wait_s, apart_s)

    def _look(self, until_s: float) -> None:
        """Do what is due by then, and find out at what pace the jobs go on."""
        self._pass(until_s)
        self._close_if_due(until_s)  # what would be answered at that very instant is cut off
        for job in self._table.due_by(until_s):
            self._let_go(job)
            job.done.succeed()
        if until_s >= self.outages.opens_s:
            self._share(until_s)
        if self._keep_levels:
            self._note(until_s)
        if self._table.jobs:
            self._wake_at(self._next_s(until_s))

    def _pass(self, until_s: float) -> None:
        """Let time pass in which nothing changes."""
        seconds = until_s - self._now_s
        if seconds > 0:
            self._now_s = until_s
            for amount, bucket in self._buckets.items():
                bucket.flow(self._rates[amount], seconds)
            self.refused += seconds * self._refused_per_s
            self._sum_apart_s += seconds * self._apart_s

    def _close_if_due(self, now_s: float) -> None:
        """Begin an outage that is due: nothing is let in and nobody waits in line."""
        if self.outages.begin(now_s):
            self._rates = IDLE
            self._refused_per_s = self._apart_s = self._in_line = 0.0

    def _share(self, now_s: float) -> None:
        """Find the wait with which all jobs together stay within places and buckets."""
        table, wait_s, binding = self._table, 0.0, False
        rates = table.undisturbed
        if self._settings.concurrency is not None and rates[PLACES] > ROUNDING * self._free_places(now_s):
            wait_s = table.wait_s(PLACES, self._free_places(now_s), self._wait_s)
            rates = table.rates(wait_s)
        for amount, bucket in self._buckets.items():
            if bucket.lasts_s(rates[amount]) <= MOMENT_S:
                wait_s, binding = table.wait_s(amount, bucket.rate, max(wait_s, self._wait_s)), True
                rates = table.rates(wait_s)
        self._rates = rates
        if wait_s != self._wait_s:
            self._wait_s = wait_s
            table.go_on(now_s, wait_s)
        self._line_up(binding and self._settings.over_limit == "reject")

    def _free_places(self, now_s: float) -> float:
        """Return how many places are left to the jobs."""
        concurrency = self._settings.concurrency or 0
        return max(concurrency - self._background.places(now_s), LEFT_OVER * concurrency)

    def _line_up(self, backing_off: bool) -> None:
        """Find out how many calls wait in line, and how many come back again and again instead."""
        requests_per_s, wait_s = self._rates[REQUESTS], self._wait_s
        waiting = requests_per_s * wait_s
        room = 0.0 if backing_off else self._settings.queue_limit
        self._in_line = waiting if room is None else min(waiting, room)
        self._refused_per_s = self._apart_s = 0.0
        if waiting:
            # calls that back off are as far from each other as can be
            self._apart_s = wait_s if backing_off else 1 / requests_per_s
            refused = 1 - self._in_line / waiting
            self._refused_per_s = refused * requests_per_s * self._refusals.within(wait_s)

    def _note(self, now_s: float) -> None:
        """Remember how many wait and how many are answered."""
        places = 0.0
        if now_s >= self.outages.opens_s:
            places = self._rates[PLACES] + self._background.places(now_s)
        serving = round(min(places, self._settings.concurrency or math.inf))
        self.levels.note(now_s, round(self._in_line), serving)

    def _next_s(self, now_s: float) -> float:
        """Return when something changes next (s) if nobody comes or goes."""
        if now_s < self.outages.opens_s:
            return self.outages.opens_s
        empty_s = [now_s + bucket.lasts_s(self._rates[amount]) for amount, bucket in self._buckets.items()]
        return min(self._table.due_s(), self.outages.next_s, self._background.changes_s(now_s), *empty_s)

    def _wake_at(self, at_s: float) -> None:
        """Look again then, or before that; a timer that comes too early does nothing."""
        if at_s >= self._wakes_s:
            return
        self._wakes_s = at_s
        timer = self._env.timeout(max(at_s - self._env.now, 0.0))
        assert timer.callbacks is not None
        timer.callbacks.append(lambda _: self._woken(at_s))

    def _woken(self, at_s: float) -> None:
        if at_s == self._wakes_s:
            self._wakes_s = math.inf
            # rounding may put a timer a little before its instant: what is due then is due now
            self._look(max(at_s, self._env.now))
