"""Jobs handed out and not yet evaluated."""

from __future__ import annotations

from typing import Any, NamedTuple

from fedsim.messages import JobKind


class PendingJob(NamedTuple):
    """A job whose numbers nobody has needed yet; all that it depends on is fixed."""

    worker: int
    job: int
    content: Any
    start_s: float = 0.0
    skipped: bool = False
    """Whether the worker will answer without having done it."""


class Pending:
    """Collects jobs so that they can be evaluated in one batch.

    A worker has one job in flight, so its number tells which job is meant.
    """

    def __init__(self) -> None:
        self._jobs: dict[JobKind, dict[int, PendingJob]] = {kind: {} for kind in JobKind}
        self._aside: dict[int, PendingJob] = {}

    def add(self, kind: JobKind, job: PendingJob) -> None:
        """Remember a job that has been handed out."""
        self._jobs[kind][job.worker] = job

    def holds(self, worker: int, kind: JobKind) -> bool:
        """Whether this worker's job has yet to be evaluated."""
        return worker in self._jobs[kind]

    def drop(self, worker: int) -> None:
        """Forget a worker's job: it will never be done."""
        for jobs in (*self._jobs.values(), self._aside):
            jobs.pop(worker, None)

    def set_aside(self, worker: int) -> None:
        """Nobody will ask for the result of a worker's job; it may do an outer one all the same."""
        outer = self._jobs[JobKind.OUTER].pop(worker, None)
        self.drop(worker)
        if outer is not None:
            self._aside[worker] = outer

    def aside(self, worker: int) -> list[PendingJob]:
        """Return and forget the job of a worker that was set aside, if there is one."""
        return [self._aside.pop(worker)] if worker in self._aside else []

    def take(self, kind: JobKind) -> list[PendingJob]:
        """Return and forget all jobs of a kind, in order of worker number."""
        jobs = self._jobs[kind]
        taken = [jobs[worker] for worker in sorted(jobs)]
        jobs.clear()
        return taken
