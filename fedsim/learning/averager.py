"""The learning half of federated averaging: clients start at the server's theta, and it averages them."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from fedsim.errors import InputError
from fedsim.learning.aggregators.mean import Mean
from fedsim.learning.chunks import chunks
from fedsim.learning.door import Door
from fedsim.learning.filters.base import Filtering
from fedsim.learning.intake import Intake
from fedsim.learning.merge import Merge
from fedsim.learning.oracle import Oracle
from fedsim.learning.pending import Pending, PendingJob
from fedsim.learning.settings import AggregationSettings, LearningSettings
from fedsim.learning.workers import WorkerTables, projector
from fedsim.messages import JobKind, Snapshot, Ticket


class Average(NamedTuple):
    """The content of a snapshot; never changed once made."""

    z: Tensor
    """theta, the server's word distributions, (M, N)."""


class Averager:
    """Fed-BDPL: a job is E local steps from the theta that the client read; a step merges what was sent.

    Step e of job j draws at address ``E j + e``. p starts at theta in every job; the optimizer's memory stays
    with the client, and so does q where demonstrations are chosen, which FedOne does not do: it is private,
    and stepped along with p. ``problem.use_demonstrations = false`` is the paper's form. A job that a worker
    skips makes no step: what it sends is theta as it read it.

    The server's step is ``theta <- theta + outer_rate (A(rows, theta) - theta)``, projected on the simplex,
    with A from `learning.aggregation`, or the mean: all workers hold equally many queries. Rows are what the
    clients of this step sent. A message that was made from an older theta is moved by what theta has done
    since, so that it adds what its client did, as FedBuff's clients send their changes; rules to which
    workers send signs, and filters, see to that themselves. Results are computed when somebody needs them, as
    `Tuner` does.

    Source: Wang et al., "FedOne", ICML 2025 (Fed-BDPL); McMahan et al., AISTATS 2017, Algorithm 1; messages
    of an older theta: Nguyen et al., AISTATS 2022, Algorithm 1.

    Args:
        oracle: the problem with its data.
        settings: the update rules: the optimizer and the aggregation.
        n_workers: R.
        local_steps: E.
        door: where messages come in; none: one for honest workers.
        filtering: what judges each arriving message; none: nothing does.

    Raises:
        InputError: there are robust terms, which have no place here.
    """

    def __init__(
        self,
        oracle: Oracle,
        settings: LearningSettings,
        n_workers: int,
        local_steps: int = 1,
        door: Door | None = None,
        filtering: Filtering | None = None,
    ) -> None:
        if settings.robust is not None:
            raise InputError("learning.robust: averaging has no such terms, expected learning.aggregation")
        self.tables = WorkerTables(oracle, settings, n_workers)
        self.received = self.tables.P.clone()
        """What each worker last sent, as the server merged it, (R, M, N)."""
        self._reported_q = self.tables.Q.clone()
        self.state = Average(oracle.start_p.clone())
        self.steps = 0
        self.alive = dict.fromkeys(range(n_workers))
        self.questions = oracle.questions
        self._oracle = oracle
        self._local_steps = local_steps
        self._pending = Pending()
        self._project = projector(oracle.on_simplex)
        self._intake = Intake(door or Door(), None, oracle.on_simplex)
        self._merge = Merge(_rules(settings.aggregation), filtering)
        # A sign is no model, and a filter compares a message with what its worker had read.
        self._moves_rows = self._intake.door.encoder is None and filtering is None

    def hand_out(
        self,
        worker: int,
        job: int,
        kind: JobKind,
        snapshot: Snapshot,
        start_s: float = 0.0,
        skipped: bool = False,
    ) -> None:
        """A job has been handed out."""
        self._pending.add(kind, PendingJob(worker, job, snapshot.content, start_s, skipped))

    def counts(self) -> dict[str, int]:
        """Return how many messages were turned away and how often a rule could not be applied, so far."""
        return {"rejected": self._intake.door.rejected, **self._merge.counts()}

    def take_step(self, tickets: list[Ticket]) -> Average:
        """Merge the p of these tickets into theta."""
        theta = self.state.z
        admitted = self._receive(tickets)
        towards = self._merge.step(self.received, list(self.alive), admitted, theta, self.steps)
        self.steps += 1
        self.state = Average(self._project(theta + towards))
        return self.state

    def evict(self, worker: int) -> None:
        """Go on without this worker."""
        del self.alive[worker]
        self._pending.set_aside(worker)

    def admit(self, worker: int) -> None:
        """Go on with this worker, who has done the job that nobody heard of."""
        self.alive = dict.fromkeys(sorted([*self.alive, worker]))
        self._work(self._pending.aside(worker))

    def forget(self, worker: int) -> None:
        """Put this worker back to the start: q and the optimizer's memory."""
        self._pending.drop(worker)
        self.tables.forget(worker)

    def evaluate(self, workers: list[int], time_s: float = 0.0) -> dict[str, float]:
        """Measure theta at these workers, with the q they held when they last reported.

        See `Oracle.evaluate`. The gap to the consensus and the cuts of the bilevel form are 0.
        """
        theta = self.state.z
        p = theta.expand(len(workers), *theta.shape)
        q = self._reported_q[torch.tensor(workers)]
        measured = self._oracle.evaluate(workers, p, q, theta, time_s)
        return {**measured, "consensus_gap": 0.0, "cuts": 0}

    def _receive(self, tickets: list[Ticket]) -> list[Ticket]:
        """Take what these clients send into the server's table; return the tickets that came in."""
        if any(self._pending.holds(ticket.worker, JobKind.OUTER) for ticket in tickets):
            self._work(self._pending.take(JobKind.OUTER))
        if not tickets:
            return []
        rows = torch.tensor([ticket.worker for ticket in tickets])
        messages, usable = self._intake.take(tickets, self.tables.P[rows], lambda: self.received[:0])
        if usable is not None:
            tickets, rows = [tickets[place] for place in usable], rows[usable]
        if self._moves_rows and tickets:
            read = torch.stack([ticket.snapshot.content.z for ticket in tickets])
            messages = messages + (self.state.z - read)  # exactly as it was sent where theta is the same
        self.received[rows] = messages
        self._reported_q[rows] = self.tables.Q[rows]
        return tickets

    def _work(self, jobs: list[PendingJob]) -> None:
        """Evaluate jobs: every client among them starts at its theta and makes its local steps."""
        for part in chunks(len(jobs), self.state.z.numel()):
            group = jobs[part]
            self.tables.P[[job.worker for job in group]] = torch.stack([job.content.z for job in group])
            working = [job for job in group if not job.skipped]
            for e in range(self._local_steps if working else 0):
                self.tables.descend(working, [job.job * self._local_steps + e for job in working])


def _rules(settings: AggregationSettings | None) -> AggregationSettings:
    """Return the rules of averaging: the mean where none is named, over the messages of the step alone."""
    found = settings or AggregationSettings(outer=Mean())
    return found.model_copy(update={"outer": found.outer or Mean(), "rows": "active"})
