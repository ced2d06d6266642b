"""The learning half of AsynDBT, its synchronous and its centralised form."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from fedsim.algorithms.base import Bench
from fedsim.algorithms.dbt.constraint import Constraint
from fedsim.algorithms.dbt.inner_loop import InnerLoop
from fedsim.algorithms.dbt.inner_rounds import InnerRounds
from fedsim.algorithms.dbt.lagrangian import Multipliers, ascend, joined, without_idle, z_gradient
from fedsim.algorithms.dbt.polyhedron import Polyhedron, extended, new_cuts
from fedsim.algorithms.dbt.reports import Reports
from fedsim.algorithms.dbt.robust import outer_pull, worker_pull
from fedsim.algorithms.dbt.rolling_rounds import Phi, RollingRounds
from fedsim.algorithms.dbt.settings import RobustSettings, Rules
from fedsim.algorithms.dbt.sign_sum import MANY, SignSum
from fedsim.learning.aggregation import Aggregation
from fedsim.learning.batching import BatchingLearner, Job
from fedsim.learning.chunks import chunks
from fedsim.learning.door import Door
from fedsim.learning.merge import Merge
from fedsim.learning.tables import WorkerTables, projector
from fedsim.learning.tuned import Tuned, kept_workers, of_prompts
from fedsim.messages import Ticket


class ServerState(NamedTuple):
    """The content of a snapshot; never changed once made."""

    z: Tensor
    """(M, N)"""
    multipliers: Multipliers
    polyhedron: Polyhedron


class Tuner(BatchingLearner):
    """Bilevel prompt tuning: workers step p and q, the server z and lambda, polyhedron updates the cuts.

    Source: Ma et al., AsynDBT, Scientific Reports 16:9381 (2026), (4)-(33) and Algorithm 1. With
    `consensus` off it is cenDBT: one machine, no z, no rho, and no messages.

    Args:
        bench: the problem, its data and who attacks.
        rules: the update rules.
        consensus: whether there is a z to agree on; without one a single machine holds all data.
    """

    def __init__(self, bench: Bench, rules: Rules, consensus: bool = True) -> None:
        n_workers = bench.n_workers if consensus else 1
        super().__init__(n_workers, lasting=("outer",))
        self.rules = rules
        self.consensus = consensus
        combining = rules.aggregation
        judge = combining.filter if combining is not None else None
        oracle = bench.oracle(pooled=not consensus, judge=judge)
        self.tables = WorkerTables(oracle, rules.optimizer, n_workers)
        m_words, n_vocab = oracle.start_p.shape
        nothing = torch.zeros(m_words, 0, dtype=torch.float64)
        polyhedron = Polyhedron.empty(n_workers, m_words, n_vocab, rules.polyhedron.norm)
        self.state = ServerState(oracle.start_p.clone(), Multipliers(nothing, nothing, nothing), polyhedron)
        self.constraint = Constraint.at_start(m_words, rules.polyhedron.epsilon)
        self.steps = 0
        self.cut_updates = 0
        self._realisation = rules.inner.realisation
        self._has_cuts = bool(rules.cuts) and bench.problem.tunes_p
        self._oracle = oracle
        self._project = projector(oracle.on_simplex)
        projects = rules.robust is not None and rules.robust.project_messages and oracle.on_simplex
        encoder = combining.outer if combining is not None else None
        self._door = Door(bench.attacks if consensus else (), bench.streams, encoder, projects)
        self.reports = Reports(self.tables, self._door, lambda: self.state.polyhedron)
        all_rows = combining is not None and combining.rows == "held"
        self._merge = Merge(combining or Aggregation(), bench.filtering(judge, oracle), all_rows)
        combine = self._combined if combining is not None and combining.inner is not None else None
        self._rounds = InnerRounds(oracle, rules, consensus, self._door, combine)
        self._rolling: RollingRounds | None = None
        """The inner loop where steps go on beside it."""
        if rules.cuts and rules.cuts.participation == "rolling":
            self._rolling = RollingRounds(
                oracle, rules, self._door, lambda: self.received, lambda: self.alive, combine
            )
        self._pulled = rules.robust if rules.robust is not None and rules.robust.outer == "R1" else None
        """Who pulls the workers' p towards z in a step, by psi."""
        self._moves_z = consensus and (rules.pulls_z or rules.outer_rule)
        self._pulls: SignSum | None = None
        """What keeps the pull of all messages up to date."""
        if rules.robust is not None and rules.pulls_z and rules.robust.norm == "l1" and n_workers >= MANY:
            self._pulls = SignSum(n_workers)

    @property
    def received(self) -> Tensor:
        """The last message of each worker that the server holds, (R, M, N)."""
        return self.reports.received

    def first(self) -> ServerState:
        """Return the state that every worker starts from."""
        return self.state

    def hand_out(self, job: Job) -> None:
        """A job has been handed out; with its first one of a rolling loop a worker joins that."""
        if self._rolling is None or job.kind != "inner":
            super().hand_out(job)
            return
        rows, update = [job.worker], self.cut_updates
        self._rolling.hand_out(
            job,
            self.tables.P[job.worker],
            lambda: self._oracle.realise(rows, self.tables.Q[rows], self._realisation, update)[0],
        )

    def counts(self) -> dict[str, int]:
        """Return how many messages were turned away and how often a rule could not be applied, so far."""
        return {"rejected": self._door.rejected, **self._merge.counts()}

    def work(self, kind: str, jobs: list[Job]) -> None:
        """Let every worker among these jobs take its step (19) and (20)."""
        self.reports.settle()
        # Jobs in flight across a change of cuts pull along the cuts that they read.
        groups: dict[int, list[Job]] = {}
        for job in jobs:
            if not job.skipped:
                groups.setdefault(id(job.content.polyhedron), []).append(job)
        for group in groups.values():
            for part in chunks(len(group), self.state.z.numel()):
                self._descend(group[part])

    def _descend(self, jobs: list[Job]) -> None:
        def pull(rows: Tensor, P: Tensor, gradient: Tensor) -> None:
            polyhedron = jobs[0].content.polyhedron
            if polyhedron.columns:
                multipliers = torch.stack([job.content.multipliers.now for job in jobs])
                gradient += polyhedron.pull(rows, multipliers)
            if self._pulled is not None:
                z = torch.stack([job.content.z for job in jobs])
                gradient += worker_pull(P, z, self._pulled)

        rows, p = self.tables.descend(jobs, [job.job for job in jobs], pull)
        self.reports.evaluated([job.worker for job in jobs], rows, p)

    def take_step(self, tickets: list[Ticket]) -> ServerState:
        """Take one server step: z by (21), then lambda by (22), with the p of these tickets."""
        admitted = self._receive(tickets)
        z, multipliers, polyhedron = self.state
        if self._moves_z or (polyhedron.columns and self.consensus):
            z = self._project(self._stepped_z(admitted))
        if polyhedron.columns:
            ascent = self.rules.multipliers
            c1 = ascent.regulariser(self.steps)
            multipliers = ascend(polyhedron, multipliers, z, ascent.rate, c1)
            self.constraint = self.constraint.stepped(multipliers.now)
        self.steps += 1
        self.state = ServerState(z, multipliers, polyhedron)
        return self.state

    def _stepped_z(self, admitted: Sequence[Ticket]) -> Tensor:
        """Return z after (21), before its projection; the tickets are those whose messages came in."""
        z, multipliers, polyhedron = self.state
        gradient = z_gradient(polyhedron, multipliers.now)
        if self.rules.pulls_z:
            assert self.rules.robust is not None
            gradient = gradient + self._pull_of_all(z, self.rules.robust)
        stepped = torch.sub(z, gradient, alpha=self.rules.z_rate)
        if self.rules.outer_rule:
            stepped += self._merge.step(self.received, self.alive, admitted, z, self.steps)
            self.expelled = self._merge.expelled
        return stepped

    def _pull_of_all(self, z: Tensor, robust: RobustSettings) -> Tensor:
        """Return the psi term of (21), over all workers that take part, as printed."""
        if self._pulls is not None:
            return robust.psi * self._pulls.at(z.flatten(), self.received.flatten(1)).view_as(z)
        received = self.received
        held = received if len(self.alive) == len(received) else received[list(self.alive)]
        return outer_pull(z, held, robust.psi, robust.norm)

    def evict(self, worker: int) -> None:
        super().evict(worker)
        if self._pulls is not None:
            self._pulls.leaves(worker)

    def admit(self, worker: int) -> None:
        super().admit(worker)
        if self._pulls is not None:
            self._pulls.joins(worker)

    def interlude(
        self, drained: list[Ticket], participants: list[int]
    ) -> Generator[Any, list[Ticket], ServerState]:
        """Update the polyhedron: K inner rounds estimate phi, then cuts are dropped and made, (28)-(33)."""
        assert self.rules.cuts
        self._receive(drained)
        rounds = self.rules.cuts.rounds
        if self._rolling is not None:
            phi = yield from self._rolling.run(participants, self.state.z, rounds)
        else:
            phi = yield from self._behind_a_barrier(participants, rounds)
        self.cut_updates += 1
        self._cut(phi)
        return self.state

    def _behind_a_barrier(
        self, participants: list[int], rounds: int
    ) -> Generator[InnerLoop, list[Ticket], Phi]:
        rows = torch.tensor(participants, dtype=torch.long)  # nobody may be left
        realised = self._oracle.realise(
            participants, self.tables.Q[rows], self._realisation, self.cut_updates
        )
        held, own, z = self.received[rows], self.tables.P[rows], self.state.z
        loop = yield from self._rounds.run(
            *(participants, held, own, z, realised, rounds),
            lambda: {job.worker: job for job in self.taken("inner")},
        )
        return Phi(loop.workers, loop.p, loop.z)

    def _cut(self, phi: Phi) -> None:
        """Drop idle cuts and add the new ones, at the present point, where steps may have gone on to."""
        z, multipliers, polyhedron = self.state
        settings = self.rules.polyhedron
        polyhedron, multipliers = without_idle(polyhedron, multipliers, settings)
        rows = torch.tensor(phi.workers, dtype=torch.long)
        p = self.received[rows]
        new = new_cuts(p, z, phi.p, phi.z, settings, self.consensus)
        self.constraint = self.constraint.updated(new.h)
        if bool(new.alive.any()):
            polyhedron, multipliers = extended(polyhedron, new, rows), joined(multipliers, new, p)
        self.state = ServerState(z, multipliers, polyhedron)

    def _combined(self, rows: Tensor, z: Tensor) -> Tensor:
        """Return z after a round of the inner loop by a rule of its own, before its projection."""
        rules = self.rules.aggregation
        assert rules is not None
        assert rules.inner is not None
        return z + self._merge.towards(rules.inner, rules.inner_rate, rows.flatten(1), z)

    def reset(self, worker: int) -> None:
        """Put a worker back to the start; what it has sent stays, and so do cuts made of that."""
        self.reports.forget(worker)
        self.tables.forget(worker)

    def evaluate(self, workers: list[int], time_s: float = 0.0) -> dict[str, float]:
        """Measure these workers as they were when they last reported; see `Oracle.evaluate`.

        ``consensus_gap`` is the mean distance of their p from z, l1 a word; ``cuts`` is the number of cuts.
        With cuts there is also what `Constraint.measured` says.
        """
        rows = torch.tensor(workers)
        p = self.reports.p[rows]
        measured = self._oracle.evaluate(workers, p, self.reports.q[rows], self.state.z, time_s)
        spread = (p - self.state.z).abs().sum((1, 2)) / self.state.z.shape[0]
        measured["consensus_gap"] = float(spread.mean()) if self.consensus else 0.0
        measured["cuts"] = self.state.polyhedron.count()
        if self._has_cuts:
            measured |= self.constraint.measured(self.state.polyhedron, self.state.multipliers)
        return measured

    def tuned(self) -> list[Tuned]:
        """Return what is measured of each worker, and the consensus."""
        m_words, n_slots = len(self.state.z), self.reports.q.shape[1]
        workers = kept_workers(self.n_workers, m_words + n_slots)
        rows = torch.tensor(workers)
        z = self.state.z if self.consensus else None
        return of_prompts(self._oracle, workers, self.reports.p[rows], self.reports.q[rows], z)

    def _receive(self, tickets: list[Ticket]) -> Sequence[Ticket]:
        """Take the messages of finished outer jobs; return whose came in."""
        self.need(tickets)
        z, multipliers, polyhedron = self.state
        admitted, weighed = self.reports.take(tickets, self._held_by_others(tickets), multipliers.weighed)
        if self._pulls is not None:
            self._pulls.changed(ticket.worker for ticket in admitted)
        if weighed is not multipliers.weighed:
            multipliers = Multipliers(multipliers.now, multipliers.before, weighed)
            self.state = ServerState(z, multipliers, polyhedron)
        return admitted

    def _held_by_others(self, tickets: list[Ticket]) -> Callable[[], Tensor]:
        """Return what gives the honest messages that are combined with those of these tickets."""

        def held() -> Tensor:
            if self.rules.outer_rule and not self._merge.all_rows:
                return self.received[:0]
            active = {ticket.worker for ticket in tickets}
            return self.received[[v for v in self._door.honest(list(self.alive)) if v not in active]]

        return held
