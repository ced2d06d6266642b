"""The learning half of IFed-ICL: vectors are averaged once, coefficients in every step after that."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from fedsim.algorithms.base import Bench
from fedsim.algorithms.ifedicl.base import CALIBRATE, EXTRACT
from fedsim.algorithms.ifedicl.store import Learned
from fedsim.algorithms.ifedicl.workshop import Workshop, alike, as_sent, controls, mean_of
from fedsim.learning.aggregation import Aggregation
from fedsim.learning.aggregators.mean import Mean
from fedsim.learning.batching import BatchingLearner, Job
from fedsim.learning.door import Door
from fedsim.learning.filters.base import Filtering
from fedsim.learning.merge import Merge
from fedsim.learning.optimizers.base import Optimizer
from fedsim.learning.tuned import CONSENSUS, Tuned, of_vectors
from fedsim.messages import Ticket
from fedsim.problems.injection.oracle import InjectionOracle


class Injected(NamedTuple):
    """The content of a snapshot; never changed once made."""

    vectors: Tensor
    """The server's vectors, (L, 2, d); zero before any have come."""
    lanes: tuple[Tensor, ...]
    """The server's coefficients, (L, 2, 2), and those of the control."""


def vectors_in(content: Injected) -> Tensor:
    """Return the vectors that a worker has read."""
    return content.vectors


class _Lane:
    """The server's side of one calibration.

    Args:
        number: which of the coefficients in a snapshot are this one's.
        start: the coefficients at first.
        n_workers: R.
        door: where messages come in.
        merge: how they are combined.
        moves_rows: whether a message is moved by what the coefficients have done since its worker read them.
    """

    def __init__(
        self, number: int, start: Tensor, n_workers: int, door: Door, merge: Merge, moves_rows: bool
    ) -> None:
        self.shared = start
        self.door = door
        self.merge = merge
        self.received = start.expand(n_workers, *start.shape).clone()
        self._number = number
        self._moves_rows = moves_rows

    def step(self, tickets: list[Ticket], messages: Tensor, alive: list[int], steps: int) -> None:
        """Let the coefficients that these workers send come in, (n, L, 2, 2), and combine them."""
        messages, usable = self.door.take(tickets, messages, lambda: self.received[:0], self._read)
        if usable is not None:
            tickets = [tickets[place] for place in usable]
        if tickets and self._moves_rows:
            read = torch.stack([self._read(ticket.snapshot.content) for ticket in tickets])
            messages = messages + (self.shared - read)  # exactly as it was sent where nothing has changed
        self.received[[ticket.worker for ticket in tickets]] = messages
        change = self.merge.step(self.received, alive, tickets, self.shared, steps, self._read)
        self.shared = self.shared + change

    def _read(self, content: Injected) -> Tensor:
        return content.lanes[self._number]


