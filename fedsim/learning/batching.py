"""Jobs that wait until somebody needs their results, and are then evaluated in one batch."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Iterable
from typing import Any, NamedTuple

from fedsim.messages import Ticket


class Job(NamedTuple):
    """A job that has been handed out; everything that its result depends on is fixed."""

    worker: int
    job: int
    """Its number among the worker's jobs: where its draws stand."""
    kind: str
    content: Any
    """What the worker read."""
    start_s: float = 0.0
    skipped: bool = False
    """Whether a malicious worker will report without having done the work."""


class BatchingLearner(ABC):
    """Keeps the jobs handed out, and who takes part, for a learner that evaluates jobs in batches.

    The first result that is needed makes all jobs of its kind go through that have been handed out and not
    been evaluated, those still under way included. A worker has one job in flight, so its number tells which
    job is meant.

    Args:
        n_workers: how many workers there are.
        lasting: kinds of jobs that an evicted worker does all the same; it has done such a job when it is
            admitted again.
    """

    def __init__(self, n_workers: int, lasting: Iterable[str]) -> None:
        self.n_workers = n_workers
        self.alive = dict.fromkeys(range(n_workers))
        """The workers that take part, in order of number."""
        self.finished = ""
        """Why nothing is left to do, as the run will say that it ended; empty: something is."""
        self.expelled: Collection[int] = ()
        """The workers that are to be out for good; a learner that judges workers puts them in."""
        self._lasting = frozenset(lasting)
        self._waiting: dict[str, dict[int, Job]] = {}
        self._aside: dict[int, Job] = {}

    @abstractmethod
    def work(self, kind: str, jobs: list[Job]) -> None:
        """Do these jobs, of distinct workers in order of number."""

    @abstractmethod
    def reset(self, worker: int) -> None:
        """Put a worker back to the start: it has lost its state."""

    def hand_out(self, job: Job) -> None:
        """A job has been handed out."""
        self._waiting.setdefault(job.kind, {})[job.worker] = job

    def need(self, tickets: Iterable[Ticket]) -> None:
        """Evaluate what is needed for the results of these tickets."""
        for ticket in tickets:
            if ticket.worker in self._waiting.get(ticket.kind, ()):
                self.work(ticket.kind, self.taken(ticket.kind))

    def taken(self, kind: str) -> list[Job]:
        """Return and forget all jobs of a kind that wait, in order of worker number."""
        jobs = self._waiting.pop(kind, {})
        return [jobs[worker] for worker in sorted(jobs)]

    def evict(self, worker: int) -> None:
        """Go on without this worker, which may do its present job all the same."""
        del self.alive[worker]
        for kind, jobs in self._waiting.items():
            job = jobs.pop(worker, None)
            if job is not None and kind in self._lasting:
                self._aside[worker] = job

    def admit(self, worker: int) -> None:
        """Go on with this worker, which has done the job that nobody heard of."""
        self.alive = dict.fromkeys(sorted([*self.alive, worker]))
        job = self._aside.pop(worker, None)
        if job is not None:
            self.work(job.kind, [job])

    def forget(self, worker: int) -> None:
        """This worker has lost its state, and with it the job that it may have been busy with."""
        for jobs in (*self._waiting.values(), self._aside):
            jobs.pop(worker, None)
        self.reset(worker)
