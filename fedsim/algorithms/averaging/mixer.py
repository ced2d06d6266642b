"""Averaging of honest messages that count by their age: a step costs two or three sums."""

from __future__ import annotations

import torch
from torch import Tensor

from fedsim.algorithms.averaging.averager import Average, Averager, Stale
from fedsim.algorithms.base import Bench
from fedsim.learning.attacks.base import MessageAttack
from fedsim.learning.batching import Job
from fedsim.learning.chunks import chunks
from fedsim.learning.door import senseless
from fedsim.learning.optimizers.base import Optimizer
from fedsim.learning.tuned import Tuned
from fedsim.messages import Ticket


class Mixer(Averager):
    """An `Averager` with `stale`, where nobody forges messages and the rule is their mean.

    It takes the same steps to rounding. A message is then what stands in its worker's row until the worker's
    next job is evaluated, so it is neither copied nor moved: with S = 1 the calls for that, on tiny tensors,
    took longer than all gradients.

    Args:
        bench: the problem, its data and who attacks.
        optimizer: of the local steps.
        local_steps: E.
        stale: what old messages count.
        rho: see `Averager`.
    """

    def __init__(
        self, bench: Bench, optimizer: Optimizer, local_steps: int, stale: Stale, rho: float = 0.0
    ) -> None:
        super().__init__(bench, optimizer, local_steps, stale=stale, rho=rho)
        self._weight = stale.weight
        self._from_read = stale.from_read
        if not stale.from_read:
            self.received = self.tables.P
        self._tunes_q = bench.problem.tunes_q
        self._unsettled: dict[int, None] = {}  # whose q is reported and not copied yet
        self._senseless: set[int] = set()  # whose message is not finite

    def take_step(self, tickets: list[Ticket]) -> Average:
        """Move theta by what the messages of these tickets count."""
        self.need(tickets)
        theta = self.state.z
        if self._senseless:
            tickets = self._door.without(self._senseless, tickets)
        if len(tickets) == 1:
            weight = self._weight(self.steps - tickets[0].snapshot.version)
            message = self.received[tickets[0].worker]
            after = theta.add(message, alpha=weight) if self._from_read else theta.lerp(message, weight)
        elif tickets:
            after = theta + self._mean_change(theta, tickets)
        else:
            after = theta.clone()
            self._merge.without_rows()
        if self._tunes_q:
            self._unsettled |= dict.fromkeys(ticket.worker for ticket in tickets)
        self.steps += 1
        self.state = Average(self._project(after))
        return self.state

    def reset(self, worker: int) -> None:
        self._settle()
        self._senseless.discard(worker)
        super().reset(worker)

    def evaluate(self, workers: list[int], time_s: float = 0.0) -> dict[str, float]:
        self._settle()
        return super().evaluate(workers, time_s)

    def tuned(self) -> list[Tuned]:
        self._settle()
        return super().tuned()

    def work(self, kind: str, jobs: list[Job]) -> None:
        """Let every worker among these jobs make its local steps, and note what its message is."""
        self._settle()
        super().work(kind, jobs)
        for part in chunks(len(jobs), self.state.z.numel()):
            group = jobs[part]
            rows = torch.tensor([job.worker for job in group])
            messages = self.tables.P[rows]
            if self._from_read:
                messages -= torch.stack([job.content.z for job in group])
                self.received[rows] = messages
            self._senseless |= senseless([job.worker for job in group], messages)

    def _mean_change(self, theta: Tensor, tickets: list[Ticket]) -> Tensor:
        weights = [self._weight(self.steps - ticket.snapshot.version) for ticket in tickets]
        messages = self.received[[ticket.worker for ticket in tickets]]
        changes = messages if self._from_read else messages - theta
        return torch.tensordot(torch.tensor(weights, dtype=theta.dtype), changes, 1).div_(len(tickets))

    def _settle(self) -> None:
        """Copy the q of those who have reported, before anything changes or reads it."""
        if self._unsettled:
            rows = torch.tensor(list(self._unsettled))
            self._reported_q[rows] = self.tables.Q[rows]
            self._unsettled = {}


def averager(
    bench: Bench, optimizer: Optimizer, local_steps: int, stale: Stale, rho: float = 0.0
) -> Averager:
    """Return what takes the steps of a method in which old messages count for less."""
    if any(isinstance(attack, MessageAttack) and attack.deviates for attack, _ in bench.attacks):
        return Averager(bench, optimizer, local_steps, stale=stale, rho=rho)
    return Mixer(bench, optimizer, local_steps, stale, rho)
