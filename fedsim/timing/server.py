"""The parameter server: one inbox, one step rule, one barrier."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Generator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from fedsim.messages import JobCost, JobKind, Snapshot, Ticket
from fedsim.timing.activities import Activity, ActivityClock
from fedsim.timing.attacks.base import Misconduct
from fedsim.timing.books import Books
from fedsim.timing.exchange import NO_STEP, Exchange
from fedsim.timing.held import HeldBack
from fedsim.timing.members import Members
from fedsim.timing.orders import Order, Orders
from fedsim.timing.rounds import RoundRule
from fedsim.timing.rule import StepRule
from fedsim.timing.settings import CutPlan, ServerSettings

if TYPE_CHECKING:
    import simpy


Message = tuple[Callable[[Any, "simpy.Event"], None], Any, "simpy.Event"]
"""How the server takes a message, the message, and the event that brings its worker the answer."""

# Looked up once: reading a member off its enum is slow.
OUTER, INNER = JobKind.OUTER, JobKind.INNER


class Server:
    """The server process and what workers ask of it.

    Messages are taken in arrival order and the step rule is tested after each one, so an active set exceeds S
    only where the staleness bound forced the server to wait, or where tickets came in during a polyhedron
    update of the active workers alone.

    A worker that is taken in (it joins late, or comes back after its eviction) gets a job as soon as the
    server
    reads its message: the newest snapshot and, once there are any, all cuts. A polyhedron update that is
    under way goes on without it, unless it is waiting for a job when the inner rounds begin.

    Source: Ma et al., AsynDBT, Algorithm 1; Jiao et al., ADBO, ICLR 2023 and its released code.

    Args:
        env: the simulation.
        exchange: the learning half.
        rule: the step rule, or that of sampled rounds.
        settings: the machine.
        cuts: when polyhedron updates are due; none: never.
        costs: what jobs of each kind cost.
        cut_bytes: what a worker additionally downloads after a polyhedron update (new coefficients).
        clock: the books of seconds; the server is entity number R.
        max_steps: stop after so many steps.
        max_updates: stop at the first step with so many worker updates.
        misconduct: the attacks on timing of each malicious worker.
        absent: the workers that join later.
    """

    def __init__(
        self,
        env: simpy.Environment,
        exchange: Exchange,
        rule: StepRule | RoundRule,
        settings: ServerSettings,
        cuts: CutPlan | None,
        costs: Mapping[JobKind, JobCost],
        cut_bytes: int,
        clock: ActivityClock,
        max_steps: int | None = None,
        max_updates: int | None = None,
        misconduct: Misconduct | None = None,
        absent: Collection[int] = (),
    ) -> None:
        self.env = env
        self.rule = rule
        self.finished = False
        self.finished_s = 0.0
        self.report_now = NO_STEP
        self.stalled = env.event()
        """Fires when the server begins to wait for ever."""
        self._exchange = exchange
        self._settings = settings
        self._cuts = cuts
        self._costs = costs
        self._books = Books(costs)
        self._cut_bytes = cut_bytes
        self._has_cuts = False
        self._clock = clock
        self._entity = len(rule)
        self._max_steps = max_steps
        self._max_updates = max_updates
        # A deque and one wake-up event: SimPy's Store pops from the front of a list, slow under a backlog.
        self._inbox: deque[Message] = deque()
        self._wake = env.event()
        self._asleep_until: Callable[[], bool] | None = None
        self._stirred = False
        self._active: list[Ticket] = []
        self._inner: list[Ticket] = []
        self._misconduct = misconduct or {}
        self._orders = Orders(exchange, self._books, self._misconduct)
        self.members = Members(rule, exchange, absent, settings.readmit)
        self._evicted = self.members.evicted  # looked up for every message
        self._held_back = HeldBack(self._orders.outstanding, self.members.lost)
        self._draining = False
        self._barrier: set[int] = set()
        """The workers that the drain before a polyhedron update still waits for."""
        self._blank: set[int] = set()
        """The workers that have lost their state while they waited for their next job."""
        self._newest = Order(OUTER, Snapshot(0, exchange.first()), 0, 0.0)
        for worker in rule.ask(rule.members):
            self._orders.give(worker, 0, self._newest)
        for worker in rule.members:
            if worker not in self._orders.outstanding:
                self._orders.waiting[worker] = 0, env.event()

    @property
    def waiting_for(self) -> list[int]:
        """The workers whose answer is outstanding."""
        return sorted(self._orders.outstanding)

    @property
    def deserted(self) -> bool:
        """Whether the server has ended because nobody was left."""
        return self.finished and not self.rule.alive

    @property
    def waits_for_ever(self) -> bool:
        """Whether only a message can wake the server up, and none will ever come."""
        patient = self._asleep_until is not None and self._settings.evict_after_s is None
        nobody = self._orders.outstanding.keys() <= self.members.lost and not self.members.absent
        return patient and nobody

    def first(self, worker: int) -> Order | simpy.Event | None:
        """Return what a worker starts with: an order, an event that brings one, or none: it has to join."""
        if worker in self._orders.outstanding:
            return self._orders.outstanding[worker]
        _, reply = self._orders.waiting.get(worker, (0, None))
        return reply

    def report(self, ticket: Ticket) -> simpy.Event:
        """Take a finished job into the inbox; the event returned fires with the worker's next order.

        Handing in comes first and the reply reflects the ticket, so a worker never reads a server state that
        does not know of its own last job.
        """
        reply = self.env.event()
        if self._asleep_until is None:
            self._inbox.append((self._receive, ticket, reply))
            return reply
        # A sleeping server has read all its messages: this one's turn is now, and only the one that makes
        # enough is worth an event.
        self._receive(ticket, reply)
        if self._asleep_until is not None:
            if self._asleep_until():
                self._wake_up()
            elif self._misconduct or self.members.lost:
                self._look_around()
        return reply

    def hold(self, worker: int, version: int, margin_steps: int) -> simpy.Event | None:
        """Let a malicious worker hold its finished outer job back until the server is about to wait for it.

        Args:
            worker: who holds back.
            version: what the job has read.
            margin_steps: how many steps before the staleness bound it lets go.

        Returns:
            An event that fires when it lets go; none: it should answer at once.
        """
        until_step = version + self.rule.tau - 1 - margin_steps
        if until_step <= self.rule.step or self._draining or worker in self.members.evicted:
            return None
        event = self.env.event()
        self._held_back.hold(worker, until_step, event)
        if self._asleep_until is not None:
            self._look_around()
        return event

    def join(self, worker: int) -> simpy.Event:
        """Ask for work for a worker that was absent; the event returned fires with its first order."""
        return self._request(self._receive_newcomer, worker)

    def rejoin(self, worker: int, job: int) -> simpy.Event:
        """Ask for other work for a worker that has lost its state, and with it the job that it had.

        The job is withdrawn and its number not used again. In an inner round of a polyhedron update the
        worker gets the round's order once more.

        Args:
            worker: who asks; not one that the server refuses.
            job: the number of the job that it had.

        Returns:
            An event that fires with the order.
        """
        return self._request(self._receive_rejoining, (worker, job))

    def _request(self, take: Callable[[Any, simpy.Event], None], message: Any) -> simpy.Event:
        """Take a worker's request into the inbox; the event returned brings the answer."""
        reply = self.env.event()
        if self._asleep_until is None:
            self._inbox.append((take, message, reply))
        else:
            take(message, reply)
            self._stir()
        return reply

    def forget(self, worker: int) -> None:
        """A worker has lost its state while it waits for its next job: its last ticket counts as usual."""
        self._blank.add(worker)

    def lose(self, worker: int) -> None:
        """Note what the server itself does not see: this worker will never answer again."""
        self.members.lose(worker)
        self._held_back.forget(worker)
        if self._asleep_until is None:
            return
        if self.rule.alive or self.members.to_join:
            self._look_around()
        else:
            self._stir()

    def _look_around(self) -> None:
        """While the server sleeps: may held-back answers come, will anything ever come?"""
        self._held_back.ask(self.rule.missing)
        if self.waits_for_ever and not self.stalled.triggered:
            self.stalled.succeed()

    def _wake_up(self) -> None:
        self._asleep_until = None
        self._wake.succeed()

    def _stir(self) -> None:
        """Let a sleeping server look again: who takes part, or is asked, has changed."""
        self._stirred = True
        if self._asleep_until is not None:
            self._wake_up()

    def run(self) -> Generator[simpy.Event, object, None]:
        """The server's life: collect, step, reply, and now and then a polyhedron update."""
        order = self._newest
        while not self.finished:
            yield from self._collect(self.rule.may_step)
            if not self.rule.alive:
                break
            active, self._active = self._active, []
            waiting = [ticket.worker for ticket in active]
            if active:  # in a sampled round, all who were asked may have been given up
                if self._settings.step_s > 0:
                    yield from self._think()
                snapshot = self._take_step(active)
                if self.finished:
                    break
                order = self._newest = self._order(OUTER, snapshot)
                if self._cuts is not None and self._cuts.due(snapshot.version - 1):
                    waiting, order = yield from self._update_polyhedron(waiting)
            else:
                order = order._replace(since_s=self.env.now)
            self._answer(self.rule.ask(waiting), order)
        self.finished = True
        self.finished_s = self.env.now

    def _collect(self, enough: Callable[[], bool]) -> Generator[simpy.Event, object, None]:
        """Take messages one by one until there are enough, or nobody is left to send one."""
        patience_s = self._settings.evict_after_s
        while not enough():
            if self._inbox:
                take, message, reply = self._inbox.popleft()
                take(message, reply)
            elif self.rule.alive or self.members.to_join:
                self._asleep_until, self._wake = enough, self.env.event()
                if self._misconduct or self.members.lost:
                    self._look_around()
                self._stirred = False
                if patience_s is not None and self._orders.outstanding:
                    yield from self._lose_patience(patience_s)
                    self._asleep_until = None
                else:
                    yield self._wake
                    if not self._stirred:
                        return  # the message that made enough has woken the server
            else:
                return

    def _lose_patience(self, patience_s: float) -> Generator[simpy.Event, object, None]:
        """Sleep until woken or until a worker has been silent for so long (s); then evict it."""
        worker, order = next(iter(self._orders.outstanding.items()))
        left_s = order.since_s + patience_s - self.env.now
        if left_s > 0:
            yield self._wake | self.env.timeout(left_s)
        else:
            self._evict(worker)

    def _receive(self, ticket: Ticket, reply: simpy.Event) -> None:
        self._books.arrived(ticket)
        worker = ticket.worker
        if worker in self._evicted:
            self._receive_late(ticket, reply)
            return
        del self._orders.outstanding[worker]
        self._orders.waiting[worker] = ticket.job + 1, reply
        if self._barrier:
            self._barrier.discard(worker)
        if ticket.kind is INNER:
            self._orders.inner -= 1
            self._inner.append(ticket)
        else:
            self._books.updates += 1
            self._active.append(ticket)
            self.rule.report(worker)

    def _receive_late(self, ticket: Ticket, reply: simpy.Event) -> None:
        """An evicted worker's calls are paid for, but its result is not used."""
        if not self.members.refused(ticket.worker):
            self._take_in(ticket.worker, ticket.job + 1, reply)
            self._stir()
        else:  # no reply follows
            self._clock.switch(ticket.worker, Activity.DOWN, self.env.now)

    def _receive_newcomer(self, worker: int, reply: simpy.Event) -> None:
        self._take_in(worker, 0, reply)

    def _receive_rejoining(self, who: tuple[int, int], reply: simpy.Event) -> None:
        """Withdraw the job of a worker that has lost its state, and give it another one."""
        worker, job = who
        self._blank.discard(worker)
        self._exchange.forget(worker)
        if worker in self._evicted:
            self._take_in(worker, job + 1, reply)
            return
        order = self._orders.withdraw(worker)
        self._orders.waiting[worker] = job + 1, reply
        inner = order.kind is INNER
        self._orders.answer(
            worker, order._replace(since_s=self.env.now) if inner else self._all_that_is_new()
        )

    def _take_in(self, worker: int, job: int, reply: simpy.Event) -> None:
        """Admit a worker, whose next job has this number and is brought by this event."""
        self._orders.waiting[worker] = job, reply
        if self.members.admit(worker):
            self._answer([worker], self._all_that_is_new())

    def _order(self, kind: JobKind, snapshot: Snapshot) -> Order:
        return Order(kind, snapshot, self._costs[kind].bytes_down, self.env.now)

    def _all_that_is_new(self) -> Order:
        """Return what a worker is asked that has missed the last cuts: with them, if there are any."""
        cut_bytes = self._cut_bytes if self._has_cuts else 0
        return self._newest._replace(bytes_down=self._newest.bytes_down + cut_bytes, since_s=self.env.now)

    def _answer(self, workers: Sequence[int], order: Order) -> None:
        """Give each of these waiting workers its next job."""
        answer = self._orders.answer
        if not self._blank:
            for worker in workers:
                answer(worker, order)
            return
        for worker in workers:
            if worker in self._blank:
                self._blank.remove(worker)
                self._exchange.forget(worker)
                answer(worker, order if order.kind is INNER else self._all_that_is_new())
            else:
                answer(worker, order)

    def _evict(self, worker: int) -> None:
        self._orders.withdraw(worker)
        self._barrier.discard(worker)
        self.members.evict(worker, self.env.now)
        self._held_back.let_go(worker)

    def _think(self) -> Generator[simpy.Event, object, None]:
        self._clock.switch(self._entity, Activity.STEPPING, self.env.now)
        yield self.env.timeout(self._settings.step_s)
        self._clock.switch(self._entity, Activity.WAITING, self.env.now)

    def _take_step(self, active: list[Ticket]) -> Snapshot:
        step = self.rule.step
        self.rule.stepped()
        if self._misconduct:
            self._held_back.stepped(step + 1)
        report = self.report_now = self._books.report(step, self.env.now, active, len(self.rule))
        snapshot = Snapshot(step + 1, self._exchange.take_step(active, report))
        self.finished = (
            self._exchange.finished
            or (self._max_steps is not None and step + 1 >= self._max_steps)
            or (self._max_updates is not None and report.worker_updates >= self._max_updates)
        )
        return snapshot

    def _update_polyhedron(
        self, active: list[int]
    ) -> Generator[simpy.Event, object, tuple[list[int], Order]]:
        """K inner rounds behind a barrier; return who took part and what they go on with.

        With every worker taking part, those still busy first finish their job: the server takes the result
        (a worker update outside any active set) and the barrier's clock runs meanwhile.
        """
        assert self._cuts is not None
        switch, entity, version = self._clock.switch, self._entity, self._newest.snapshot.version
        switch(entity, Activity.CUTTING, self.env.now)
        drained: list[Ticket] = []
        participants = active
        if self._cuts.participation == "all":
            drained = yield from self._drain()
            participants = [worker for worker in self.rule.members if worker in self._orders.waiting]
        self._books.drained += len(drained)
        self._books.cut_updates += 1
        content = self._exchange.begin_cut(drained, participants)
        for _ in range(self._cuts.rounds):
            self._answer(participants, self._order(INNER, Snapshot(version, content)))
            yield from self._collect(lambda: not self._orders.inner)
            # Who was evicted in this round is out of the update, even if it has been taken in again.
            answered = {ticket.worker for ticket in self._inner}
            participants = [worker for worker in participants if worker in answered]
            if not participants:  # nobody is left to make a cut with
                switch(entity, Activity.WAITING, self.env.now)
                return participants, self._newest._replace(since_s=self.env.now)
            if self._settings.step_s > 0:
                yield self.env.timeout(self._settings.step_s)
            inner, self._inner = self._inner, []
            content = self._exchange.cut_round(inner)
        self._newest = self._order(OUTER, Snapshot(version, self._exchange.end_cut()))
        self._has_cuts = True
        switch(entity, Activity.WAITING, self.env.now)
        return participants, self._all_that_is_new()

    def _drain(self) -> Generator[simpy.Event, object, list[Ticket]]:
        """Wait for everybody who is busy now, liars included, and return the tickets that came."""
        self._draining = True
        self._held_back.let_go_of_all()
        self._barrier = set(self._orders.outstanding)
        yield from self._collect(lambda: not self._barrier)
        self._draining = False
        drained, self._active = self._active, []
        self.rule.reset_ages()
        return drained
