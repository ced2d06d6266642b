"""The learning half of Fed-ICL: clients answer, and the server counts."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from fedsim.algorithms.base import Bench
from fedsim.learning.aggregation import Aggregation
from fedsim.learning.batching import BatchingLearner, Job
from fedsim.learning.door import Door
from fedsim.learning.merge import Merge
from fedsim.learning.tables import projector
from fedsim.learning.tuned import CONSENSUS, Tuned, kept_workers, of_distributions, worker
from fedsim.messages import Ticket
from fedsim.problems.questions.base import Answered, Answerer, Shown


class Ballot(NamedTuple):
    """The content of a snapshot; never changed once made."""

    z: Tensor
    """The table of votes, (M, U)."""
    y: Tensor
    """The answers that workers read, (M, U)."""


class Voter(BatchingLearner):
    """A job is a client's round, a server step puts the last answers of all clients together.

    A message that the door turns away leaves the last one of that client in place. A client keeps nothing
    from job to job, so nothing is lost with its state. A job that a worker skips sends the answers back as
    it read them.

    Source: Wang et al., ICML 2025 (arXiv 2506.07440), Algorithms 1 and 2; see `Fedicl`.

    Args:
        bench: the problem, its data and who attacks.
        shows: what stands before a question.
        rules: how answers are put together.
    """

    def __init__(self, bench: Bench, shows: Shown, rules: Aggregation) -> None:
        super().__init__(bench.n_workers, lasting=())
        self._oracle: Answerer = bench.prepared()
        oracle = self._oracle
        self._shows = shows
        self._project = projector(oracle.on_simplex)
        self._door = Door(bench.attacks, bench.streams, projects=oracle.on_simplex)
        self._merge = Merge(rules, all_rows=True)
        self.steps = 0
        self.state = Ballot(oracle.start.clone(), oracle.settled(oracle.start, 0))
        self.received = oracle.start.expand(bench.n_workers, *oracle.start.shape).clone()
        """What each worker last sent, as it came in, (R, M, U)."""
        self._heard: set[int] = set()
        """Whose answers came in at least once."""
        self._found: dict[int, Answered] = {}
        self._reported: dict[int, Answered] = {}
        """What each worker had found when it last reported: what is measured must not depend on which jobs in
        flight happen to have been evaluated already."""
        self._asked = 0

    def first(self) -> Ballot:
        """Return the answers that every worker starts from."""
        return self.state

    def counts(self) -> dict[str, int]:
        """Return the messages turned away, the steps with too few for the rule, and the calls really made."""
        fallbacks = self._merge.counts()["fallbacks"]
        return {"rejected": self._door.rejected, "fallbacks": fallbacks, "asked": self._asked}

    def take_step(self, tickets: list[Ticket]) -> Ballot:
        """Put the answers of these tickets to those of the others; return the answers of the majority."""
        admitted = self._receive(tickets)
        z, heard = self.state.z, [worker for worker in self.alive if worker in self._heard]
        z = self._project(z + self._merge.step(self.received, heard, admitted, z, self.steps))
        self.steps += 1
        self.state = Ballot(z, self._oracle.settled(z, self.steps))
        return self.state

    def work(self, kind: str, jobs: list[Job]) -> None:
        """Let every worker among these jobs relabel its data and answer the questions."""
        working = [job for job in jobs if not job.skipped]
        found = self._oracle.answer(
            [job.worker for job in working],
            [job.content.y for job in working],
            [job.start_s for job in working],
            self._shows,
        )
        self._found |= {job.worker: answered for job, answered in zip(working, found, strict=True)}
        for job in jobs:
            if job.skipped:
                self._found[job.worker] = Answered(job.content.y, torch.empty(0), math.nan, 0)

    def reset(self, worker: int) -> None:
        """A worker keeps nothing that it could lose."""

    def evaluate(self, workers: list[int], time_s: float = 0.0) -> dict[str, float]:
        """Measure the server's answers, and what these workers last reported; see `Answerer.evaluate`."""
        reported = [self._reported[worker] for worker in workers if worker in self._reported]
        return self._oracle.evaluate(self.state.z, self.state.y, reported)

    def tuned(self) -> list[Tuned]:
        """Return the server's answers, and those that each client last sent, with their shares of votes."""
        if not self._oracle.on_simplex:
            return []
        found = of_distributions(CONSENSUS, "answer", self.state.z, self.state.y.argmax(-1))
        for number in kept_workers(len(self.received), len(self.state.z)):
            if number in self._heard:
                found += of_distributions(worker(number), "answer", self.received[number])
        return found

    def _receive(self, tickets: list[Ticket]) -> list[Ticket]:
        """Take what these workers send into the server's table; return the tickets that came in."""
        self.need(tickets)
        if not tickets:
            return []
        workers = [ticket.worker for ticket in tickets]
        self._reported |= {worker: self._found[worker] for worker in workers}
        self._asked += sum(self._reported[worker].asked for worker in workers)
        own = torch.stack([self._reported[worker].answers for worker in workers])
        messages, usable = self._door.take(tickets, own, lambda: self._held_by_others(workers))
        if usable is not None:
            tickets = [tickets[place] for place in usable]
        for ticket, message in zip(tickets, messages, strict=True):
            self.received[ticket.worker] = message
            self._heard.add(ticket.worker)
        return tickets

    def _held_by_others(self, workers: list[int]) -> Tensor:
        """Return the honest answers that are counted beside those of these workers."""
        others = [worker for worker in self._door.honest(list(self.alive)) if worker in self._heard]
        return self.received[[worker for worker in others if worker not in workers]]
