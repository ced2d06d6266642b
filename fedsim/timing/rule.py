"""The step rule of the asynchronous server: who has reported, who is too stale, may it step."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

from fedsim.timing.watch import Watch


class StepRule:
    """Step when at least S workers have reported and no worker would exceed staleness tau.

    A worker's age is 0 when it reports and grows by one with every server step; all start at 1. The server
    may step while every age is below tau, so a ticket is at most tau - 1 steps stale when it is used.

    Who has left for a job of another kind (ours, not the source's) has no age and is not waited for.

    Source: Jiao et al., "Asynchronous Distributed Bilevel Optimization", ICLR 2023, and its released code:
    the condition is tested after each arrival and before the ages grow.

    Args:
        workers: the worker numbers that take part.
        wait_for: S. When fewer than S workers are left, all of the rest are waited for, at least one.
        tau: the staleness bound.
        watch: what finds another S now and then, by the times that the server sees; none: S stays.
    """

    def __init__(self, workers: range, wait_for: int, tau: int, watch: Watch | None = None) -> None:
        self.wait_for = wait_for
        self.tau = tau
        self.step = 0
        self._watch = watch
        # The step in which each worker last reported, oldest first: one look at the head tells the largest
        # age, so that a step costs S and not R.
        self._reported_at = OrderedDict.fromkeys(workers, -1)
        self._active = 0
        self._needed = min(wait_for, len(workers))
        self._away: set[int] = set()

    def ask(self, waiting: Sequence[int]) -> Sequence[int]:
        """Return who gets a job of those who wait for one: all of them."""
        if self._watch is not None:
            self._watch.asked(waiting)
        return waiting

    def report(self, worker: int) -> None:
        """A message of this worker has arrived."""
        self._reported_at[worker] = self.step
        self._reported_at.move_to_end(worker)
        self._active += 1
        if self._watch is not None:
            self._watch.reported(worker)

    @property
    def missing(self) -> int:
        """How many reports are missing until there are S."""
        return self._needed - self._active

    def may_step(self) -> bool:
        """Whether the server may step now."""
        if self._active < self._needed or not self._reported_at:
            return False
        return self.step - next(iter(self._reported_at.values())) < self.tau

    def stepped(self) -> None:
        """The server has stepped: every age grows by one."""
        self.step += 1
        self._active = 0
        if self._watch is not None:
            self.wait_for = self._watch.stepped(self.step, self.wait_for)
            self._needed = min(self.wait_for, len(self._reported_at))

    def reset_ages(self) -> None:
        """After a barrier every age is 1 again."""
        for worker in self._reported_at:
            self._reported_at[worker] = self.step - 1
        self._active = 0

    def leave(self, worker: int) -> None:
        """Wait for this worker no longer: its next job is for no step. It has no report that counts now."""
        if worker not in self._away:
            del self._reported_at[worker]
            self._away.add(worker)
            self._needed = min(self.wait_for, len(self._reported_at))
            if self._watch is not None:
                self._watch.away(worker)

    def come_back(self, worker: int) -> None:
        """A worker gets a job for a step again, if it had left: its age is 1, as everybody's at the start."""
        if worker in self._away:
            self._away.remove(worker)
            self.admit(worker)

    def evict(self, worker: int) -> None:
        """Stop waiting for this worker for ever; a message of it that has come in counts no more."""
        if self._watch is not None:
            self._watch.left(worker)
        if worker in self._away:
            self._away.remove(worker)
            return
        self._active -= self._reported_at.pop(worker) == self.step
        self._needed = min(self.wait_for, len(self._reported_at))

    def admit(self, worker: int) -> bool:
        """Take a worker in that reads the current version: its age is 1, as everybody's at the start.

        Returns:
            Whether it gets a job at once: it does.
        """
        reported_now = []
        for other in reversed(self._reported_at):
            if self._reported_at[other] < self.step:
                break
            reported_now.append(other)
        self._reported_at[worker] = self.step - 1
        for other in reported_now:  # they stay behind it: the oldest come first
            self._reported_at.move_to_end(other)
        self._needed = min(self.wait_for, len(self._reported_at))
        if self._watch is not None:
            self._watch.handed_out([worker])
        return True

    def __contains__(self, worker: object) -> bool:
        return worker in self._reported_at or worker in self._away

    def __len__(self) -> int:
        return len(self._reported_at) + len(self._away)

    @property
    def alive(self) -> bool:
        """Whether anybody still takes part."""
        return bool(self._reported_at or self._away)

    @property
    def members(self) -> list[int]:
        """The workers that still take part, in order of number."""
        return sorted([*self._reported_at, *self._away])
