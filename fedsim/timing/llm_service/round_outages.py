"""Outages of a service whose calls are a fluid: which jobs are refused, and when they try again."""

from __future__ import annotations

import math
from collections import deque
from typing import TYPE_CHECKING

from fedsim.timing.llm_service.round_jobs import FluidJob, JobTable
from fedsim.timing.llm_service.round_retries import mean_pause_s

if TYPE_CHECKING:
    from fedsim.timing.llm_service.shared import Backoff, Shared


class Outages:
    """The outages of a service that are still to come, and what those so far have done to its jobs.

    All calls of a job are cut off together, and come back together: at their first try that finds the service
    open.

    Args:
        settings: the service's.
        table: the jobs in service.
    """

    def __init__(self, settings: Shared, table: JobTable) -> None:
        self.opens_s = -math.inf
        """When the outage under way, or the last one, is over (s)."""
        self.refused = 0
        """Requests answered 503 so far."""
        self._backoff = settings.backoff
        self._coming = deque(settings.outages)
        self._table = table

    @property
    def next_s(self) -> float:
        """When the next one begins (s); `math.inf` never."""
        return self._coming[0].start_s if self._coming else math.inf

    def begin(self, now_s: float) -> bool:
        """Begin an outage that is due, those included that nobody saw, and return whether one has begun."""
        begun = self.next_s <= now_s
        while self.next_s <= now_s:
            self.opens_s = self._coming.popleft().stop_s
        if begun:
            for job in self._table.jobs:
                self.turn_away(job, now_s)
        return begun

    def turn_away(self, job: FluidJob, now_s: float) -> None:
        """Keep a job away until the outage under way is over, unless it comes back later than that anyhow.

        A job that an outage before this one still keeps away finds the service closed again as it comes back,
        and its pauses go on to grow.
        """
        comes_s = max(now_s, job.back_s)
        if comes_s >= self.opens_s:
            return
        if job.back_s < now_s:
            self._table.cut_off(job)
            job.refusals = 0
        held_s, refusals = refusals_until_open(self._backoff, self.opens_s - comes_s, job.refusals)
        job.refusals += refusals
        self.refused += refusals * job.demand.lanes
        self._table.hold(job, comes_s, held_s)


def refusals_until_open(backoff: Backoff, seconds: float, before: int = 0) -> tuple[float, int]:
    """Return when a client comes back for the first time after a closed door opens (s from its first try).

    The second number is how often it has been refused in that time, at least once.

    Args:
        backoff: the pauses, each taken at its mean.
        seconds: how long the door stays closed, counted from the first try; positive.
        before: how often it had been refused already.
    """
    at_s, refusals = 0.0, 0
    while at_s < seconds:
        pause_s = mean_pause_s(backoff, before + refusals + 1)
        again = 1
        if pause_s == mean_pause_s(backoff, before + refusals + 2):
            again = math.ceil((seconds - at_s) / pause_s)
        at_s += again * pause_s
        refusals += again
    return at_s, refusals
