"""Interludes as the clock sees them: a barrier, and rounds behind it."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable
from itertools import count
from typing import TYPE_CHECKING

from fedsim.messages import Snapshot, Ticket
from fedsim.schedule import Interlude
from fedsim.timing.books import Books
from fedsim.timing.exchange import Exchange
from fedsim.timing.orders import Orders
from fedsim.timing.rounds import RoundRule
from fedsim.timing.rule import StepRule
from fedsim.timing.withheld import Withheld

if TYPE_CHECKING:
    import simpy

Collect = Callable[[Callable[[], bool]], Generator["simpy.Event", object, None]]
"""Takes messages until something is the case."""

NEVER = Interlude(work="", every=1, rounds=0, stop_after=0)


class Interludes:
    """Holds the interludes of a run, one at a time.

    Where every worker takes part, those that are busy finish their job first: the server takes its result,
    which then belongs to no active set. The active workers are busy too if they are restarted before.

    Args:
        env: the simulation.
        plan: when an interlude is due, how many rounds it has, and who takes part; none: never.
        step_s: the server's own arithmetic in a round (s).
        exchange: the learning half.
        rule: the step rule, or that of sampled rounds.
        orders: what workers are busy with.
        books: where interludes are counted.
        withheld: the reports that malicious workers withhold: all are let go when everybody is waited for.
    """

    def __init__(
        self,
        env: simpy.Environment,
        plan: Interlude | None,
        step_s: float,
        exchange: Exchange,
        rule: StepRule | RoundRule,
        orders: Orders,
        books: Books,
        withheld: Withheld,
    ) -> None:
        self.draining = False
        """Whether the server waits, before the first round, for all who were busy."""
        self.awaited: set[int] = set()
        """Whom the barrier, or the present round, has yet to hear from; always the same set."""
        self._env = env
        self._plan = plan or NEVER
        self._step_s = step_s
        self._exchange = exchange
        self._rule = rule
        self._orders = orders
        self._books = books
        self._withheld = withheld
        self._tickets: list[Ticket] = []  # of the present round
        self._first = self._updates = 0  # worker updates by the end of step 0, and of the last step

    def due(self, step: int, updates: int) -> bool:
        """Whether an interlude follows a step; asked once after each.

        Args:
            step: the number of the step, from 0.
            updates: all worker updates taken so far.
        """
        if step == 0:
            self._first = self._updates = updates
        before, self._updates = self._updates, updates
        return self._plan.due(step, updates - self._first, before - self._first)

    def heard_from(self, worker: int) -> None:
        """Wait for this worker no longer: it has reported, or was evicted."""
        self.awaited.discard(worker)

    def take(self, ticket: Ticket) -> None:
        """Take a report of the present round."""
        self._tickets.append(ticket)

    def hold(
        self, active: list[int], reported: Callable[[], list[Ticket]], collect: Collect
    ) -> Generator[simpy.Event, object, list[int]]:
        """Hold an interlude; return who took part until its end and waits for its next job.

        Args:
            active: who waits for its next job: the active set of the step before.
            reported: takes the tickets of other jobs that have come in.
            collect: takes messages until something is the case.

        Raises:
            RuntimeError: the learning half asks for more rounds than its schedule has.
        """
        env, orders, version = self._env, self._orders, self._orders.newest.snapshot.version
        drained: list[Ticket] = []
        participants = active
        if self._plan.participation == "all":
            if self._plan.restart == "before":
                orders.dispatch(self._rule.ask(active), orders.newest)
            yield from self._drain(collect)
            drained = reported()
            participants = [worker for worker in self._rule.members if worker in orders.waiting]
        self._books.began_interlude(drained)
        rounds = self._exchange.interlude(drained, participants)
        for number in count():
            try:
                content = rounds.send(self._round_taken()) if number > 0 else next(rounds)
            except StopIteration as end:
                orders.go_on_after_interlude(end.value)
                return participants
            if number == self._plan.rounds:
                raise RuntimeError(
                    f"the algorithm asks for round {number + 1} of an interlude, expected at most "
                    f"{number}: the rounds of its schedule"
                )
            orders.dispatch(participants, orders.make(self._plan.work, Snapshot(version, content)))
            yield from self._hear_from(participants, collect)
            # Who was evicted in this round is out of the interlude, even if it has been taken in again.
            reporters = {ticket.worker for ticket in self._tickets}
            participants = [worker for worker in participants if worker in reporters]
            if not participants:  # nobody is left to go on with
                rounds.close()
                break
            if self._step_s > 0:
                yield env.timeout(self._step_s)
        return participants

    def _drain(self, collect: Collect) -> Generator[simpy.Event, object, None]:
        """Wait for everybody who is busy now, malicious workers included."""
        self.draining = True
        self._withheld.let_go_of_all()
        yield from self._hear_from(self._orders.outstanding, collect)
        self.draining = False
        self._rule.reset_ages()

    def _hear_from(self, workers: Iterable[int], collect: Collect) -> Generator[simpy.Event, object, None]:
        self.awaited.update(workers)
        yield from collect(lambda: not self.awaited)

    def _round_taken(self) -> list[Ticket]:
        tickets, self._tickets = self._tickets, []
        return tickets
