"""The inner loop while steps go on: in each round some workers do (8), and the rows of the others rest."""

from __future__ import annotations

from collections.abc import Callable, Collection, Generator, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from torch import Tensor

from fedsim.algorithms.dbt.inner_loop import Combine, InnerLoop, start_loop, stepped_rho, stepped_z
from fedsim.algorithms.dbt.inner_rounds import worked
from fedsim.algorithms.dbt.settings import Rules
from fedsim.learning.batching import Job
from fedsim.learning.door import Door
from fedsim.learning.tables import projector
from fedsim.messages import Ticket
from fedsim.problems.base import Oracle


class RoundContent(NamedTuple):
    """What the workers of a round read."""

    z: Tensor
    """(M, N)"""


class Phi(NamedTuple):
    """An estimate of the lower solution, by n workers that had a part in it."""

    workers: tuple[int, ...]
    p: Tensor
    """(n, M, N)"""
    z: Tensor
    """(M, N)"""


@dataclass(frozen=True)
class LoopRow:
    """A worker in the loop."""

    p: Tensor
    """As the server has it, (M, N)."""
    rho: Tensor
    """Likewise."""
    own_p: Tensor
    """As the worker has it: another one if its messages are forged."""
    own_rho: Tensor
    realised: Tensor
    moved: bool = False
    """Whether it has reported."""


class RollingRounds:
    """The inner loop of one polyhedron update after the other, each while steps go on.

    A worker joins the loop with its first job there, from the p that it then has. A round takes (8) of those
    who report, then (9) with the rows of all: of who has not joined, what the server holds. (10) is done by
    each worker, and by the server for it, when it reads z for its next round. Where all workers report in
    each round this is the paper's loop, bit for bit.

    Source: ours; as in Zhang and Kwok, "Asynchronous distributed ADMM for consensus optimization", ICML 2014,
    the server goes on with the newest of each worker, and a worker's dual step comes when it gets z.

    Args:
        oracle: the problem with its data.
        rules: the update rules.
        door: where the workers' messages come in.
        received: gives the last p of every worker that the server holds, (R, M, N).
        alive: who takes part; changes likewise.
        combine: a rule that takes the place of (9), see `stepped_z`; none: the paper's.
    """

    def __init__(
        self,
        oracle: Oracle,
        rules: Rules,
        door: Door,
        received: Callable[[], Tensor],
        alive: Callable[[], Collection[int]],
        combine: Combine | None = None,
    ) -> None:
        self._oracle = oracle
        self._rules = rules
        self._door = door
        self._received = received
        self._alive = alive
        self._combine = combine
        self._project = projector(oracle.on_simplex)
        self._rows: dict[int, LoopRow] = {}
        self._jobs: dict[int, Job] = {}  # of the present round
        self._z = oracle.start_p  # as the loop began

    def hand_out(self, job: Job, own: Tensor, realise: Callable[[], Tensor]) -> None:
        """A job of the present round has been handed out; with its first one of the loop a worker joins that.

        Args:
            job: the job.
            own: the p that the worker has, (M, N).
            realise: gives what its lower level sees of the upper one, a row.
        """
        # Its result counts even if the worker is lost in the job after it: it is kept here.
        worker = job.worker
        self._jobs[worker] = job
        if worker in self._rows:
            return
        held, realised = self._received()[worker].clone(), realise()
        if not self._door.forges:  # all honest: both loops are one
            own = held
        p, own_p = self._start(held[None]).p[0], self._start(own[None]).p[0]
        nothing = torch.zeros_like(p)
        self._rows[worker] = LoopRow(p, nothing, own_p, nothing, realised)

    def run(
        self, workers: Sequence[int], z: Tensor, rounds: int
    ) -> Generator[RoundContent, list[Ticket], Phi]:
        """Go through the rounds; yield what the workers of each read.

        Args:
            workers: who may be asked.
            z: the consensus as the loop begins, (M, N).
            rounds: K.
        """
        self._rows, self._z = {}, z
        z = self._start(z[None]).z
        for _ in range(rounds):
            self._jobs = {}
            tickets = yield RoundContent(z)
            z = self._after_round(workers, z, tickets)
        alive = self._alive()
        found = [worker for worker in sorted(self._rows) if worker in alive and self._rows[worker].moved]
        p = torch.stack([self._rows[worker].p for worker in found]) if found else z[None][:0]
        return Phi(tuple(found), p, z)

    def _start(self, p: Tensor) -> InnerLoop:
        """Return the start of the loop for workers that have these p, (n, M, N)."""
        return start_loop((), p, self._z, self._oracle.start_p, p, self._rules.inner)

    def _after_round(self, workers: Sequence[int], z: Tensor, tickets: Sequence[Ticket]) -> Tensor:
        """Take a round's reports into the rows, and return the z after it."""
        in_order = sorted(tickets, key=lambda ticket: ticket.worker)
        reporters = tuple(ticket.worker for ticket in in_order)
        rows = [self._read(self._rows[worker], z) for worker in reporters]
        realised = torch.stack([row.realised for row in rows])
        own_p, own_rho = torch.stack([row.own_p for row in rows]), torch.stack([row.own_rho for row in rows])
        private = InnerLoop(reporters, own_p, z, own_rho, realised)
        own = worked(private, self._jobs, self._oracle, self._rules, self._project)
        p, usable = self._door.take(in_order, own, lambda: self._others(workers, reporters))
        # Of a worker whose message was turned away the server keeps what it had.
        places = range(len(rows)) if usable is None else usable
        received = dict(zip(places, p, strict=True))
        for place, (worker, row) in enumerate(zip(reporters, rows, strict=True)):
            message = received.get(place, row.p)
            self._rows[worker] = replace(row, p=message, own_p=own[place], moved=True)
        alive = self._alive()
        present = [worker for worker in workers if worker in alive]
        if not present:
            return z
        inner, robust = self._rules.inner, self._rules.robust
        p_of_all, rho_of_all = self._held(present)
        return stepped_z(z, p_of_all, rho_of_all, inner, robust, self._project, self._combine)

    def _read(self, row: LoopRow, z: Tensor) -> LoopRow:
        """Return a worker's row after (10), which it does with the z that it reads."""
        if not row.moved:
            return row
        inner, robust = self._rules.inner, self._rules.robust
        rho = stepped_rho(row.rho, row.p, z, inner, robust)
        return replace(row, rho=rho, own_rho=stepped_rho(row.own_rho, row.own_p, z, inner, robust))

    def _held(self, workers: Sequence[int]) -> tuple[Tensor, Tensor]:
        """Return p and rho of these workers as the server has them, (n, M, N) each."""
        p = self._start(self._received()[list(workers)]).p
        rho = torch.zeros_like(p)
        for place, worker in enumerate(workers):
            row = self._rows.get(worker)
            if row is not None:
                p[place], rho[place] = row.p, row.rho
        return p, rho

    def _others(self, workers: Sequence[int], reporters: Collection[int]) -> Tensor:
        """Return the honest rows that are combined with those of the reporters."""
        alive = self._alive()
        return self._held(
            [worker for worker in self._door.honest(workers) if worker in alive and worker not in reporters]
        )[0]
