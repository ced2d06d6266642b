"""The learning half of federated averaging: workers start at the server's theta, and it averages them."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from fedsim.algorithms.base import Bench
from fedsim.learning.aggregation import Aggregation
from fedsim.learning.aggregators.mean import Mean
from fedsim.learning.batching import BatchingLearner, Job
from fedsim.learning.chunks import chunks
from fedsim.learning.door import Door
from fedsim.learning.merge import Merge
from fedsim.learning.optimizers.base import Optimizer
from fedsim.learning.tables import Pull, WorkerTables, projector
from fedsim.learning.tuned import Tuned, kept_workers, of_prompts
from fedsim.messages import Ticket


class Average(NamedTuple):
    """The content of a snapshot; never changed once made."""

    z: Tensor
    """theta, the server's word distributions, (M, N)."""


class Stale(NamedTuple):
    """What a message counts that was made from an older theta."""

    weight: Callable[[int], float]
    """From the server steps since its worker read to the share of its change that is taken."""
    from_read: bool
    """Whether its change is from the theta that its worker read, and not from the present one."""


class Averager(BatchingLearner):
    """A job is E local steps from the theta that the worker read; a server step merges what was sent.

    Step e of job j draws at address ``E j + e``. p starts at theta in every job; the optimizer's memory stays
    with the worker, and so does q where demonstrations are chosen, which FedOne does not do: it is private,
    and stepped along with p. ``problem.use_demonstrations = false`` is the paper's form. A job that a worker
    skips makes no step: what it sends is theta as it read it.

    The server's step is ``theta <- server(theta, outer_rate (A(rows, theta) - theta))``, projected on the
    simplex, with A from the aggregation, or the mean: all workers hold equally many queries. Rows are what
    the workers of this step sent. `server` is a sum unless a method says otherwise.

    A message that was made from an older theta is moved by what theta has done since, so that it adds what
    its worker did, as FedBuff's clients send their changes; rules to which workers send signs, and filters,
    see to that themselves. With `stale` each message counts as that says: it becomes
    ``theta + weight(u) (message - base)`` with u the steps since its worker read.

    Source: Wang et al., "FedOne", ICML 2025 (Fed-BDPL); McMahan et al., AISTATS 2017, Algorithm 1; messages
    of an older theta: Nguyen et al., AISTATS 2022, Algorithm 1.

    Args:
        bench: the problem, its data and who attacks.
        optimizer: of the local steps.
        local_steps: E.
        aggregation: how messages are combined; none: by their mean.
        server: from theta and its change, both (M, N), to theta after the step, before its projection.
        stale: what old messages count; none: all alike. Not with a filter, nor where workers send signs.
        rho: weight of the proximal term ``rho/2 |p - theta_read|^2`` in the loss of local steps.
    """

    def __init__(
        self,
        bench: Bench,
        optimizer: Optimizer,
        local_steps: int = 1,
        aggregation: Aggregation | None = None,
        server: Callable[[Tensor, Tensor], Tensor] = torch.add,
        stale: Stale | None = None,
        rho: float = 0.0,
    ) -> None:
        super().__init__(bench.n_workers, lasting=("local",))
        rules = aggregation or Aggregation(outer=Mean())
        oracle = bench.oracle(judge=rules.filter)
        filtering = bench.filtering(rules.filter, oracle)
        self.tables = WorkerTables(oracle, optimizer, bench.n_workers)
        self.received = self.tables.P.clone()
        """What each worker last sent, as the server merged it, (R, M, N)."""
        self._reported_q = self.tables.Q.clone()
        self.state = Average(oracle.start_p.clone())
        self.steps = 0
        self._oracle = oracle
        self._local_steps = local_steps
        self._server = server
        self._stale = stale
        self._rho = rho
        self._project = projector(oracle.on_simplex)
        self._door = Door(bench.attacks, bench.streams, rules.outer)
        self._merge = Merge(rules, filtering)
        # A sign is no model, and a filter compares a message with what its worker had read.
        self._moves_rows = self._door.encoder is None and filtering is None

    def first(self) -> Average:
        """Return the theta that every worker starts from."""
        return self.state

    def counts(self) -> dict[str, int]:
        """Return how many messages were turned away and how often a rule could not be applied, so far."""
        return {"rejected": self._door.rejected, **self._merge.counts()}

    def take_step(self, tickets: list[Ticket]) -> Average:
        """Merge the p of these tickets into theta."""
        theta = self.state.z
        admitted = self._receive(tickets)
        change = self._merge.step(self.received, self.alive, admitted, theta, self.steps)
        self.expelled = self._merge.expelled
        self.steps += 1
        self.state = Average(self._project(self._server(theta, change)))
        return self.state

    def reset(self, worker: int) -> None:
        """Put this worker back to the start: q and the optimizer's memory."""
        self.tables.forget(worker)

    def evaluate(self, workers: list[int], time_s: float = 0.0) -> dict[str, float]:
        """Measure theta at these workers, with the q they held when they last reported.

        See `Oracle.evaluate`.
        """
        theta = self.state.z
        p = theta.expand(len(workers), *theta.shape)
        q = self._reported_q[torch.tensor(workers)]
        return self._oracle.evaluate(workers, p, q, theta, time_s)

    def tuned(self) -> list[Tuned]:
        """Return theta, and the q that workers held when they last reported."""
        workers = kept_workers(len(self._reported_q), self._reported_q.shape[1])
        return of_prompts(self._oracle, workers, None, self._reported_q[torch.tensor(workers)], self.state.z)

    def _receive(self, tickets: list[Ticket]) -> list[Ticket]:
        """Take what these workers send into the server's table; return the tickets that came in."""
        self.need(tickets)
        if not tickets:
            return []
        rows = torch.tensor([ticket.worker for ticket in tickets])
        messages, usable = self._door.take(tickets, self.tables.P[rows], lambda: self.received[:0])
        if usable is not None:
            tickets, rows = [tickets[place] for place in usable], rows[usable]
        if self._stale is not None and tickets:
            messages = self._weighed(self._stale, tickets, messages)
        elif self._moves_rows and tickets:
            read = torch.stack([ticket.snapshot.content.z for ticket in tickets])
            messages = messages + (self.state.z - read)  # exactly as it was sent where theta is the same
        self.received[rows] = messages
        self._reported_q[rows] = self.tables.Q[rows]
        return tickets

    def _weighed(self, stale: Stale, tickets: list[Ticket], messages: Tensor) -> Tensor:
        theta = self.state.z
        base = torch.stack([ticket.snapshot.content.z for ticket in tickets]) if stale.from_read else theta
        weights = [stale.weight(self.steps - ticket.snapshot.version) for ticket in tickets]
        return theta + torch.tensor(weights, dtype=theta.dtype)[:, None, None] * (messages - base)

    def work(self, kind: str, jobs: list[Job]) -> None:
        """Let every worker among these jobs start at its theta and make its local steps."""
        for part in chunks(len(jobs), self.state.z.numel()):
            group = jobs[part]
            self.tables.P[[job.worker for job in group]] = torch.stack([job.content.z for job in group])
            working = [job for job in group if not job.skipped]
            pull = self._proximal(working) if self._rho and working else None
            for e in range(self._local_steps if working else 0):
                self.tables.descend(working, [job.job * self._local_steps + e for job in working], pull)

    def _proximal(self, jobs: list[Job]) -> Pull:
        read = torch.stack([job.content.z for job in jobs])

        def pull(rows: Tensor, P: Tensor, gradient: Tensor) -> None:
            gradient.add_(P - read, alpha=self._rho)

        return pull
