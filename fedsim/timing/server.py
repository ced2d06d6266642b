"""The parameter server: one inbox, one step rule, one barrier."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable, Generator, Mapping
from typing import TYPE_CHECKING

from fedsim.messages import JobCost, JobKind, Snapshot, Ticket
from fedsim.timing.activities import Activity, ActivityClock
from fedsim.timing.attacks.base import Misconduct, conduct_of
from fedsim.timing.books import Books
from fedsim.timing.exchange import NO_STEP, Exchange
from fedsim.timing.held import HeldBack
from fedsim.timing.rounds import RoundRule
from fedsim.timing.rule import StepRule
from fedsim.timing.settings import CutPlan, ServerSettings
from fedsim.timing.worker import Order

if TYPE_CHECKING:
    import simpy


# Looked up once: reading a member off its enum is slow.
OUTER, INNER = JobKind.OUTER, JobKind.INNER


class Server:
    """The server process and what workers ask of it.

    Messages are taken in arrival order and the step rule is tested after each one, so an active set exceeds S
    only where the staleness bound forced the server to wait, or where tickets came in during a polyhedron
    update of the active workers alone.

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
    ) -> None:
        self.env = env
        self.rule = rule
        self.finished = False
        self.finished_s = 0.0
        self.evicted: dict[int, float] = {}
        self.report_now = NO_STEP
        self._exchange = exchange
        self._settings = settings
        self._cuts = cuts
        self._costs = costs
        self._books = Books(costs)
        self._cut_bytes = cut_bytes
        self._clock = clock
        self._entity = len(rule)
        self._max_steps = max_steps
        self._max_updates = max_updates
        # A deque and one wake-up event: SimPy's Store pops from the front of a list, slow under a backlog.
        self._inbox: deque[tuple[Ticket, simpy.Event]] = deque()
        self._wake = env.event()
        self._asleep_until: Callable[[], bool] | None = None
        self._outstanding: OrderedDict[int, tuple[float, JobKind]] = OrderedDict()
        self._outstanding_inner = 0
        self._active: list[Ticket] = []
        self._inner: list[Ticket] = []
        self._misconduct = misconduct or {}
        self._held_back = HeldBack(self._outstanding)
        self._draining = False
        self._first = Order(OUTER, Snapshot(0, exchange.first()), 0)
        for worker in rule.ask(rule.members):
            self._hand_out(worker, 0, self._first)
        # Of each worker without a job: the number of its next one, and the event that brings it.
        self._replies = {
            worker: (0, env.event()) for worker in rule.members if worker not in self._outstanding
        }

    @property
    def waiting_for(self) -> list[int]:
        """The workers whose answer is outstanding."""
        return sorted(self._outstanding)

    @property
    def waits_for_ever(self) -> bool:
        """Whether only a message can wake the server up, and none will ever come."""
        patient = self._asleep_until is not None and self._settings.evict_after_s is None
        return patient and self._outstanding.keys() <= self._held_back.lost

    def first_order(self, worker: int) -> Order | None:
        """Return what a worker starts with at time 0; none: it has to wait for its `first_reply`."""
        return self._first if worker in self._outstanding else None

    def first_reply(self, worker: int) -> simpy.Event:
        """Return the event that fires with the first order of a worker that is not asked at time 0."""
        return self._replies[worker][1]

    def report(self, ticket: Ticket) -> simpy.Event:
        """Take a finished job into the inbox; the event returned fires with the worker's next order.

        Handing in comes first and the reply reflects the ticket, so a worker never reads a server state that
        does not know of its own last job.
        """
        reply = self.env.event()
        if self._asleep_until is None:
            self._inbox.append((ticket, reply))
            return reply
        # A sleeping server has read all its messages: this one's turn is now, and only the one that makes
        # enough is worth an event.
        self._receive(ticket, reply)
        if self._asleep_until():
            self._asleep_until = None
            self._wake.succeed()
        elif self._misconduct:
            self._ask_for_held_back()
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
        if until_step <= self.rule.step or self._draining or worker in self.evicted:
            return None
        event = self.env.event()
        self._held_back.hold(worker, until_step, event)
        self._ask_for_held_back()
        return event

    def lose(self, worker: int) -> None:
        """Note what the server itself does not see: this worker will never answer again."""
        self._held_back.lose(worker)
        self._ask_for_held_back()

    def _ask_for_held_back(self) -> None:
        if self._asleep_until is not None:
            self._held_back.ask(self.rule.missing)

    def run(self) -> Generator[simpy.Event, object, None]:
        """The server's life: collect, step, reply, and now and then a polyhedron update."""
        order = self._first
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
                order = self._order(OUTER, snapshot)
                if self._cuts is not None and self._cuts.due(snapshot.version - 1):
                    waiting, order = yield from self._update_polyhedron(waiting, order)
            for worker in self.rule.ask(waiting):
                self._reply(worker, order)
        self.finished = True
        self.finished_s = self.env.now

    def _collect(self, enough: Callable[[], bool]) -> Generator[simpy.Event, object, None]:
        """Take messages one by one until there are enough."""
        while not enough():
            if self._inbox:
                self._receive(*self._inbox.popleft())
            elif self.rule.alive:
                self._asleep_until, self._wake = enough, self.env.event()
                if self._misconduct:
                    self._ask_for_held_back()
                if self._settings.evict_after_s is None:
                    yield self._wake
                    return  # only the message that made enough wakes the server
                yield from self._lose_patience(self._settings.evict_after_s)
                self._asleep_until = None
            else:
                return

    def _lose_patience(self, patience_s: float) -> Generator[simpy.Event, object, None]:
        """Sleep until woken or until a worker has been silent for so long (s); then evict it."""
        if not self._outstanding:
            yield self._wake
            return
        worker, (since_s, _) = next(iter(self._outstanding.items()))
        left_s = since_s + patience_s - self.env.now
        if left_s > 0:
            yield self._wake | self.env.timeout(left_s)
        else:
            self._evict(worker)

    def _receive(self, ticket: Ticket, reply: simpy.Event) -> None:
        self._books.arrived(ticket)
        worker = ticket.worker
        if worker in self.evicted:  # its calls are paid for, its message comes too late, no reply follows
            self._clock.switch(worker, Activity.DOWN, self.env.now)
            return
        del self._outstanding[worker]
        self._replies[worker] = ticket.job + 1, reply
        if ticket.kind is INNER:
            self._outstanding_inner -= 1
            self._inner.append(ticket)
        else:
            self._books.updates += 1
            self._active.append(ticket)
            self.rule.report(worker)

    def _order(self, kind: JobKind, snapshot: Snapshot, extra_bytes: int = 0) -> Order:
        return Order(kind, snapshot, self._costs[kind].bytes_down + extra_bytes)

    def _reply(self, worker: int, order: Order) -> None:
        job, reply = self._replies.pop(worker)
        self._hand_out(worker, job, order)
        reply.succeed(order)

    def _hand_out(self, worker: int, job: int, order: Order) -> None:
        kind, snapshot, bytes_down = order
        now_s = self.env.now
        self._books.bytes_down += bytes_down
        self._outstanding[worker] = now_s, kind
        self._outstanding_inner += kind is INNER
        skipped = worker in self._misconduct and not conduct_of(self._misconduct[worker], now_s).calls
        self._exchange.hand_out(worker, job, kind, snapshot, now_s, skipped)

    def _evict(self, worker: int) -> None:
        self.evicted[worker] = self.env.now
        _, kind = self._outstanding.pop(worker)
        self._outstanding_inner -= kind is INNER
        self.rule.evict(worker)
        self._exchange.evict(worker)
        self._held_back.let_go(worker)

    def _think(self) -> Generator[simpy.Event, object, None]:
        self._clock.switch(self._entity, Activity.STEPPING, self.env.now)
        yield self.env.timeout(self._settings.step_s)
        self._clock.switch(self._entity, Activity.WAITING, self.env.now)

    def _take_step(self, active: list[Ticket]) -> Snapshot:
        step = self.rule.step
        self.rule.stepped()
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
        self, active: list[int], order: Order
    ) -> Generator[simpy.Event, object, tuple[list[int], Order]]:
        """K inner rounds behind a barrier; return who took part and what they go on with.

        With every worker taking part, those still busy first finish their job: the server takes the result
        (a worker update outside any active set) and the barrier's clock runs meanwhile.
        """
        assert self._cuts is not None
        switch, entity, version = self._clock.switch, self._entity, order.snapshot.version
        switch(entity, Activity.CUTTING, self.env.now)
        drained: list[Ticket] = []
        participants = active
        if self._cuts.participation == "all":
            drained = yield from self._drain()
            participants = self.rule.members
        self._books.drained += len(drained)
        self._books.cut_updates += 1
        content = self._exchange.begin_cut(drained, participants)
        for _ in range(self._cuts.rounds):
            inner_order = self._order(INNER, Snapshot(version, content))
            for worker in participants:
                self._reply(worker, inner_order)
            yield from self._collect(lambda: not self._outstanding_inner)
            participants = [worker for worker in participants if worker in self.rule]
            if not participants:  # all were evicted in this round: nobody is left to make a cut with
                switch(entity, Activity.WAITING, self.env.now)
                return participants, order
            if self._settings.step_s > 0:
                yield self.env.timeout(self._settings.step_s)
            inner, self._inner = self._inner, []
            content = self._exchange.cut_round(inner)
        snapshot = Snapshot(version, self._exchange.end_cut())
        switch(entity, Activity.WAITING, self.env.now)
        return participants, self._order(OUTER, snapshot, self._cut_bytes)

    def _drain(self) -> Generator[simpy.Event, object, list[Ticket]]:
        """Wait for everybody, liars included, and return the tickets that came."""
        self._draining = True
        self._held_back.let_go_of_all()
        yield from self._collect(lambda: not self._outstanding)
        self._draining = False
        drained, self._active = self._active, []
        self.rule.reset_ages()
        return drained
