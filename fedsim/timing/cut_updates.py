"""Polyhedron updates as the clock sees them: a barrier, and rounds behind it."""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import TYPE_CHECKING

from fedsim.messages import JobKind, Snapshot, Ticket
from fedsim.timing.books import Books
from fedsim.timing.exchange import Exchange
from fedsim.timing.held import HeldBack
from fedsim.timing.orders import Orders
from fedsim.timing.rounds import RoundRule
from fedsim.timing.rule import StepRule
from fedsim.timing.settings import CutPlan

if TYPE_CHECKING:
    import simpy

Collect = Callable[[Callable[[], bool]], Generator["simpy.Event", object, None]]
"""Takes messages until something is the case."""


class CutUpdates:
    """Makes new cuts in K inner rounds.

    With every worker taking part, those still busy first finish their job: the server takes the result (a
    worker update outside any active set).

    Source: Ma et al., AsynDBT, Algorithm 1.

    Args:
        env: the simulation.
        plan: how many rounds, and who takes part.
        step_s: the server's own arithmetic in a round (s).
        exchange: the learning half.
        rule: the step rule, or that of sampled rounds.
        orders: what workers are busy with.
        books: where updates are counted.
        held_back: what malicious workers hold back: all of it is let go when everybody is waited for.
    """

    def __init__(
        self,
        env: simpy.Environment,
        plan: CutPlan,
        step_s: float,
        exchange: Exchange,
        rule: StepRule | RoundRule,
        orders: Orders,
        books: Books,
        held_back: HeldBack,
    ) -> None:
        self.draining = False
        """Whether all who were busy are waited for, before the first round."""
        self.barrier: set[int] = set()
        """Those among them that have yet to answer; always the same set."""
        self.inner: list[Ticket] = []
        """The tickets of the present round."""
        self._env = env
        self._plan = plan
        self._step_s = step_s
        self._exchange = exchange
        self._rule = rule
        self._orders = orders
        self._books = books
        self._held_back = held_back

    def due(self, step: int) -> bool:
        """Whether an update follows step number `step`, counted from 0."""
        return self._plan.due(step)

    def run(
        self, active: list[int], reported: list[Ticket], collect: Collect
    ) -> Generator[simpy.Event, object, list[int]]:
        """Make new cuts and return who took part and waits for its next job.

        Args:
            active: who waits for its next job: the active set of the step before.
            reported: where the tickets of outer jobs come in; emptied of those that came to the barrier.
            collect: takes messages until something is the case.
        """
        env, orders, version = self._env, self._orders, self._orders.newest.snapshot.version
        drained: list[Ticket] = []
        participants = active
        if self._plan.participation == "all":
            yield from self._drain(collect)
            drained = reported.copy()
            reported.clear()
            participants = [worker for worker in self._rule.members if worker in orders.waiting]
        self._books.drained += len(drained)
        self._books.cut_updates += 1
        content = self._exchange.begin_cut(drained, participants)
        for _ in range(self._plan.rounds):
            orders.answer(participants, orders.make(JobKind.INNER, Snapshot(version, content)))
            yield from collect(lambda: not orders.inner)
            # Who was evicted in this round is out of the update, even if it has been taken in again.
            answered = {ticket.worker for ticket in self.inner}
            participants = [worker for worker in participants if worker in answered]
            if not participants:  # nobody is left to make a cut with
                return participants
            if self._step_s > 0:
                yield env.timeout(self._step_s)
            inner, self.inner = self.inner, []
            content = self._exchange.cut_round(inner)
        orders.newest = orders.make(JobKind.OUTER, Snapshot(version, self._exchange.end_cut()))
        orders.has_cuts = True
        return participants

    def _drain(self, collect: Collect) -> Generator[simpy.Event, object, None]:
        """Wait for everybody who is busy now, liars included."""
        self.draining = True
        self._held_back.let_go_of_all()
        self.barrier.update(self._orders.outstanding)
        yield from collect(lambda: not self.barrier)
        self.draining = False
        self._rule.reset_ages()
