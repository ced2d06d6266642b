"""The jobs that share a service like a fluid, as columns of one table."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from fedsim.timing.llm_service.round_demand import Demand
from fedsim.timing.llm_service.round_limits import MOMENT_S, common_wait_s

if TYPE_CHECKING:
    import simpy

DUE, BACK, PACE, BARE = range(4)
"""Rows of times: when each job ends; when it came (back); a wave's time, wait included; and without it."""
PLACES, REQUESTS, TOKENS = range(3)
"""What jobs use of a service, and its rows: of each wave the seconds at a place, the requests, the tokens."""
Rates = tuple[float, float, float]
"""Places that are taken, and requests and tokens per second."""
IDLE: Rates = (0.0, 0.0, 0.0)


class FluidJob:
    """One job in service, and what is known of it when it leaves."""

    __slots__ = (
        *("answered", "apart_s", "back_s", "begun_s", "column", "demand", "done", "held_s", "lost_s"),
        *("number", "open_calls", "queued_s", "refusals", "used"),
    )

    def __init__(self, demand: Demand, number: int, done: simpy.Event, begun_s: float) -> None:
        self.demand = demand
        self.number = number
        """Jobs that end at one instant end in the order in which they began."""
        self.done = done
        """Happens when all calls are answered."""
        self.begun_s = begun_s
        self.back_s = begun_s
        """When it asks for its calls to be answered, after an outage perhaps."""
        self.refusals = 0
        """How often an outage has turned its calls away, one after the other, since they were cut off."""
        self.held_s = 0.0
        """How long outages have kept it away."""
        self.lost_s = 0.0
        """For how long, each lane, calls were answered that outages then cut off."""
        self.apart_s = 0.0
        """What its service's sum of distances in the line was when it began."""
        self.column: int | None = None
        """Its place in the table while it is in service."""
        alone_s = max(demand.alone_s, MOMENT_S)
        self.used: Rates = (demand.place_s / alone_s, demand.requests / alone_s, demand.tokens / alone_s)
        """What it uses when it is alone."""
        self.answered = 1.0
        """The part of its requests that have been answered when it leaves."""
        self.open_calls = 0.0
        """How many of its calls are being answered at that instant, on average."""
        self.queued_s = 0.0
        """For how long all its open calls have waited by then."""


class JobTable:
    """All jobs in service and the pace of each of them; a wave is what the lanes do at a time."""

    def __init__(self) -> None:
        self.jobs: list[FluidJob] = []
        self.undisturbed: Rates = IDLE
        """What all jobs would use if none had to wait."""
        self._times_s = np.zeros((4, 8))
        self._amounts = np.zeros((3, 8))

    def add(self, job: FluidJob, wait_s: float) -> None:
        """Let a job begin, at the pace of such a wait before every call."""
        demand, column = job.demand, len(self.jobs)
        if column == self._times_s.shape[1]:
            self._times_s = np.concatenate([self._times_s, np.zeros_like(self._times_s)], axis=1)
            self._amounts = np.concatenate([self._amounts, np.zeros_like(self._amounts)], axis=1)
        waves = demand.waves
        bare_s = max(demand.alone_s, MOMENT_S) / waves
        due_s = job.back_s + (demand.alone_s + waves * wait_s)
        self._times_s[:, column] = due_s, job.back_s, bare_s + wait_s, bare_s
        self._amounts[:, column] = demand.place_s / waves, demand.requests / waves, demand.tokens / waves
        job.column = column
        self.jobs.append(job)
        self._sum_up(job.used, 1)

    def remove(self, job: FluidJob, now_s: float) -> None:
        """Let a job leave, finished or not."""
        column = job.column
        assert column is not None
        due_s, _, pace_s, _ = self._times_s[:, column].tolist()
        still_away_s = max(job.back_s - now_s, 0.0)
        left = max(due_s - still_away_s - now_s, 0.0) / (pace_s * job.demand.waves)
        job.answered = 1.0 - min(left, 1.0)
        job.held_s -= still_away_s
        if left > 0 and not still_away_s:
            answering = float(self._amounts[PLACES, column]) / pace_s
            job.open_calls = min(answering, left * job.demand.requests)
        last = self.jobs.pop()
        if last is not job:
            for cells in (self._times_s, self._amounts):
                cells[:, column] = cells[:, len(self.jobs)]
            self.jobs[column], last.column = last, column
        job.column = None
        self._sum_up(job.used, -1)

    def _sum_up(self, used: Rates, sign: int) -> None:
        if self.jobs:
            places, requests, tokens = self.undisturbed
            self.undisturbed = places + sign * used[0], requests + sign * used[1], tokens + sign * used[2]
        else:  # sums of floats begin anew where they can
            self.undisturbed = IDLE

    def due_s(self) -> float:
        """Return when the next job ends at this pace (s); `math.inf` without jobs."""
        return float(self._times_s[DUE, : len(self.jobs)].min()) if self.jobs else math.inf

    def due_by(self, until_s: float) -> list[FluidJob]:
        """Return the jobs that end by then, in the order in which they began."""
        columns = (self._times_s[DUE, : len(self.jobs)] <= until_s).nonzero()[0].tolist()
        return sorted((self.jobs[column] for column in columns), key=lambda job: job.number)

    def cut_off(self, job: FluidJob) -> None:
        """Have the calls of a job that are being answered begin again."""
        times_s = self._times_s[:, job.column]
        answering = job.demand.answered_share * times_s[BARE] / times_s[PACE]
        lost_s = float(answering) * job.demand.age_s
        times_s[DUE] += lost_s
        job.lost_s += lost_s

    def hold(self, job: FluidJob, from_s: float, seconds: float) -> None:
        """Keep a job, which need not be in service yet, away for so long."""
        job.held_s += seconds
        job.back_s = from_s + seconds
        if job.column is not None:
            self._times_s[DUE, job.column] += seconds
            self._times_s[BACK, job.column] = job.back_s

    def wait_s(self, limited: int, limit: float, guess_s: float) -> float:
        """Return the wait before each call (s) with which all jobs together use no more than a limit."""
        n = len(self.jobs)
        return common_wait_s(self._amounts[limited, :n], self._times_s[BARE, :n], limit, guess_s)

    def rates(self, wait_s: float) -> Rates:
        """Return what all jobs use with such a wait before each call."""
        n = len(self.jobs)
        places, requests, tokens = (self._amounts[:, :n] @ (1 / (self._times_s[BARE, :n] + wait_s))).tolist()
        return places, requests, tokens

    def go_on(self, now_s: float, wait_s: float) -> None:
        """From now on, or once their jobs are back, calls wait so long each."""
        due_s, back_s, pace_s, bare_s = self._times_s[:, : len(self.jobs)]
        slower_s, from_s = bare_s + wait_s, np.maximum(back_s, now_s)
        due_s[:] = from_s + (due_s - from_s) * (slower_s / pace_s)
        pace_s[:] = slower_s
