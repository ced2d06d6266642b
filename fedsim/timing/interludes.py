"""Interludes as the clock sees them: a barrier and rounds behind it, or rounds in the background."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Sequence
from itertools import count
from typing import TYPE_CHECKING, Any

from fedsim.messages import Snapshot, Ticket
from fedsim.schedule import Interlude
from fedsim.timing.background import BackgroundRounds
from fedsim.timing.books import Books
from fedsim.timing.exchange import Exchange
from fedsim.timing.orders import Order, Orders
from fedsim.timing.rounds import RoundRule
from fedsim.timing.rule import StepRule
from fedsim.timing.withheld import Withheld

if TYPE_CHECKING:
    import simpy

Collect = Callable[[Callable[[], bool]], Generator["simpy.Event | None", object, None]]
"""Takes messages until something is the case."""

NEVER = Interlude(work="", every=1, rounds=0, stop_after=0)


class Interludes:
    """Holds the interludes of a run, one at a time.

    Where every worker takes part, those that are busy finish their job first: the server takes its result,
    which then belongs to no active set. The active workers are busy too if they are restarted before.
    One that is due while another goes on in the background begins when that ends; of several, one does.

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
        self.planned = plan is not None
        """Whether there are any."""
        self.in_background = plan is not None and plan.participation == "rolling"
        """Whether steps go on during interludes."""
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
        self._behind: BackgroundRounds | None = None
        self._rounds: Generator[Any, list[Ticket], Any] | None = None  # in the background
        self._number = 0  # of the present round
        self._follows = False  # another one is due

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
        """Wait for this worker no longer: it has reported, or is no member any more."""
        self.awaited.discard(worker)

    def take(self, ticket: Ticket) -> None:
        """Take a report of the present round."""
        if not self.in_background:
            self._tickets.append(ticket)
        elif self._behind is None or not self._behind.report(ticket):
            self._hand_regular([ticket.worker], self._orders.newest)

    @property
    def round_is_in(self) -> bool:
        """Whether a round in the background has all its reports."""
        return self._behind is not None and self._behind.is_in

    def lose(self, worker: int) -> None:
        """Go on without a worker that is no member any more."""
        self.heard_from(worker)
        if self._behind is not None:
            self._behind.lose(worker)
            if self._behind.deserted:
                self._leave_off()

    def begin(self) -> None:
        """Begin an interlude in the background, or when the one under way there ends."""
        if self._behind is not None:
            if self._follows:
                self._books.skipped_interlude()
            self._follows = True
            return
        members = self._rule.members
        self._books.began_interlude([])
        self._behind, self._rounds = BackgroundRounds(members), self._exchange.interlude([], members)
        self._number = 0
        self._begin_round(None)

    def end_round(self) -> list[int]:
        """End a round in the background that is in, and begin the next; return who has waited for that."""
        assert self._behind is not None
        tickets, waiting = self._behind.end_round()
        self._begin_round(tickets)
        return waiting

    def hand_out(self, waiting: Sequence[int], order: Order) -> None:
        """Give these waiting workers their next job: that of a round in the background, or else this one."""
        if self._behind is not None and (drafted := self._behind.enlisted(waiting)):
            for worker in drafted:
                self._step_rule.leave(worker)
            self._orders.dispatch(drafted, self._behind.order(self._env.now))
            waiting = [worker for worker in waiting if worker not in drafted]
        self._hand_regular(waiting, order)

    def _hand_regular(self, workers: Sequence[int], order: Order) -> None:
        for worker in workers:
            self._step_rule.come_back(worker)
        self._orders.dispatch(workers, order)

    @property
    def _step_rule(self) -> StepRule:
        assert isinstance(self._rule, StepRule)  # the schedule was checked
        return self._rule

    def _begin_round(self, tickets: list[Ticket] | None) -> None:
        """Begin the next round in the background, if there is one; these are the reports of the last."""
        assert self._rounds is not None
        assert self._behind is not None
        try:
            content = next(self._rounds) if tickets is None else self._rounds.send(tickets)
        except StopIteration as end:
            self._orders.go_on_after_interlude(end.value)
            self._end()
            return
        self._check_number(self._number)
        self._number += 1
        snapshot = Snapshot(self._orders.newest.snapshot.version, content)
        self._behind.begin_round(self._orders.make(self._plan.work, snapshot), self._step_rule.wait_for)
        if self._behind.deserted:
            self._leave_off()

    def _leave_off(self) -> None:
        """End the interlude in the background, of whose workers nobody is left."""
        assert self._rounds is not None
        self._rounds.close()
        self._end()

    def _end(self) -> None:
        self._behind = self._rounds = None
        if self._follows:
            self._follows = False
            self.begin()

    def _check_number(self, number: int) -> None:
        """Raise an error if the learning half asks for a round that the schedule has not."""
        if number == self._plan.rounds:
            raise RuntimeError(
                f"the algorithm asks for round {number + 1} of an interlude, expected at most "
                f"{number}: the rounds of its schedule"
            )

    def hold(
        self, active: list[int], reported: Callable[[], list[Ticket]], collect: Collect
    ) -> Generator[simpy.Event | None, object, list[int]]:
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
            self._check_number(number)
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

    def _drain(self, collect: Collect) -> Generator[simpy.Event | None, object, None]:
        """Wait for everybody who is busy now, malicious workers included."""
        self.draining = True
        self._withheld.let_go_of_all()
        yield from self._hear_from(self._orders.outstanding, collect)
        self.draining = False
        self._rule.reset_ages()

    def _hear_from(
        self, workers: Iterable[int], collect: Collect
    ) -> Generator[simpy.Event | None, object, None]:
        self.awaited.update(workers)
        yield from collect(lambda: not self.awaited)

    def _round_taken(self) -> list[Ticket]:
        tickets, self._tickets = self._tickets, []
        return tickets
