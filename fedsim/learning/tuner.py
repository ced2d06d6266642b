"""The learning half of AsynDBT, its synchronous and its centralised form."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from fedsim.learning.chunks import chunks
from fedsim.learning.door import Door
from fedsim.learning.filters.base import Filtering
from fedsim.learning.inner_loop import InnerLoop
from fedsim.learning.intake import Intake
from fedsim.learning.lagrangian import Multipliers, ascend, joined, without_idle, z_gradient
from fedsim.learning.merge import Merge
from fedsim.learning.oracle import Oracle
from fedsim.learning.pending import Pending, PendingJob
from fedsim.learning.polyhedron import Polyhedron, extended, new_cuts
from fedsim.learning.robust import outer_pull
from fedsim.learning.rounds import Rounds
from fedsim.learning.settings import LearningSettings
from fedsim.learning.workers import WorkerTables, projector
from fedsim.messages import JobKind, Snapshot, Ticket

DIGITS_LOST = 1e6
"""A sum kept up to date by differences this large would be wrong in its tenth digit for good."""


class ServerState(NamedTuple):
    """The content of a snapshot; never changed once made."""

    z: Tensor
    """(M, N)"""
    multipliers: Multipliers
    polyhedron: Polyhedron


def alone(settings: LearningSettings) -> LearningSettings:
    """Return the settings without what ties p to z: one machine holds everything and has no z."""
    inner = settings.inner.model_copy(update={"mu": 0.0})
    if inner.start == "consensus":
        inner = inner.model_copy(update={"start": "current"})
    return settings.model_copy(update={"inner": inner, "robust": None, "aggregation": None})


class Tuner:
    """Bilevel prompt tuning: workers step p and q, the server z and lambda, polyhedron updates the cuts.

    Results are computed when somebody needs them: the first ticket whose job has not been evaluated makes all
    jobs handed out and not yet evaluated go through in one batch, those still in flight included.

    Source: Ma et al., AsynDBT, Scientific Reports 16:9381 (2026), (4)-(33) and Algorithm 1. With
    `consensus` off it is cenDBT: one machine, no z, no rho, and no messages.

    Args:
        oracle: the problem with its data.
        settings: the update rules.
        n_workers: R.
        consensus: whether there is a z to agree on.
        door: where messages come in; none: one for honest workers.
        filtering: what judges each arriving message; none: nothing does.
    """

    def __init__(
        self,
        oracle: Oracle,
        settings: LearningSettings,
        n_workers: int,
        consensus: bool = True,
        door: Door | None = None,
        filtering: Filtering | None = None,
    ) -> None:
        self.settings = settings = settings if consensus else alone(settings)
        self.consensus = consensus
        self.tables = WorkerTables(oracle, settings, n_workers)
        self.received = self.tables.P.clone()
        """The last message of each worker that the server holds, (R, M, N): its p, unless it lies."""
        m_words, n_vocab = oracle.start_p.shape
        nothing = torch.zeros(m_words, 0, dtype=torch.float64)
        polyhedron = Polyhedron.empty(n_workers, m_words, n_vocab, settings.polyhedron.norm)
        self.state = ServerState(oracle.start_p.clone(), Multipliers(nothing, nothing, nothing), polyhedron)
        self.steps = 0
        self.cut_updates = 0
        self.alive = dict.fromkeys(range(n_workers))
        self.questions = oracle.questions
        self._oracle = oracle
        self._pending = Pending()
        self._project = projector(oracle.on_simplex)
        self._intake = Intake(door if door and consensus else Door(), settings.robust, oracle.on_simplex)
        self._merge = Merge(settings.aggregation, filtering)
        self._rounds = Rounds(oracle, settings, consensus, self._intake, self._merge)
        # A rule of its own takes the place of the psi term.
        pulled = settings.robust is not None and settings.robust.outer == "R1" and not self._merge.outer
        self._pull = settings.robust if pulled else None
        # What is measured must not depend on which jobs in flight happen to have been evaluated already.
        self._reported_q = self.tables.Q.clone()
        encoded = self._intake.door.encoder is not None
        self._reported_p = self.tables.P.clone() if encoded else self.received

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

    def take_step(self, tickets: list[Ticket]) -> ServerState:
        """Take one server step: z by (21), then lambda by (22), with the p of these tickets."""
        admitted = self._receive(tickets)
        z, multipliers, polyhedron = self.state
        if self.consensus and (polyhedron.columns or self._pull or self._merge.outer):
            z = self._project(self._stepped_z(admitted))
        if polyhedron.columns:
            ascent = self.settings.multipliers
            c1 = ascent.regulariser(self.steps)
            multipliers = ascend(polyhedron, multipliers, z, ascent.rate, c1)
        self.steps += 1
        self.state = ServerState(z, multipliers, polyhedron)
        return self.state

    def _stepped_z(self, admitted: list[Ticket]) -> Tensor:
        """Return z after (21), before its projection; the tickets are those whose messages came in."""
        z, multipliers, polyhedron = self.state
        gradient = z_gradient(polyhedron, multipliers.now)
        if self._pull is not None:
            # Over all workers, as printed: this term alone makes a robust step cost R and not S.
            gradient = gradient + outer_pull(z, self._held(), self._pull.psi, self._pull.norm)
        stepped = torch.sub(z, gradient, alpha=self.settings.z_rate)
        if self._merge.outer:
            stepped += self._merge.step(self.received, list(self.alive), admitted, z, self.steps)
        return stepped

    def begin_cut(self, drained: list[Ticket], participants: list[int]) -> InnerLoop:
        """Start a polyhedron update with these workers, after taking what was still under way."""
        self._receive(drained)
        rows = torch.tensor(participants, dtype=torch.long)  # nobody may be left
        rule = self.settings.inner.realisation
        realised = self._oracle.realise(participants, self.tables.Q[rows], rule, self.cut_updates)
        held, own = self.received[rows], self.tables.P[rows]
        return self._rounds.begin(participants, held, own, self.state.z, realised)

    def cut_round(self, tickets: list[Ticket]) -> InnerLoop:
        """Finish an inner round: (8) at the workers that answered, then (9) and (10)."""
        return self._rounds.finish(tickets, {job.worker: job for job in self._pending.take(JobKind.INNER)})

    def end_cut(self) -> ServerState:
        """Drop idle cuts and add the new ones, (28)-(33), from phi = the last inner round."""
        loop = self._rounds.end()
        self.cut_updates += 1
        z, multipliers, polyhedron = self.state
        settings = self.settings.polyhedron
        polyhedron, multipliers = without_idle(polyhedron, multipliers, settings)
        rows = torch.tensor(loop.workers, dtype=torch.long)
        p = self.received[rows]
        new = new_cuts(p, z, loop.p, loop.z, settings, self.consensus)
        if bool(new.alive.any()):
            polyhedron, multipliers = extended(polyhedron, new, rows), joined(multipliers, new, p)
        self.state = ServerState(z, multipliers, polyhedron)
        return self.state

    def evict(self, worker: int) -> None:
        """Go on without this worker: the cuts keep the last p it sent."""
        del self.alive[worker]
        self._pending.set_aside(worker)

    def admit(self, worker: int) -> None:
        """Go on with this worker, who has done the job that nobody heard of."""
        self.alive = dict.fromkeys(sorted([*self.alive, worker]))
        self.tables.step(self._pending.aside(worker))

    def forget(self, worker: int) -> None:
        """Put this worker back to the start; what it has sent stays, and so do cuts made of that."""
        self._pending.drop(worker)
        self.tables.forget(worker)

    def evaluate(self, workers: list[int], time_s: float = 0.0) -> dict[str, float]:
        """Measure these workers as they were when they last reported; see `Oracle.evaluate`."""
        rows = torch.tensor(workers)
        p = self._reported_p[rows]
        measured = self._oracle.evaluate(workers, p, self._reported_q[rows], self.state.z, time_s)
        spread = (p - self.state.z).abs().sum((1, 2)) / self.state.z.shape[0]
        measured["consensus_gap"] = float(spread.mean()) if self.consensus else 0.0
        measured["cuts"] = self.state.polyhedron.count()
        return measured

    def _receive(self, tickets: list[Ticket]) -> list[Ticket]:
        """Take the messages of finished outer jobs into the server's table; return whose came in."""
        if any(self._pending.holds(ticket.worker, JobKind.OUTER) for ticket in tickets):
            self.tables.step(self._pending.take(JobKind.OUTER))
        admitted: list[Ticket] = []
        # Liars of one step write their messages together.
        whole = [slice(0, len(tickets))] if self._intake.door.forges and tickets else None
        for part in whole or chunks(len(tickets), self.state.z.numel()):
            group = tickets[part]
            own = self.tables.P[_rows(group)].view(len(group), *self.state.z.shape)
            messages, usable = self._intake.take(group, own, lambda: self._held_by_others(tickets))
            if usable is not None:
                group = [group[place] for place in usable]
            if group:
                self._keep(_rows(group), messages)
                admitted += group
        return admitted

    def _keep(self, rows: int | Tensor, messages: Tensor) -> None:
        """Put messages, (n, M, N), in the place of those that the server holds of these workers."""
        held = self.received[rows]
        messages = messages.view_as(held)
        multipliers, polyhedron = self.state.multipliers, self.state.polyhedron
        change = messages - held if polyhedron.columns else None
        self.received[rows] = messages
        self._reported_q[rows] = self.tables.Q[rows]
        if self._reported_p is not self.received:
            self._reported_p[rows] = self.tables.P[rows]
        if change is None:
            return
        if self._intake.may_be_huge and bool((change.abs() > DIGITS_LOST).any()):
            weighed = polyhedron.along(torch.arange(len(self.received)), self.received)
        else:
            weighed = multipliers.weighed + polyhedron.along(rows, change)
        self.state = self.state._replace(multipliers=multipliers._replace(weighed=weighed))

    def _held(self) -> Tensor:
        """Return the last messages of the workers that still take part."""
        return self.received if len(self.alive) == len(self.received) else self.received[list(self.alive)]

    def _held_by_others(self, tickets: list[Ticket]) -> Tensor:
        """Return the honest messages that are combined with those of these tickets, beside theirs."""
        if self._merge.outer and not self._merge.all_rows:
            return self.received[:0]
        active = {ticket.worker for ticket in tickets}
        return self.received[[v for v in self._intake.door.honest(list(self.alive)) if v not in active]]


def _rows(tickets: list[Ticket]) -> int | Tensor:
    """Return the workers of these tickets as an index."""
    # A number is a third faster than a table of one number, and S = 1 is common.
    workers = [ticket.worker for ticket in tickets]
    return workers[0] if len(workers) == 1 else torch.tensor(workers)