class Calibrator(BatchingLearner):
    """A worker's first job takes its vectors; every other one makes E local steps from what it read.

    Vectors: the server's are ``A(rows)``, with the last rows of all workers that have sent some and take
    part, in the order of their numbers, and A from the aggregation, or the mean. They are combined anew when
    further ones come in, as those of a late worker do. A filter does not judge them: it compares messages
    that come again and again.

    Coefficients: the server's step is ``c <- c + outer_rate (A(rows, c) - c)``, with the rows of the workers
    of this step. A message that was made from older coefficients is moved by what they have done since, as
    in Fed-BDPL.

    Tickets are taken in the order of worker numbers, so that nothing depends on who was first.

    Source: Li et al., "IFed-ICL", arXiv 2511.06757, (3), (6), (7).

    Args:
        bench: the problem, its data and who attacks.
        optimizer: of the local steps.
        local_steps: E.
        start: lambda and beta at first.
        control: whether the same is done with vectors of zero.
        clients: whether each worker's own coefficients are measured, before they are averaged.
        aggregation: how messages are combined; none: by their mean.
    """

    def __init__(
        self,
        bench: Bench,
        optimizer: Optimizer,
        local_steps: int,
        start: tuple[float, float],
        control: bool,
        clients: bool,
        aggregation: Aggregation | None = None,
    ) -> None:
        super().__init__(bench.n_workers, lasting=(EXTRACT, CALIBRATE))
        oracle = bench.prepared()
        assert isinstance(oracle, InjectionOracle)
        rules = aggregation or Aggregation(outer=Mean())
        assert rules.outer is not None
        self._outer = rules.outer
        self._oracle = oracle
        self._clients = clients
        self.workshop = Workshop(oracle, optimizer, local_steps, start, bench.n_workers, control)
        self.received = torch.zeros_like(self.workshop.vectors)
        """The vectors that each worker last sent, as the server has them, (R, L, 2, d)."""
        self._reported = self.workshop.lanes[0].own.clone()
        self._have_sent: set[int] = set()
        self._vector_door = Door(bench.attacks, bench.streams)
        self._vector_merge = Merge(rules)

        def filtering() -> Filtering | None:
            judge = rules.filter
            return None if judge is None else judge.open(bench.n_workers, None, 0)

        self._lanes = [
            _Lane(
                number,
                self.workshop.start,
                bench.n_workers,
                Door(bench.attacks, bench.streams),
                Merge(rules, filtering()),
                rules.filter is None,
            )
            for number in range(1 + control)
        ]
        self.steps = 0
        self.state = self._content(torch.zeros_like(self.received[0]))

    def first(self) -> Injected:
        """Return what every worker starts from: no vectors, and the coefficients at the start."""
        return self.state

    def counts(self) -> dict[str, int]:
        """Return how many messages were turned away and how often a rule could not be applied, so far.

        Those of the control do not count.
        """
        lane = self._lanes[0]
        counts = {"rejected": self._vector_door.rejected + lane.door.rejected, **lane.merge.counts()}
        counts["fallbacks"] += self._vector_merge.counts()["fallbacks"]
        return counts

    def take_step(self, tickets: list[Ticket]) -> Injected:
        """Combine the vectors, and the coefficients, of these tickets."""
        self.need(tickets)
        in_order = sorted(tickets, key=lambda ticket: ticket.worker)
        vectors = self._combined([ticket for ticket in in_order if ticket.kind == EXTRACT])
        calibrated = [ticket for ticket in in_order if ticket.kind == CALIBRATE]
        if calibrated:
            rows = [ticket.worker for ticket in calibrated]
            self._reported[rows] = self.workshop.lanes[0].own[rows]
            for lane, held in zip(self._lanes, self.workshop.lanes, strict=True):
                lane.step(calibrated, held.own[rows], list(self.alive), self.steps)
            self.expelled = self._lanes[0].merge.expelled
        self.steps += 1
        self.state = self._content(vectors)
        return self.state

    def reset(self, worker: int) -> None:
        """Put this worker back to the start; the server keeps what it has sent."""
        self.workshop.forget(worker)

    def evaluate(self, workers: list[int], time_s: float = 0.0) -> dict[str, float]:
        """Measure the server's vectors and coefficients, and what to compare them with.

        ``accuracy_clients`` and ``loss_clients``: the mean over these workers, each with the coefficients
        that it last reported, before they were averaged, and with the server's vectors.
        """
        vectors, lanes = self.state
        found = self._oracle.evaluate(vectors, lanes[0])
        if self._clients:
            own = []
            for group in alike(workers, [self._reported]):
                own += [self._oracle.evaluate(vectors, self._reported[group[0]])] * len(group)
            found |= {f"{key}_clients": mean_of(own)[key] for key in ("loss", "accuracy")}
        return found | controls(self._oracle, lanes[1] if len(lanes) > 1 else None)

    def tuned(self) -> list[Tuned]:
        """Return the server's vectors and coefficients, layer by layer."""
        return of_vectors(CONSENSUS, self.state.vectors, self.state.lanes[0])

    def learned(self) -> str:
        """Return what a task store keeps."""
        return Learned.of(self._oracle.problem, self.state.vectors, self.state.lanes[0]).text()

    def work(self, kind: str, jobs: list[Job]) -> None:
        """Take the vectors of these workers, or let them make their local steps from what they read."""
        if kind == EXTRACT:
            self.workshop.extract(jobs)
            return
        rows = [job.worker for job in jobs]
        for number, lane in enumerate(self.workshop.lanes):
            lane.own[rows] = torch.stack([job.content.lanes[number] for job in jobs])
        self.workshop.calibrate(jobs, torch.stack([job.content.vectors for job in jobs]))

    def _content(self, vectors: Tensor) -> Injected:
        return Injected(vectors, tuple(lane.shared for lane in self._lanes))

    def _combined(self, tickets: list[Ticket]) -> Tensor:
        """Let the vectors of these tickets come in; return those of the server."""
        before = self.state.vectors
        if not tickets:
            return before
        rows = [ticket.worker for ticket in tickets]

        def others() -> Tensor:
            staying = (worker for worker in self.alive if worker in self._have_sent and worker not in rows)
            return self.received[self._vector_door.honest(list(staying))]

        messages, usable = self._vector_door.take(tickets, self.workshop.vectors[rows], others, vectors_in)
        rows = rows if usable is None else [rows[place] for place in usable]
        self.received[rows] = as_sent(messages)
        self._have_sent.update(rows)
        there = [worker for worker in self.alive if worker in self._have_sent]
        if not there:
            return before
        change = self._vector_merge.towards(self._outer, 1.0, self.received[there].flatten(1), before)
        return as_sent(before + change)
