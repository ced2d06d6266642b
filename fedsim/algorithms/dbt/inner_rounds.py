"""The K inner rounds of one polyhedron update: (8) at the workers, then (9) and (10) at the server."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from fedsim.algorithms.dbt.inner_loop import (
    Combine,
    InnerLoop,
    server_round,
    start_loop,
    stepped_rho,
    worker_round,
)
from fedsim.algorithms.dbt.settings import Rules
from fedsim.learning.batching import Job
from fedsim.learning.chunks import chunks
from fedsim.learning.door import Door
from fedsim.learning.tables import projector
from fedsim.messages import Ticket
from fedsim.problems.base import Oracle


class InnerRounds:
    """The inner loop twice: as the server has it, and as the workers have it.

    Both are one and the same where all are honest. A malicious worker follows the loop in private, as an
    honest one would, so that it knows what it would honestly have sent.

    Args:
        oracle: the problem with its data.
        rules: the update rules.
        consensus: whether there is a z.
        door: where the workers' messages come in.
        combine: a rule that takes the place of (9), see `server_round`; none: the paper's.
    """

    def __init__(
        self, oracle: Oracle, rules: Rules, consensus: bool, door: Door, combine: Combine | None = None
    ) -> None:
        self._oracle = oracle
        self._rules = rules
        self._consensus = consensus
        self._door = door
        self._combine = combine
        self._project = projector(oracle.on_simplex)

    def run(
        self,
        workers: Sequence[int],
        held: Tensor,
        own: Tensor,
        z: Tensor,
        realised: Tensor,
        rounds: int,
        asked: Callable[[], Mapping[int, Job]],
    ) -> Generator[InnerLoop, list[Ticket], InnerLoop]:
        """Go through the rounds: yield the loop before each, as the server has it, and return the last one.

        Each is sent the tickets of the participants that reported; the loop goes on with these.

        Args:
            workers: the participants.
            held: the last p of each that the server has, (n, M, N).
            own: the p that each of them has, (n, M, N).
            z: the consensus, (M, N).
            realised: what the lower level sees of the upper one, one row per participant.
            rounds: K.
            asked: gives the jobs of a round, by worker.
        """
        inner, start_p = self._rules.inner, self._oracle.start_p
        server = private = start_loop(workers, held, z, start_p, realised, inner)
        if self._door.forges:
            private = start_loop(workers, own, z, start_p, realised, inner)
        for _ in range(rounds):
            tickets = yield server
            server, private = self._after_round(server, private, tickets, asked())
        return server

    def _after_round(
        self, server: InnerLoop, private: InnerLoop, tickets: Sequence[Ticket], jobs: Mapping[int, Job]
    ) -> tuple[InnerLoop, InnerLoop]:
        """Return the loop after a round, as the server has it and as the workers have it."""
        by_worker = {ticket.worker: ticket for ticket in tickets}
        if len(tickets) < len(server.workers):
            server, private = server.kept(by_worker), private.kept(by_worker)
        own = worked(private, jobs, self._oracle, self._rules, self._project)
        in_order = [by_worker[worker] for worker in server.workers]
        p, usable = self._door.take(in_order, own, lambda: own[:0])
        if usable is not None:
            # Of a worker whose message was turned away the server keeps what it had.
            p = server.p.index_copy(0, torch.tensor(usable, dtype=torch.long), p)
        inner, robust = self._rules.inner, self._rules.robust
        if self._consensus:
            after = server_round(server, p, inner, robust, self._project, self._combine)
        else:
            after = replace(server, p=p)
        if not self._door.forges:
            return after, after
        rho = stepped_rho(private.rho, own, after.z, inner, robust)
        return after, replace(after, p=own, rho=rho)


def worked(
    loop: InnerLoop,
    jobs: Mapping[int, Job],
    oracle: Oracle,
    rules: Rules,
    project: Callable[[Tensor], Tensor],
) -> Tensor:
    """Return p^{k+1} of the participants by (8), (n, M, N); of those that skip the work, p^k."""
    p = loop.p.clone()
    working = [place for place, worker in enumerate(loop.workers) if not jobs[worker].skipped]
    at_work = loop if len(working) == len(p) else loop.kept([loop.workers[place] for place in working])
    for part in chunks(len(working), loop.z.numel()):
        of_part = [jobs[worker] for worker in at_work.workers[part]]
        gradient = oracle.lower(
            [job.worker for job in of_part],
            [job.job for job in of_part],
            at_work.p[part],
            at_work.realised[part],
            [job.start_s for job in of_part],
        )
        p[working[part]] = worker_round(at_work, part, gradient, rules.inner, rules.robust, project)
    return p
