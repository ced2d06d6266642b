"""Who takes part in a run, who has yet to join, and who has been given up."""

from __future__ import annotations

from collections.abc import Collection

from fedsim.timing.exchange import Exchange
from fedsim.timing.rounds import RoundRule
from fedsim.timing.rule import StepRule

HOPELESS = 100_000
"""What has been tried so often in a row, and has failed each time, will always fail: without this, a run in
which nobody is on for as long as a job takes would never end."""


class Members:
    """The comings and goings of members, of which the step rule and the learning half are told.

    Args:
        rule: the step rule, or that of sampled rounds; knows all workers at first.
        exchange: the learning half.
        absent: the workers that join later.
        readmits: whether the server takes evicted workers in again.
    """

    def __init__(
        self,
        rule: StepRule | RoundRule,
        exchange: Exchange,
        absent: Collection[int],
        readmits: bool,
    ) -> None:
        self.evicted: dict[int, float] = {}
        """When each worker that is out now was evicted (s)."""
        self.expelled: dict[int, float] = {}
        """When each worker was expelled that the learning half wants out for good (s)."""
        self.out: set[int] = set()
        """Whoever was evicted or expelled and has not been taken in again."""
        self.lost: set[int] = set()
        """The workers that will never report again; the server does not know."""
        self.absent = set(absent)
        """The workers that have yet to join for the first time."""
        self.readmitted = [0] * len(rule)
        """How often each worker was taken in again."""
        self._rule = rule
        self._exchange = exchange
        self._readmits = readmits
        self._step = 0
        self._in_vain = 0  # how many workers were taken in again since that step
        for worker in absent:
            self._leaves(worker)

    @property
    def to_join(self) -> bool:
        """Whether somebody who is no member may yet become one."""
        if self.absent:
            return True
        return self._readmits and not self.evicted.keys() <= self.lost | self.expelled.keys()

    def evict(self, worker: int, now_s: float) -> None:
        """Go on without a worker."""
        self.evicted[worker] = now_s
        self.out.add(worker)
        self._leaves(worker)

    def expel(self, worker: int, now_s: float) -> None:
        """Go on without a worker for good, whether it takes part now or not."""
        self.expelled[worker] = now_s
        self.out.add(worker)
        self.absent.discard(worker)
        if worker in self._rule:
            self._leaves(worker)

    def lose(self, worker: int) -> None:
        """This worker will never report again."""
        self.lost.add(worker)
        self.absent.discard(worker)

    def refused(self, worker: int) -> bool:
        """Whether a worker is out for good."""
        return worker in self.expelled or (worker in self.evicted and not self._readmits)

    def admit(self, worker: int) -> bool:
        """Take in a worker that joins late or was evicted; return whether it gets a job at once."""
        if self.evicted.pop(worker, None) is not None:
            self.out.remove(worker)
            self._readmit(worker)
        self.absent.discard(worker)
        self._exchange.admit(worker)
        return self._rule.admit(worker)

    def _readmit(self, worker: int) -> None:
        self.readmitted[worker] += 1
        self._in_vain = self._in_vain + 1 if self._step == self._rule.step else 1
        self._step = self._rule.step
        if self._in_vain == HOPELESS:  # the server's patience is shorter than any job
            self._readmits = False

    def _leaves(self, worker: int) -> None:
        self._rule.evict(worker)
        self._exchange.evict(worker)
